//! Puts the events of an exchange into words.

use std::fmt;
use std::sync::Arc;

use serde_json::{Value, json};

use super::phrases::{conditions, outcome_cell, target_cell};
use crate::classification::{Classification, Prediction};
use crate::config::{Classifier, Config, Name};
use crate::decision::Decision;
use crate::exchange::{Event, EventSink, Forward, LocalResponse};
use crate::request::METADATA_FIELD;
use crate::requirements::{Capability, Requirements};
use crate::router::Step;

/// The longest part of a prompt that is printed, in characters.
const MAX_PROMPT: usize = 100;

/// The steps of one request, each with its topic, and the outcome.
pub struct Narrator {
    config: Arc<Config>,
    in_shadow: bool,
    lines: Vec<(&'static str, String)>,
    decision: Option<Decision>,
    outcome: Value,
}

impl Narrator {
    /// Nothing has happened yet. `in_shadow`: the policy only reports what it would do.
    pub fn new(config: Arc<Config>, in_shadow: bool) -> Self {
        Self { config, in_shadow, lines: Vec::new(), decision: None, outcome: Value::Null }
    }

    /// The steps so far: topic and text.
    pub fn lines(&self) -> &[(&'static str, String)] {
        &self.lines
    }

    /// What becomes of the request, as JSON; null until it is known.
    pub fn outcome(&self) -> &Value {
        &self.outcome
    }

    /// These headers of the client are removed.
    pub fn removed(&mut self, names: &[String]) {
        if !names.is_empty() {
            self.say("headers", format!("removed, as they are the router's own: {}", names.join(", ")));
        }
    }

    /// The classifiers that were asked, and those that gave predictions.
    pub fn classifiers_called(&mut self, asked: &[Classifier], given: &[(String, Prediction)]) {
        let missing =
            asked.iter().map(Classifier::as_str).filter(|name| given.iter().all(|(it, _)| it != name));
        let missing: Vec<_> = missing.collect();
        if !missing.is_empty() {
            let names = missing.join(", ");
            let text = format!(
                "no prediction given of {names}, which counts as unavailable; give one with --label, --score or --head"
            );
            self.say("classifier", text);
        }
    }

    /// The request goes on as it came.
    pub fn untouched(&mut self, reason: &str) {
        self.say("outcome", format!("goes on unchanged: {reason}"));
        self.outcome = json!({"action": "untouched"});
    }

    /// The router responds to the client.
    pub fn responded(&mut self, response: &LocalResponse) {
        let body = String::from_utf8_lossy(&response.body);
        self.say("outcome", format!("the router responds {}{}: {body}", response.status, self.shadow_note()));
        let body: Value = serde_json::from_slice(&response.body).unwrap_or_default();
        self.outcome = json!({
            "action": "respond", "status": response.status, "body": body, "applied": !self.in_shadow,
        });
    }

    /// The request is not routed, but its routing metadata is removed.
    fn passed(&mut self, forward: &Forward) {
        let note = self.shadow_note();
        let text = format!("goes on without {METADATA_FIELD}: its model is not configured{note}");
        self.say("outcome", text);
        self.outcome = json!({"action": "untouched"});
        for (name, value) in &forward.headers {
            self.say("set", format!("{name}: {value}"));
        }
    }

    /// The request goes on with changes.
    pub fn forwarded(&mut self, forward: &Forward) {
        let Some(Decision { model, policy, classification, reason, next, .. }) = self.decision.clone() else {
            self.passed(forward);
            return;
        };
        let note = self.shadow_note();
        let place = format!("cluster {}, model {}", model.cluster, model.upstream);
        self.say("outcome", format!("{} by reason {reason}: {place}{note}", model.name));
        for (name, value) in &forward.headers {
            self.say("set", format!("{name}: {value}"));
        }
        if !model.body.is_empty() {
            self.say("body", model.body.to_string());
        }
        if !next.is_empty() {
            let names: Vec<_> = next.iter().map(|model| model.name.as_str()).collect();
            self.say("retries", format!("on failure: {}", names.join(", ")));
        }
        let headers: serde_json::Map<_, _> =
            forward.headers.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        let label = classification.as_ref().and_then(Classification::label);
        self.outcome = json!({
            "action": "forward",
            "model": model.name.as_str(),
            "upstream_model": model.upstream,
            "cluster": model.cluster,
            "policy": policy.map(|policy| policy.name.to_string()),
            "reason": reason.as_str(),
            "label": label.map(|label| label.name()),
            "headers": headers,
            "fallbacks": next.iter().map(|model| model.name.as_str()).collect::<Vec<_>>(),
            "applied": !self.in_shadow,
        });
    }

    fn shadow_note(&self) -> &'static str {
        if self.in_shadow {
            " (the policy is in shadow mode: only reported, the request goes on as it came)"
        } else {
            ""
        }
    }

    /// Who decides where the client names neither a policy nor a model.
    fn default_choice(&self) -> &'static str {
        if self.config.rules.is_empty() {
            "the default policy decides"
        } else {
            "rules decide, then the default policy"
        }
    }

    fn say(&mut self, topic: &'static str, text: String) {
        self.lines.push((topic, text));
    }

    fn step(&mut self, step: Step<'_>) {
        match step {
            Step::Required(requirements) => self.say("requires", required(requirements)),
            Step::PolicyNamed { field, policy } => {
                self.say("client", format!("names the policy {} in {field}", policy.name));
            }
            Step::ManualModel(name) => self.say("client", format!("names {name:?} by hand in its metadata")),
            Step::NoModelField => self.say("client", format!("names no model: {}", self.default_choice())),
            Step::ModelField { name, meaning } => {
                self.say("client", format!("model {name:?}: {}", self.meaning(meaning)));
            }
            Step::Threshold(threshold) => {
                self.say("client", format!("sets the threshold {threshold}"));
            }
            Step::Rule { index, matches } => {
                let Some(rule) = self.config.rules.get(index) else { return };
                let text = match matches {
                    Some(true) => format!("matches → {}", outcome_cell(rule)),
                    Some(false) => "does not match".to_owned(),
                    None => "depends on predictions".to_owned(),
                };
                self.say("rule", format!("{}: {}: {text}", index + 1, conditions(&rule.when)));
            }
            Step::Continues(Some(model)) => {
                self.say("state", format!("continues a response that {} made", model.name));
            }
            Step::Continues(None) => {
                self.say("state", "continues what a provider keeps; which one is not known".to_owned());
            }
            Step::Policy(policy) => {
                self.say("policy", format!("{}, by classifier {}", policy.name, policy.classifier));
            }
            Step::Prompt(prompt) => {
                let prompt = prompt.text();
                let characters = prompt.chars().count();
                let start: String = prompt.chars().take(MAX_PROMPT).collect();
                let cut = if characters > MAX_PROMPT { "…" } else { "" };
                self.say("prompt", format!("{start:?}{cut} ({characters} characters)"));
            }
            Step::Sticky(model) => {
                self.say("sticky", format!("an earlier message of the conversation decides: {}", model.name))
            }
            Step::Label { label, min_confidence, target } => {
                let (name, confidence) = (label.name(), label.confidence());
                let text = match target {
                    Some(target) => format!("→ {}", target_cell(target)),
                    None if confidence < min_confidence => {
                        format!("is below the confidence of {min_confidence}")
                    }
                    None => "has no route".to_owned(),
                };
                self.say("classifier", format!("{name} {confidence:.3} {text}"));
            }
            Step::Score { score, threshold, target } => {
                let bound = threshold.map(|it| format!(" with the request's bound {it}")).unwrap_or_default();
                let target = target.map_or_else(|| "no band".to_owned(), target_cell);
                self.say("classifier", format!("score {score:.3}{bound} → {target}"));
            }
            Step::WrongKind => {
                let text = "its prediction is not of the kind that the policy needs (a label for routes, a score for bands)";
                self.say("classifier", text.to_owned());
            }
            Step::Unavailable => self.say("classifier", "is unavailable".to_owned()),
            Step::Default(target) => self.say("default", format!("→ {}", target_cell(target))),
            Step::Unable { model, unmet } => {
                self.say("unable", format!("{} does not take {unmet}", model.name))
            }
            Step::Fallback(model) => {
                self.say("fallback", format!("{} takes the request instead", model.name))
            }
            // Others are the business of metrics.
            _ => {}
        }
    }

    fn meaning(&self, meaning: Option<&Name>) -> String {
        match meaning {
            Some(Name::Auto) => self.default_choice().to_owned(),
            Some(Name::Policy(policy)) => format!("the policy {}", policy.name),
            Some(Name::Model(model)) => format!("the model {}", model.name),
            Some(Name::Alias(model)) => format!("an alias of the model {}", model.name),
            None => format!("not configured; on_unknown_model is {:?}", self.config.on_unknown_model)
                .to_lowercase(),
        }
    }
}

impl EventSink for Narrator {
    fn record(&mut self, event: Event<'_>) {
        match event {
            Event::Step(step) => self.step(step),
            Event::Routed(decision) => self.decision = Some(decision.clone()),
            _ => {}
        }
    }
}

impl fmt::Display for Narrator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.lines.iter().map(|(topic, _)| topic.len()).max().unwrap_or(0);
        for (topic, text) in &self.lines {
            writeln!(f, "{topic:<width$}  {text}")?;
        }
        Ok(())
    }
}

fn required(requirements: &Requirements) -> String {
    let Requirements { api, capabilities, tokens } = requirements;
    let named: Vec<_> =
        Capability::ALL.into_iter().filter(|one| capabilities.has(*one)).map(|one| one.to_string()).collect();
    let capabilities = if named.is_empty() { String::new() } else { format!(", {}", named.join(", ")) };
    format!("{api}'s API, about {tokens} tokens{capabilities}")
}
