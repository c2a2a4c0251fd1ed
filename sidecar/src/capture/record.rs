//! One captured prompt.

use std::time::SystemTime;

use llm_router_classifier::model::prediction::HeadOutput;
use llm_router_routing::decision::Decision;
use serde_json::{Map, Value, json};

use super::redact::Redactor;

/// A prompt with its predictions and decision.
#[derive(Debug, Clone)]
pub struct Record {
    /// When it was classified.
    pub time: SystemTime,
    /// Envoy's id of the request, which its access log has, too.
    pub request_id: Option<String>,
    /// The policy that the prediction was for.
    pub policy: Option<String>,
    /// The prompt.
    pub text: String,
    /// Earlier messages of the same user, oldest first.
    pub context: Vec<String>,
    /// The predictions of the heads.
    pub scores: Vec<HeadOutput>,
    /// The decision, if this process made it, as in native mode. Our filter makes its own decisions.
    pub routed: Option<Routed>,
}

impl Default for Record {
    fn default() -> Self {
        Self {
            time: SystemTime::now(),
            request_id: None,
            policy: None,
            text: String::new(),
            context: Vec::new(),
            scores: Vec::new(),
            routed: None,
        }
    }
}

/// The decision for the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Routed {
    /// The policy that decided; none if a rule named the model.
    pub policy: Option<String>,
    /// The model's name.
    pub model: String,
    /// The reason.
    pub reason: &'static str,
}

impl From<&Decision> for Routed {
    fn from(decision: &Decision) -> Self {
        let Decision { model, policy, reason, .. } = decision;
        let policy = policy.as_ref().map(|policy| policy.name.to_string());
        Self { policy, model: model.name.to_string(), reason: reason.as_str() }
    }
}

impl Record {
    /// The length of everything that the caller sent, in bytes: the prompt, its context, and the names.
    pub(super) fn bytes(&self) -> usize {
        let names = [&self.request_id, &self.policy].into_iter().flatten();
        self.text.len() + self.context.iter().chain(names).map(String::len).sum::<usize>()
    }

    /// The record as a line of a file, with its line break. `text` and `context` are named as in training
    /// sets.
    pub(super) fn line(&self, redactor: &Redactor) -> String {
        let predictions: Map<_, _> =
            self.scores.iter().map(|scores| (scores.head.to_string(), prediction(scores))).collect();
        let context = self.context.iter().map(|text| redactor.redact(text)).collect::<Vec<_>>();
        let routed = self.routed.as_ref();
        let record = json!({
            "time": humantime::format_rfc3339_millis(self.time).to_string(),
            "request_id": self.request_id.as_deref().filter(|id| is_uuid(id)),
            "policy": routed.map_or(&self.policy, |routed| &routed.policy),
            "text": redactor.redact(&self.text),
            "context": context,
            "predictions": predictions,
            "model": routed.map(|routed| &routed.model),
            "reason": routed.map(|routed| routed.reason),
        });
        // Omits unknown fields.
        let known: Map<_, _> = match record {
            Value::Object(fields) => fields.into_iter().filter(|(_, value)| !is_empty(value)).collect(),
            _ => Map::new(),
        };
        format!("{}\n", Value::Object(known))
    }
}

/// Whether an id looks like one that Envoy generates. Clients may send any other text, which would be written
/// unredacted.
fn is_uuid(id: &str) -> bool {
    let groups: Vec<_> = id.split('-').collect();
    let is_hex = |group: &&str| group.bytes().all(|byte| byte.is_ascii_hexdigit());
    groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12]) && groups.iter().all(is_hex)
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

/// The label with its confidence, or the score.
fn prediction(scores: &HeadOutput) -> Value {
    match (scores.score, scores.top()) {
        (Some(score), _) => json!({"score": score}),
        (None, Some((label, confidence))) => json!({"label": label, "confidence": confidence}),
        (None, None) => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::capture::redact::Redaction;

    const ID: &str = "3f0a9c1e-7d7c-4a4e-9b53-0f6a5a0c1c58";

    fn head(name: &str, labels: &[(&str, f32)], score: Option<f32>) -> HeadOutput {
        HeadOutput {
            head: name.into(),
            labels: labels.iter().map(|(label, _)| (*label).to_owned()).collect(),
            confidences: labels.iter().map(|(_, confidence)| *confidence).collect(),
            score,
        }
    }

    #[test]
    fn a_line_has_the_prompt_the_predictions_and_the_decision() {
        let record = Record {
            time: UNIX_EPOCH + Duration::from_millis(1_500),
            request_id: Some(ID.to_owned()),
            policy: Some("asked".to_owned()),
            text: "write to ann@example.com".to_owned(),
            context: vec!["call 0151 2345678".to_owned()],
            scores: vec![
                head("task", &[("Chatbot", 0.25), ("Rewrite", 0.75)], None),
                head("complexity", &[("reasoning", 0.5)], Some(0.5)),
            ],
            routed: Some(Routed {
                policy: Some("p".to_owned()),
                model: "small".to_owned(),
                reason: "classified",
            }),
        };
        let line: Value = serde_json::from_str(&record.line(&Redactor::new(Redaction::default()))).unwrap();
        let expected = json!({
            "time": "1970-01-01T00:00:01.500Z", "request_id": ID, "policy": "p",
            "text": "write to [email]", "context": ["call [number]"],
            "predictions": {"task": {"label": "Rewrite", "confidence": 0.75}, "complexity": {"score": 0.5}},
            "model": "small", "reason": "classified",
        });
        assert_eq!(line, expected);
    }

    #[test]
    fn a_request_id_that_a_client_made_up_is_left_out() {
        for id in ["ann@example.com", "4111111111111111", &ID.replace('f', "g"), ""] {
            let record = Record { request_id: Some(id.to_owned()), ..Record::default() };
            let line = record.line(&Redactor::new(Redaction::none()));
            assert!(!line.contains("request_id"), "{line}");
        }
    }

    #[test]
    fn unknown_fields_are_omitted() {
        let record = Record { text: "hi".to_owned(), ..Record::default() };
        let line = record.line(&Redactor::new(Redaction::none()));
        let line: Map<String, Value> = serde_json::from_str(&line).unwrap();
        assert_eq!(line.keys().collect::<Vec<_>>(), ["time", "text", "predictions"]);
    }
}
