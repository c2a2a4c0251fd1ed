//! State that only the model that made it understands: signed thinking, encrypted reasoning, stored responses.

use serde_json::Value;

const MARK: &str = "mock-state-of:";

/// A signature or encrypted content of this cluster's model.
#[must_use]
pub fn sealed(cluster: &str) -> String {
    format!("{MARK}{cluster}")
}

/// Why the cluster's model cannot continue this request, if it cannot. Like real providers, it rejects another model's state.
pub(super) fn foreign(request: &Value, cluster: &str) -> Option<String> {
    let stored = request["previous_response_id"].as_str();
    if let Some(id) =
        stored.filter(|id| id.starts_with("resp_") && !id.starts_with(&format!("resp_{cluster}_")))
    {
        return Some(format!("Previous response with id '{id}' not found."));
    }
    let sealed = foreign_seal(request, &sealed(cluster))?;
    Some(format!("Invalid signature or encrypted content: {sealed}"))
}

fn foreign_seal<'a>(value: &'a Value, own: &str) -> Option<&'a str> {
    match value {
        Value::String(text) if text.starts_with(MARK) && text != own => Some(text),
        Value::Array(items) => items.iter().find_map(|item| foreign_seal(item, own)),
        Value::Object(fields) => fields.values().find_map(|field| foreign_seal(field, own)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_another_model_made_is_foreign() {
        let signed = |by: &str| {
            let thinking = json!({ "type": "thinking", "thinking": "Well.", "signature": sealed(by) });
            json!({ "messages": [{ "role": "assistant", "content": [thinking] }] })
        };
        assert_eq!(foreign(&signed("a"), "a"), None);
        assert!(foreign(&signed("a"), "b").is_some());
        let after = |id: &str| json!({ "previous_response_id": id });
        assert_eq!(foreign(&after("resp_a_1"), "a"), None);
        assert!(foreign(&after("resp_a_1"), "b").is_some());
        assert_eq!(foreign(&after("another-server's"), "a"), None);
        assert_eq!(foreign(&json!({ "previous_response_id": null }), "a"), None);
    }
}
