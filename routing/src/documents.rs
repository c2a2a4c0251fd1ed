//! Finds routing policies in YAML or JSON text: a policy file, an Envoy bootstrap, or a Kubernetes manifest.
//!
//! The policy tool, the sidecar and the trainer all accept these files. Reading the file is the caller's job.

use std::fmt;

use serde_json::{Map, Value};

use crate::config::{Config, ConfigError};

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
/// If the text cannot be parsed, or does not have exactly one policy.
pub fn find_one(text: &str) -> Result<Value, DocumentError> {
    let mut found: Vec<_> = parse(text)?.iter().flat_map(locate).collect();
    match (found.pop(), found.len()) {
        (Some(found), 0) => found.policy,
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

/// A policy before it is validated, or why its text cannot be parsed.
struct Located {
    place: String,
    policy: Result<Value, DocumentError>,
}

/// Its top level has these; a map with three of them counts as a policy, so that a missing or misspelt one is
/// reported.
const KEYS: [&str; 4] = ["sidecar", "default_policy", "models", "policies"];

/// All policies in a document.
pub fn find(document: &Value) -> Vec<Found> {
    let located = locate(document).into_iter();
    located
        .map(|Located { place, policy }| Found { place, policy: policy.and_then(|policy| validate(&policy)) })
        .collect()
}

fn locate(document: &Value) -> Vec<Located> {
    let mut found = Vec::new();
    // A document with but one of the keys is a policy that was hardly begun.
    if has_keys(document, 1) {
        found.push(Located { place: String::new(), policy: Ok(document.clone()) });
    } else {
        search(document, "", &mut found);
    }
    found
}

fn search(value: &Value, place: &str, found: &mut Vec<Located>) {
    if has_keys(value, 3) {
        found.push(Located { place: place.to_owned(), policy: Ok(value.clone()) });
        return;
    }
    match value {
        Value::Object(members) => {
            let object = kubernetes_object(members);
            let place = object.as_deref().unwrap_or(place);
            let dot = if place.is_empty() { "" } else { "." };
            for (key, value) in members {
                search(value, &format!("{place}{dot}{key}"), found);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                search(item, &format!("{place}[{index}]"), found);
            }
        }
        // A StringValue holds the policy as text; a ConfigMap a whole file.
        Value::String(text) if text.contains("default_policy") && text.contains("policies") => {
            match serde_saphyr::from_multiple::<Value>(text) {
                Ok(documents) => {
                    for document in documents.iter().filter(|document| !document.is_string()) {
                        search(document, place, found);
                    }
                }
                Err(error) => {
                    let policy = Err(DocumentError::Syntax(error.to_string()));
                    found.push(Located { place: place.to_owned(), policy });
                }
            }
        }
        _ => {}
    }
}

fn has_keys(value: &Value, at_least: usize) -> bool {
    let Value::Object(members) = value else { return false };
    KEYS.iter().filter(|key| members.contains_key(**key)).count() >= at_least
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

fn kubernetes_object(members: &Map<String, Value>) -> Option<String> {
    let kind = members.get("kind")?.as_str()?;
    let name = members.get("metadata")?.get("name")?.as_str()?;
    Some(format!("{kind}/{name}"))
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
