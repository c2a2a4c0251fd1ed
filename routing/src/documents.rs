//! Finds routing policies in YAML or JSON text: a policy file, an Envoy bootstrap, or a Kubernetes manifest.
//!
//! The policy tool, the sidecar and the trainer all accept these files. Reading the file is the caller's job.

pub mod kubernetes;
mod search;

use std::fmt;

use serde_json::Value;

use crate::config::{Config, ConfigError};
use search::{Located, MAX_ALIASES, MAX_BYTES, MAX_DEPTH, MAX_STRINGS, Search};

/// Why a document, or a policy in it, cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DocumentError {
    /// The text is neither YAML nor JSON; the parser's message.
    Syntax(String),
    /// There is no document in the text.
    Empty,
    /// The document is the configuration of NVIDIA's blueprint, not a policy.
    Blueprint,
    /// The policy is not valid.
    Invalid(ConfigError),
    /// No document has a policy.
    NoPolicy,
    /// There are several policies where one is expected.
    SeveralPolicies(usize),
    /// Too many strings are around what may be a policy.
    NestedTooDeep,
    /// The strings that may contain a policy are too many or too large.
    NestedTooLarge,
}

impl fmt::Display for DocumentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax(error) => write!(f, "the text is neither YAML nor JSON: {error}"),
            Self::Empty => f.write_str("the text is empty"),
            Self::Blueprint => f.write_str(
                "policies: is a list, as in the configuration of NVIDIA's blueprint; `llm-router import-nvidia` \
                 converts that to a policy",
            ),
            Self::Invalid(error) => error.fmt(f),
            Self::NoPolicy => f.write_str("the text contains no policy"),
            Self::SeveralPolicies(count) => write!(f, "the text contains {count} policies; expected one"),
            Self::NestedTooDeep => write!(
                f,
                "what may be a policy is nested in more than {MAX_DEPTH} levels of strings: pass the text of an inner level"
            ),
            Self::NestedTooLarge => write!(
                f,
                "the strings that may contain a policy are too large: the maximum is {MAX_STRINGS} strings, {MAX_BYTES} bytes in \
                 all after aliases are expanded, and {MAX_ALIASES} aliases in each: pass the text of the policy"
            ),
        }
    }
}

impl std::error::Error for DocumentError {}

/// The documents of a YAML stream or a JSON text.
///
/// # Errors
/// If the text is neither YAML nor JSON, or has no content.
pub fn parse(text: &str) -> Result<Vec<Value>, DocumentError> {
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(text).map_err(|error| DocumentError::Syntax(error.to_string()))?;
    match documents.iter().all(Value::is_null) {
        true => Err(DocumentError::Empty),
        false => Ok(documents),
    }
}

/// The only policy in a text.
///
/// # Errors
/// If the text cannot be parsed, or does not have exactly one valid policy.
pub fn parse_one(text: &str) -> Result<Config, DocumentError> {
    validate(&find_one(text)?)
}

/// The only policy in a text, before it is validated.
///
/// # Errors
/// If the text cannot be parsed, exceeds a limit of the search, or does not have exactly one policy.
pub fn find_one(text: &str) -> Result<Value, DocumentError> {
    let mut search = Search::default();
    parse(text)?.iter().for_each(|document| search.document(document));
    let Search { mut found, is_over, .. } = search;
    match (found.pop(), found.len()) {
        (Some(found), others) if others == 0 || is_over => found.policy,
        (None, _) => Err(DocumentError::NoPolicy),
        (Some(_), others) => Err(DocumentError::SeveralPolicies(others + 1)),
    }
}

/// A policy, and where in its file it was found.
#[derive(Debug)]
pub struct Found {
    /// The path of keys to it, after the Kubernetes object's kind and name if it is in one; empty if it is the whole
    /// document.
    pub place: String,
    /// The policy, or what is wrong with it.
    pub policy: Result<Config, DocumentError>,
}

/// All policies in a document. If it exceeds a limit of the search, the last item is the error.
pub fn find(document: &Value) -> Vec<Found> {
    let mut search = Search::default();
    search.document(document);
    let located = search.found.into_iter();
    located
        .map(|Located { place, policy }| Found { place, policy: policy.and_then(|policy| validate(&policy)) })
        .collect()
}

/// The policy in this value.
///
/// # Errors
/// If it is not valid.
pub fn validate(policy: &Value) -> Result<Config, DocumentError> {
    if policy.get("policies").is_some_and(Value::is_array) {
        return Err(DocumentError::Blueprint);
    }
    Config::from_json(policy.to_string().as_bytes()).map_err(DocumentError::Invalid)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn policy() -> Value {
        json!({
            "sidecar": {"cluster": "c"}, "default_policy": "p",
            "models": {"m": {"cluster": "c", "model": "m"}},
            "policies": {"p": {"classifier": "task", "routes": {}, "default": "m"}},
        })
    }

    fn places(document: &Value) -> Vec<(String, bool)> {
        find(document).into_iter().map(|found| (found.place, found.policy.is_ok())).collect()
    }

    #[test]
    fn a_policy_is_found_alone_in_a_struct_and_in_a_string() {
        assert_eq!(places(&policy()), [(String::new(), true)]);
        let filter = |configuration: Value| json!({"filters": [{"config": {"configuration": {"value": configuration}}}]});
        let place = "filters[0].config.configuration.value".to_owned();
        assert_eq!(places(&filter(policy())), [(place.clone(), true)]);
        assert_eq!(places(&filter(json!(policy().to_string()))), [(place, true)]);
    }

    #[test]
    fn a_policy_in_a_config_map_is_found() {
        let text = "sidecar: {cluster: c}\ndefault_policy: p\nmodels: {m: {cluster: c, model: m}}\n\
                    policies: {p: {classifier: task, routes: {}, default: m}}\n";
        let map = json!({"kind": "ConfigMap", "data": {"policy.yaml": text}});
        assert_eq!(places(&map), [("data.policy.yaml".to_owned(), true)]);
        let named =
            json!({"items": [{"kind": "ConfigMap", "metadata": {"name": "llm"}, "data": {"p": text}}]});
        assert_eq!(places(&named), [("ConfigMap/llm.data.p".to_owned(), true)]);
    }

    #[test]
    fn text_that_should_hold_a_policy_and_is_no_yaml_is_reported() {
        let found = find(&json!({"value": "{\"default_policy\": \"p\", \"policies\": {"}));
        assert_eq!(found[0].place, "value");
        let error = found[0].policy.as_ref().unwrap_err().to_string();
        assert!(error.starts_with("the text is neither YAML nor JSON"), "{error}");
    }

    #[test]
    fn a_blueprints_configuration_is_told_from_a_policy() {
        let found = find(&json!({"policies": [{"name": "task_router", "llms": []}]}));
        let error = found[0].policy.as_ref().unwrap_err().to_string();
        assert!(error.contains("import-nvidia"), "{error}");
    }

    #[test]
    fn a_broken_policy_is_found_too() {
        let mut broken = policy();
        broken.as_object_mut().unwrap().remove("default_policy");
        broken["defualt_policy"] = json!("p");
        let found = find(&broken);
        let error = found[0].policy.as_ref().unwrap_err().to_string();
        assert!(error.contains("defualt_policy"), "{error}");
    }

    #[test]
    fn other_documents_have_none() {
        assert!(find(&json!({"spec": {"models": {}, "kind": "Deployment"}})).is_empty());
    }

    const POLICY: &str = "sidecar: {cluster: c}\ndefault_policy: p\nmodels: {m: {cluster: c, model: m}}\n\
                          policies: {p: {classifier: task, routes: {}, default: m}}\n";

    #[test]
    fn one_policy_is_read_alone_or_where_it_is_embedded() {
        assert_eq!(parse_one(POLICY).unwrap().default_policy.name.as_str(), "p");
        let map = format!("kind: ConfigMap\ndata:\n  policy.yaml: |\n    {}", POLICY.replace('\n', "\n    "));
        assert_eq!(parse_one(&map).unwrap().default_policy.name.as_str(), "p");
    }

    #[test]
    fn a_text_without_exactly_one_valid_policy_is_rejected_with_the_reason() {
        for (text, reason) in [
            (POLICY.replace("default: m", "default: nope"), "nope"),
            ("kind: Deployment\n".to_owned(), "no policy"),
            (format!("{POLICY}---\n{POLICY}"), "2 policies"),
            ("---\n".to_owned(), "empty"),
            ("a: [".to_owned(), "neither YAML nor JSON"),
        ] {
            let error = parse_one(&text).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
    }
}
