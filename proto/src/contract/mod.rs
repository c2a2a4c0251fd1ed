//! The contract between our filter and the sidecar: one [`ClassifyRequest`], one [`ClassifyResponse`].
//!
//! Both travel as messages of external processing. The prompt is a request body; the rest of the request is in its
//! `metadata_context`, and the response is `dynamic_metadata`, each as a structure under the namespace `llm_router`.
//! No other module knows the names of the fields. Native Envoy does not send this metadata, which means a request for every
//! classifier.
//!
//! Each side sends its [`Version`]. Sides of one major version understand each other: an older one ignores the fields
//! that it does not know, a newer one works without the missing ones. Sides of different major versions reject each
//! other with an [`IncompatibleVersion`].

mod request;
mod response;
mod version;

use crate::envoy::config::core::v3::Metadata;

pub use request::{
    Classifiers, ClassifyRequest, FewShotExamples, RequestError, RequestTemplate, RequestedExamples,
};
pub use response::{ClassifyResponse, Coverage, HeadPrediction, ResponseError, decision_metadata};
pub use version::{CONTRACT_VERSION, IncompatibleVersion, Version};

/// The gRPC status with which the sidecar reports that it does not know the few-shot examples of this digest, and needs the
/// examples themselves: `FAILED_PRECONDITION`.
pub const UNKNOWN_DIGEST: u32 = 9;

/// The namespace of our metadata in both directions.
const NAMESPACE: &str = "llm_router";

/// The field of the sender's [`Version`], in both directions. Heads share the response's namespace, but their names have
/// no underscore.
const VERSION: &str = "contract_version";

/// Whether metadata comes from our filter, and not from native Envoy.
#[must_use]
pub fn is_ours(metadata: &Metadata) -> bool {
    metadata.filter_metadata.contains_key(NAMESPACE)
}

#[cfg(test)]
mod tests;
