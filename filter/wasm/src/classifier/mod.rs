//! The call to the sidecar: our part of external processing, as one message each way.

mod request;
mod response;
mod target;

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Duration;

use llm_router_proto::contract::{RequestTemplate, UNKNOWN_DIGEST};
use llm_router_proto::{METHOD, SERVICE};
use llm_router_routing::config::Classifier;
use llm_router_routing::request::TextToClassify;
use proxy_wasm::types::Status;

pub(crate) use request::ExamplesPayload;
pub(crate) use response::response;

use crate::host::{self, CallId};
use crate::place::Place;

/// Calls the sidecar, for one worker.
pub(crate) struct SidecarClient {
    target: String,
    /// The part of the requests that is the same for every prompt, by classifier.
    templates: RefCell<HashMap<Place, RequestTemplate>>,
}

impl SidecarClient {
    /// A client of the sidecar that Envoy knows as this cluster.
    pub(crate) fn new(cluster: &str) -> Self {
        Self { target: target::target(cluster).into_owned(), templates: RefCell::default() }
    }

    /// Asks the sidecar to classify the text within `limit`. `trace` are the headers of the client's trace.
    ///
    /// # Errors
    /// The call failed at once, for example because the cluster is not configured.
    pub(crate) fn classify(
        &self,
        classifier: &Classifier,
        text: &TextToClassify,
        examples: ExamplesPayload,
        trace: Vec<(&str, &[u8])>,
        limit: Duration,
    ) -> Result<CallId, Status> {
        let message = self.encode(classifier, text, examples);
        host::call_grpc(&self.target, SERVICE, METHOD, trace, &message, limit)
    }

    fn encode(&self, classifier: &Classifier, text: &TextToClassify, examples: ExamplesPayload) -> Vec<u8> {
        match examples {
            ExamplesPayload::Digest => {
                let mut templates = self.templates.borrow_mut();
                let template = templates.entry(Place::of(classifier));
                template.or_insert_with(|| request::template(classifier, examples)).encode(text.to_body())
            }
            // Rare and large, so it is not kept.
            ExamplesPayload::Full => request::template(classifier, examples).encode(text.to_body()),
        }
    }
}

/// Whether the sidecar wants the few-shot examples of this classifier.
pub(crate) fn wants_examples(status: u32, classifier: &Classifier) -> bool {
    status == UNKNOWN_DIGEST && classifier.examples().is_some()
}

#[cfg(test)]
mod tests {
    use llm_router_proto::contract::{CONTRACT_VERSION, Classifiers, ClassifyRequest, FewShotExamples};
    use llm_router_proto::envoy::service::ext_proc::v3::ProcessingRequest;
    use llm_router_routing::config::Examples;
    use prost::Message;

    use super::*;

    fn by_examples() -> Classifier {
        let examples = Examples::new([("billing".to_owned(), vec!["refund please".to_owned()])].into());
        Classifier::Examples(examples.into())
    }

    fn sent(client: &SidecarClient, classifier: &Classifier, examples: ExamplesPayload) -> ClassifyRequest {
        let message = client.encode(classifier, &TextToClassify::default(), examples);
        ClassifyRequest::decode(ProcessingRequest::decode(message.as_slice()).unwrap()).unwrap()
    }

    #[test]
    fn only_a_classifier_by_examples_has_them_to_send() {
        assert!(wants_examples(UNKNOWN_DIGEST, &by_examples()));
        assert!(!wants_examples(UNKNOWN_DIGEST, &Classifier::from("task")));
        assert!(!wants_examples(UNKNOWN_DIGEST + 1, &by_examples()));
    }

    #[test]
    fn examples_are_sent_only_when_they_are_asked_for() {
        let (client, classifier) = (SidecarClient::new("sidecar"), by_examples());
        let examples = classifier.examples().unwrap();
        let digest = ClassifyRequest {
            version: CONTRACT_VERSION,
            classifiers: Classifiers::Named(vec!["examples".to_owned()]),
            examples: Some(FewShotExamples::Digest(examples.digest().to_owned())),
            body: TextToClassify::default().to_body().into(),
        };
        let full =
            ClassifyRequest { examples: Some(FewShotExamples::Full(examples.clone())), ..digest.clone() };
        assert_eq!(sent(&client, &classifier, ExamplesPayload::Digest), digest);
        assert_eq!(sent(&client, &classifier, ExamplesPayload::Full), full);
        assert_eq!(sent(&client, &classifier, ExamplesPayload::Digest), digest, "and in the next call");
    }

    #[test]
    fn each_classifier_has_a_template() {
        let client = SidecarClient::new("sidecar");
        let classifiers = [Classifier::from("task"), Classifier::from("complexity")];
        for classifier in classifiers.iter().chain(&classifiers) {
            let request = sent(&client, classifier, ExamplesPayload::Digest);
            assert_eq!(request.classifiers, Classifiers::Named(vec![classifier.to_string()]));
            assert_eq!(request.examples, None);
        }
    }
}
