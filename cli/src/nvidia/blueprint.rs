//! A blueprint's configuration, read leniently: what cannot be used is reported later, policy by policy.

use serde_json::Value;

/// The configuration of a router controller.
#[derive(Debug)]
pub(super) struct Blueprint {
    /// Where it was found in the file; empty if it is the whole document.
    pub(super) place: String,
    /// The policy of requests that name none. The blueprint has no such field, some of its forks do.
    pub(super) default_policy: Option<String>,
    /// The policies in their order.
    pub(super) policies: Vec<Policy>,
}

/// A policy, and the LLMs that its classifier chooses from by position.
#[derive(Debug, PartialEq)]
pub(super) struct Policy {
    /// The controller ignores spaces around it.
    pub(super) name: String,
    /// The Triton ensemble that classifies.
    pub(super) url: String,
    /// In the order of the ensemble's labels.
    pub(super) llms: Vec<Llm>,
}

/// An LLM. Missing fields are empty.
#[derive(Debug)]
pub(super) struct Llm {
    /// The class, which clients name in manual routing.
    pub(super) name: String,
    pub(super) api_base: String,
    pub(super) api_key: String,
    pub(super) model: String,
}

/// Ignores the key: it does not affect routing, and a copy of the configuration may have it masked.
impl PartialEq for Llm {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, &self.api_base, &self.model) == (&other.name, &other.api_base, &other.model)
    }
}

impl Policy {
    /// Reads a policy. `key` is the one that it has in a map of policies.
    pub(super) fn read(value: &Value, key: Option<&str>) -> Self {
        let name = [text(value, "name"), key.unwrap_or_default().to_owned()];
        // The first demo of the blueprint had one policy: the URL in `policy`, the LLMs beside it.
        let url =
            [text(value, "url"), value.get("policy").map(|policy| text(policy, "url")).unwrap_or_default()];
        let first = |texts: [String; 2]| texts.into_iter().find(|text| !text.is_empty()).unwrap_or_default();
        Self {
            name: first(name),
            url: first(url),
            llms: llms(value).into_iter().flatten().map(Llm::read).collect(),
        }
    }
}

impl Llm {
    fn read(value: &Value) -> Self {
        Self {
            // Not trimmed, because manual routing compares it exactly.
            name: value.get("name").map(scalar).unwrap_or_default(),
            api_base: text(value, "api_base"),
            api_key: text(value, "api_key"),
            model: text(value, "model"),
        }
    }
}

/// The LLMs of a value that may be a policy.
pub(super) fn llms(value: &Value) -> Option<&Vec<Value>> {
    value.get("llms")?.as_array()
}

/// Whether a value is a policy with LLMs.
pub(super) fn is_policy(value: &Value) -> bool {
    llms(value)
        .is_some_and(|llms| llms.iter().any(|llm| llm.get("model").is_some() || llm.get("name").is_some()))
}

fn text(value: &Value, field: &str) -> String {
    value.get(field).map(scalar).unwrap_or_default().trim().to_owned()
}

/// Accepts numbers and the like, because YAML may read a name as one.
fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(_) | Value::Bool(_) => value.to_string(),
        _ => String::new(),
    }
}
