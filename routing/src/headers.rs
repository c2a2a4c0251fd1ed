//! Names of the HTTP headers that the router reads and writes.

/// Chooses a policy by name; weaker than the body's metadata, stronger than the body's `model`.
pub const POLICY: &str = "x-llm-policy";

/// Every header of this prefix belongs to the router: what a client sends under it is removed, so that neither Envoy's
/// routes nor an LLM can be misled by it.
pub const OWN_PREFIX: &str = "x-llm-";

/// Response: the configured name of the chosen model.
pub const MODEL: &str = "x-llm-router-model";
/// Response: the policy that chose, if one did.
pub const CHOSEN_POLICY: &str = "x-llm-router-policy";
/// Response: the classifier's best label, if it was asked.
pub const LABEL: &str = "x-llm-router-label";
/// Response: the probability of that label, 0 to 1.
pub const CONFIDENCE: &str = "x-llm-router-confidence";
/// Response: the classifier's score, 0 to 1, if it was asked for one.
pub const SCORE: &str = "x-llm-router-score";
/// Response: why this model; see [`crate::decision::Reason`].
pub const REASON: &str = "x-llm-router-reason";
/// Response: the label again, under the name that NVIDIA's blueprint uses.
pub const CHOSEN_CLASSIFIER: &str = "x-chosen-classifier";

/// Whether a client's request header must not pass. Header names are lower case, as Envoy presents them.
///
/// ```
/// use llm_router_routing::headers::is_own;
/// assert!(is_own("x-llm-task", "x-llm-cluster"));
/// assert!(is_own("x-target", "x-target"));
/// assert!(!is_own("x-request-id", "x-llm-cluster"));
/// ```
pub fn is_own(name: &str, cluster_header: &str) -> bool {
    name.starts_with(OWN_PREFIX) || name == cluster_header
}
