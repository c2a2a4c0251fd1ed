//! What the sidecar is asked.

use std::sync::Arc;

use llm_router_proto::contract::{Classifiers, FewShotExamples, RequestTemplate};
use llm_router_routing::config::Classifier;

/// How a request carries the few-shot examples of a policy that has some.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExamplesPayload {
    /// As their digest: the sidecar knows the examples, or asks for them.
    Digest,
    /// In full, because the sidecar asked.
    Full,
}

/// The request to a classifier, without its prompt.
pub(super) fn template(classifier: &Classifier, payload: ExamplesPayload) -> RequestTemplate {
    let examples = classifier.examples().map(|examples| match payload {
        ExamplesPayload::Digest => FewShotExamples::Digest(examples.digest().to_owned()),
        ExamplesPayload::Full => FewShotExamples::Full(Arc::clone(examples)),
    });
    RequestTemplate::new(Classifiers::Named(vec![classifier.as_str().to_owned()]), examples)
}
