//! The call to the sidecar: our part of external processing, as one message each way.

mod answer;
mod question;
mod target;

use std::time::Duration;

use llm_router_proto::{METHOD, SERVICE, UNKNOWN_DIGEST};
use llm_router_routing::config::Classifier;
use proxy_wasm::types::Status;

pub(crate) use answer::answer;
pub(crate) use question::{Question, Teach};

use crate::host::{self, CallId};
use question::Encoder;

/// The calls of one worker.
#[derive(Default)]
pub(crate) struct Calls(Encoder);

impl Calls {
    /// Asks the sidecar, with the headers `trace`, for an answer within `limit`.
    ///
    /// # Errors
    /// The call failed at once: the cluster is not configured, say.
    pub(crate) fn ask(
        &self,
        cluster: &str,
        question: &Question<'_>,
        trace: Vec<(&str, &[u8])>,
        limit: Duration,
    ) -> Result<CallId, Status> {
        host::call_grpc(&target::target(cluster), SERVICE, METHOD, trace, &self.0.encode(question), limit)
    }
}

/// Whether the sidecar wants to be told the examples that the classifier goes by.
pub(crate) fn wants_examples(status: u32, classifier: &Classifier) -> bool {
    status == UNKNOWN_DIGEST && classifier.examples().is_some()
}

#[cfg(test)]
mod tests {
    use llm_router_routing::config::Examples;

    use super::*;

    #[test]
    fn only_a_classifier_by_examples_has_them_to_send() {
        let examples = Examples::new([("billing".to_owned(), vec!["refund please".to_owned()])].into());
        assert!(wants_examples(UNKNOWN_DIGEST, &Classifier::Examples(examples.into())));
        assert!(!wants_examples(UNKNOWN_DIGEST, &Classifier::from("task")));
    }
}
