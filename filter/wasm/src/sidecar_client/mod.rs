//! The call to the sidecar: our part of external processing, as one message each way.

mod response;
mod target;

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use llm_router_proto::contract::{Classifiers, FewShotExamples, RequestTemplate};
use llm_router_proto::{METHOD, SERVICE};
use llm_router_routing::config::{Classifier, Policy, PolicyId};
use llm_router_routing::exchange::{ExamplesPayload, Query};
use llm_router_routing::request::TextToClassify;
use proxy_wasm::types::Status;

pub(crate) use response::response;

use crate::host::{self, CallId};

/// Calls the sidecar, for one worker.
pub(crate) struct SidecarClient {
    target: String,
    /// The part of the requests that is the same for every prompt, by policy.
    templates: RefCell<HashMap<PolicyId, RequestTemplate>>,
}

impl SidecarClient {
    /// A client of the sidecar that Envoy knows as this cluster.
    pub(crate) fn new(cluster: &str) -> Self {
        Self { target: target::target(cluster).into_owned(), templates: RefCell::default() }
    }

    /// Asks the sidecar to classify the query's text within its time. `trace` are the headers of the client's trace.
    ///
    /// # Errors
    /// The call failed at once, for example because the cluster is not configured.
    pub(crate) fn classify(&self, query: &Query<'_>, trace: Vec<(&str, &[u8])>) -> Result<CallId, Status> {
        let message = self.encode(query.policy, query.examples, query.text);
        host::call_grpc(&self.target, SERVICE, METHOD, trace, &message, query.timeout)
    }

    fn encode(&self, policy: &Policy, examples: ExamplesPayload, text: &TextToClassify) -> Vec<u8> {
        match examples {
            ExamplesPayload::Digest => {
                let mut templates = self.templates.borrow_mut();
                let template = templates.entry(policy.id);
                template
                    .or_insert_with(|| template_for(&policy.classifier, examples))
                    .encode(text.to_body().into())
            }
            // Rare and large, so it is not kept.
            ExamplesPayload::Full => template_for(&policy.classifier, examples).encode(text.to_body().into()),
        }
    }
}

/// The request to a classifier, without its prompt.
fn template_for(classifier: &Classifier, payload: ExamplesPayload) -> RequestTemplate {
    let examples = classifier.examples().map(|examples| match payload {
        ExamplesPayload::Digest => FewShotExamples::Digest(examples.digest().to_owned()),
        ExamplesPayload::Full => FewShotExamples::Full(Arc::clone(examples)),
    });
    RequestTemplate::new(Classifiers::Named(vec![classifier.as_str().to_owned()]), examples)
}

#[cfg(test)]
mod tests {
    use llm_router_proto::contract::{CONTRACT_VERSION, ClassifyRequest};
    use llm_router_proto::envoy::service::ext_proc::v3::ProcessingRequest;
    use llm_router_routing::config::Config;
    use prost::Message;

    use super::*;

    fn config() -> Config {
        let config = serde_json::json!({
            "sidecar": {"cluster": "c"}, "default_policy": "support", "models": {"m": {"cluster": "c", "model": "m"}},
            "policies": {
                "support": {
                    "classifier": "examples", "default": "m",
                    "routes": {"billing": {"model": "m", "examples": ["refund please"]}},
                },
                "tasks": {"classifier": "task", "routes": {}, "default": "m"},
            },
        });
        Config::from_json(config.to_string().as_bytes()).unwrap()
    }

    fn sent(client: &SidecarClient, policy: &Policy, examples: ExamplesPayload) -> ClassifyRequest {
        let message = client.encode(policy, examples, &TextToClassify::default());
        ClassifyRequest::decode(ProcessingRequest::decode(message.as_slice()).unwrap()).unwrap()
    }

    #[test]
    fn examples_are_sent_only_when_they_are_asked_for() {
        let (client, config) = (SidecarClient::new("sidecar"), config());
        let policy = config.policy("support").unwrap();
        let examples = policy.classifier.examples().unwrap();
        let digest = ClassifyRequest {
            version: CONTRACT_VERSION,
            classifiers: Classifiers::Named(vec!["examples".to_owned()]),
            examples: Some(FewShotExamples::Digest(examples.digest().to_owned())),
            body: TextToClassify::default().to_body().into(),
        };
        let full =
            ClassifyRequest { examples: Some(FewShotExamples::Full(examples.clone())), ..digest.clone() };
        assert_eq!(sent(&client, policy, ExamplesPayload::Digest), digest);
        assert_eq!(sent(&client, policy, ExamplesPayload::Full), full);
        assert_eq!(sent(&client, policy, ExamplesPayload::Digest), digest, "and in the next call");
    }

    #[test]
    fn each_policy_has_a_template() {
        let (client, config) = (SidecarClient::new("sidecar"), config());
        for policy in config.policies().chain(config.policies()) {
            let request = sent(&client, policy, ExamplesPayload::Digest);
            assert_eq!(request.classifiers, Classifiers::Named(vec![policy.classifier.to_string()]));
            assert_eq!(request.examples.is_some(), policy.name.as_str() == "support");
        }
    }
}
