//! Reads the values of the blueprint's Helm chart from which its template makes the configuration.

use serde_json::{Map, Value};

use super::blueprint::{Llm, Policy};
use super::classes::{HEADS, Head};

/// The policies of a chart's `config`: an `apiBase`, and a model for each class in `models`. None if it is something else,
/// or has its configuration elsewhere.
///
/// # Errors
/// If models are missing: the chart has defaults for these.
pub(super) fn policies(config: &Map<String, Value>) -> Option<Result<Vec<Policy>, String>> {
    let api_base = config.get("apiBase")?.as_str()?;
    let models = config.get("models")?.as_object()?;
    let is_set =
        |field: &&str| config.get(*field).and_then(Value::as_str).is_some_and(|value| !value.is_empty());
    if ["customConfig", "existingConfigMap"].iter().any(is_set) {
        return None;
    }
    let policies = HEADS.into_iter().map(|head| policy(head, api_base, models)).collect::<Option<_>>();
    Some(policies.ok_or_else(|| {
        "it does not have a model for each class; give all values of the chart, as `helm get values --all` prints them"
            .to_owned()
    }))
}

/// The policy for a classifier, if there is a model for each of its classes.
fn policy(head: &Head, api_base: &str, models: &Map<String, Value>) -> Option<Policy> {
    let llm = |(position, class): (usize, &str)| {
        let (_, model) = models.iter().find(|(key, _)| head.position(key) == Some(position))?;
        Some(Llm {
            name: class.to_owned(),
            api_base: api_base.to_owned(),
            api_key: "${NVIDIA_API_KEY}".to_owned(),
            model: model.as_str()?.to_owned(),
        })
    };
    Some(Policy {
        name: format!("{}_router", head.name),
        url: format!("http://router-server:8000/v2/models/{}_router_ensemble/infer", head.name),
        llms: head.classes().enumerate().map(llm).collect::<Option<_>>()?,
    })
}
