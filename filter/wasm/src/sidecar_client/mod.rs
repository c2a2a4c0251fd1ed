//! The call to the sidecar: our part of external processing, as one message each way.

mod response;
mod target;

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use llm_router_proto::contract::{Classifiers, FewShotExamples, RequestTemplate};
use llm_router_proto::{METHOD, SERVICE};
use llm_router_routing::config::Classifier;
use llm_router_routing::exchange::{ExamplesPayload, Query};
use proxy_wasm::types::Status;

pub(crate) use response::response;

use crate::host::{self, CallId};

/// Calls the sidecar, for one worker.
pub(crate) struct SidecarClient {
    target: String,
    /// The part of the requests that is the same for every prompt, by the classifiers that are asked.
    templates: RefCell<HashMap<String, RequestTemplate>>,
}

impl SidecarClient {
    /// A client of the sidecar that Envoy knows as this cluster.
    pub(crate) fn new(cluster: &str) -> Self {
        Self { target: target::target(cluster).into_owned(), templates: RefCell::default() }
    }

    /// Asks the sidecar to classify the query's prompt within its time. `trace` are the headers of the client's trace.
    ///
    /// # Errors
    /// The call failed at once, for example because the cluster is not configured.
    pub(crate) fn classify(&self, query: &Query<'_>, trace: Vec<(&str, &[u8])>) -> Result<CallId, Status> {
        let message = self.encode(query);
        host::call_grpc(&self.target, SERVICE, METHOD, trace, &message, query.timeout)
    }

    fn encode(&self, query: &Query<'_>) -> Vec<u8> {
        let prompt = query.prompt.to_body().into();
        match query.payload {
            ExamplesPayload::Digest => {
                let mut templates = self.templates.borrow_mut();
                templates.entry(key(query)).or_insert_with(|| template_for(query)).encode(prompt)
            }
            // Rare and large, so it is not kept.
            ExamplesPayload::Full => template_for(query).encode(prompt),
        }
    }
}

/// What tells the templates of queries apart. A configuration has few combinations of classifiers.
fn key(query: &Query<'_>) -> String {
    let names = query.classifiers.iter().map(Classifier::as_str);
    names.chain(query.examples().map(|examples| examples.digest())).collect::<Vec<_>>().join("\n")
}

/// The request to the classifiers, without its prompt.
fn template_for(query: &Query<'_>) -> RequestTemplate {
    let examples = query.examples().map(|examples| match query.payload {
        ExamplesPayload::Digest => FewShotExamples::Digest(examples.digest().to_owned()),
        ExamplesPayload::Full => FewShotExamples::Full(Arc::clone(examples)),
    });
    let names = query.classifiers.iter().map(|classifier| classifier.as_str().to_owned());
    RequestTemplate::new(Classifiers::Named(names.collect()), examples)
}

#[cfg(test)]
mod tests {
    use llm_router_proto::contract::{CONTRACT_VERSION, ClassifyRequest};
    use llm_router_proto::envoy::service::ext_proc::v3::ProcessingRequest;
    use std::time::Duration;

    use llm_router_routing::config::Config;
    use llm_router_routing::request::{Prompt, RequestHead};
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

    fn sent(client: &SidecarClient, classifiers: &[Classifier], payload: ExamplesPayload) -> ClassifyRequest {
        let (prompt, head) = (Prompt::default(), RequestHead::default());
        let query = Query { classifiers, payload, prompt: &prompt, head: &head, timeout: Duration::ZERO };
        ClassifyRequest::decode(ProcessingRequest::decode(client.encode(&query).as_slice()).unwrap()).unwrap()
    }

    #[test]
    fn examples_are_sent_only_when_they_are_asked_for() {
        let (client, config) = (SidecarClient::new("sidecar"), config());
        let classifiers = [Classifier::from("mood"), config.policy("support").unwrap().classifier.clone()];
        let examples = classifiers[1].examples().unwrap();
        let digest = ClassifyRequest {
            version: CONTRACT_VERSION,
            classifiers: Classifiers::Named(vec!["mood".to_owned(), "examples".to_owned()]),
            examples: Some(FewShotExamples::Digest(examples.digest().to_owned())),
            body: Prompt::default().to_body().into(),
        };
        let full =
            ClassifyRequest { examples: Some(FewShotExamples::Full(examples.clone())), ..digest.clone() };
        assert_eq!(sent(&client, &classifiers, ExamplesPayload::Digest), digest);
        assert_eq!(sent(&client, &classifiers, ExamplesPayload::Full), full);
        assert_eq!(sent(&client, &classifiers, ExamplesPayload::Digest), digest, "and in the next call");
    }

    #[test]
    fn each_combination_of_classifiers_has_a_template() {
        let (client, config) = (SidecarClient::new("sidecar"), config());
        for policy in config.policies().chain(config.policies()) {
            let one = std::slice::from_ref(&policy.classifier);
            let request = sent(&client, one, ExamplesPayload::Digest);
            assert_eq!(request.classifiers, Classifiers::Named(vec![policy.classifier.to_string()]));
            assert_eq!(request.examples.is_some(), policy.name.as_str() == "support");
        }
    }
}
