//! Records the steps of a request as text.

use std::sync::Arc;

use serde_json::{Value, json};

use super::explainer::BodyValues;
use super::step::{Detail, ExplainedStep};
use super::words;
use crate::classification::Classification;
use crate::config::{Config, Mode, Policy};
use crate::decision::Decision;
use crate::exchange::{Event, EventSink, Forward, LocalResponse};
use crate::request::METADATA_FIELD;
use crate::requirements::Requirements;
use crate::router::Step;

/// The steps of one request, and its outcome.
pub(super) struct Narrator {
    pub(super) config: Arc<Config>,
    pub(super) steps: Vec<ExplainedStep>,
    pub(super) decision: Option<Decision>,
    pub(super) outcome: Value,
    /// What the request requires, once its body was read.
    pub(super) requirements: Option<Requirements>,
    /// The policy that decided last.
    pub(super) policy: Option<Arc<Policy>>,
    /// The mode of the policy: requests are explained as if the policy were enforced.
    mode: Mode,
    body_values: BodyValues,
}

impl Narrator {
    pub(super) fn new(config: Arc<Config>, mode: Mode, body_values: BodyValues) -> Self {
        Self {
            config,
            steps: Vec::new(),
            decision: None,
            outcome: Value::Null,
            requirements: None,
            policy: None,
            mode,
            body_values,
        }
    }

    pub(super) fn removed(&mut self, names: Vec<String>) {
        if !names.is_empty() {
            let text = format!("removed, because only the router may set them: {}", names.join(", "));
            self.say("headers", text, Detail::RemovedHeaders { names });
        }
    }

    pub(super) fn note(&mut self, topic: &'static str, text: String) {
        self.say(topic, text, Detail::Note);
    }

    pub(super) fn untouched(&mut self, reason: &str) {
        self.say("outcome", format!("forwarded unchanged: {reason}"), Detail::Outcome);
        self.outcome = json!({"action": "untouched"});
    }

    pub(super) fn responded(&mut self, response: &LocalResponse) {
        let body = String::from_utf8_lossy(&response.body);
        let text = format!("the router responds {}{}: {body}", response.status, self.shadow_note());
        self.say("outcome", text, Detail::Outcome);
        let body: Value = serde_json::from_slice(&response.body).unwrap_or_default();
        self.outcome = json!({
            "action": "respond", "status": response.status, "body": body, "applied": self.is_applied(),
        });
    }

    pub(super) fn forwarded(&mut self, forward: &Forward) {
        match self.decision.clone() {
            Some(decision) => self.routed(&decision, forward),
            None => self.passed(forward),
        }
    }

    /// The request is not routed, but its routing metadata is removed.
    fn passed(&mut self, forward: &Forward) {
        let note = self.shadow_note();
        let text = format!("forwarded without {METADATA_FIELD}: its model is not configured{note}");
        self.say("outcome", text, Detail::Outcome);
        self.outcome = json!({"action": "untouched"});
        self.headers_set(forward);
    }

    fn routed(&mut self, decision: &Decision, forward: &Forward) {
        let Decision { model, policy, classification, reason, next, .. } = decision;
        let note = self.shadow_note();
        let place = format!("cluster {}, model {}", model.cluster, model.upstream);
        self.say("outcome", format!("{} by reason {reason}: {place}{note}", model.name), Detail::Outcome);
        self.headers_set(forward);
        if !model.body.is_empty() {
            let members = model.body.names();
            let text = match self.body_values {
                BodyValues::Shown => model.body.to_string(),
                BodyValues::Hidden => format!("edits {}", members.join(", ")),
            };
            self.say("body", text, Detail::EditedBody { members });
        }
        let fallbacks: Vec<_> = next.iter().map(|model| model.name.to_string()).collect();
        if !fallbacks.is_empty() {
            let text = format!("on failure: {}", fallbacks.join(", "));
            self.say("retries", text, Detail::Retries { models: fallbacks.clone() });
        }
        let headers: serde_json::Map<_, _> =
            forward.headers.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        let label = classification.as_ref().and_then(Classification::label);
        self.outcome = json!({
            "action": "forward",
            "model": model.name.as_str(),
            "upstream_model": model.upstream,
            "cluster": model.cluster,
            "policy": policy.as_ref().map(|policy| policy.name.as_str()),
            "reason": reason.as_str(),
            "label": label.map(|label| label.name()),
            "headers": headers,
            "fallbacks": fallbacks,
            "applied": self.is_applied(),
        });
    }

    fn headers_set(&mut self, forward: &Forward) {
        for (name, value) in &forward.headers {
            let detail = Detail::SetHeader { name: name.clone(), value: value.clone() };
            self.say("set", format!("{name}: {value}"), detail);
        }
    }

    fn is_applied(&self) -> bool {
        self.mode == Mode::Enforce
    }

    fn shadow_note(&self) -> &'static str {
        match self.mode {
            Mode::Shadow => {
                " (the policy is in shadow mode: only reported, the request is forwarded unchanged)"
            }
            Mode::Enforce => "",
        }
    }

    fn say(&mut self, topic: &'static str, text: String, detail: Detail) {
        self.steps.push(ExplainedStep { topic, text, detail });
    }
}

impl EventSink for Narrator {
    fn record(&mut self, event: Event<'_>) {
        match event {
            Event::Step(step) => {
                match step {
                    Step::Required(requirements) => self.requirements = Some(*requirements),
                    Step::Policy(policy) => self.policy = self.config.policy(policy.name.as_str()).cloned(),
                    _ => {}
                }
                self.steps.extend(words::explained(&self.config, &step));
            }
            Event::Routed(decision) => self.decision = Some(decision.clone()),
            _ => {}
        }
    }
}
