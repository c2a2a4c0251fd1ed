//! The router's steps as text.

use super::phrases::{conditions, outcome_cell, target_cell};
use super::step::{Detail, ExplainedStep};
use crate::config::{Config, Name, Target};
use crate::decision::Comparison;
use crate::requirements::Requirements;
use crate::router::Step;

/// The longest part of a prompt that is printed, in characters.
const MAX_PROMPT: usize = 100;

/// A step as text; none if only metrics need it.
pub(super) fn explained(config: &Config, step: &Step<'_>) -> Option<ExplainedStep> {
    let (topic, text, detail) = match *step {
        Step::Required(requirements) => ("requires", required(requirements), requires(requirements)),
        Step::PolicyNamed { field, policy } => {
            let policy = policy.name.to_string();
            let text = format!("names the policy {policy} in {field}");
            ("client", text, Detail::PolicyNamed { field: field.to_owned(), policy })
        }
        Step::ManualModel(name) => {
            let text = format!("names {name:?} by hand in its metadata");
            ("client", text, Detail::ManualModel { name: name.to_owned() })
        }
        Step::NoModelField => {
            ("client", format!("names no model: {}", default_choice(config)), Detail::NoModelField)
        }
        Step::ModelField { name, meaning } => {
            let text = format!("model {name:?}: {}", meaning_of(config, meaning));
            ("client", text, Detail::ModelField { name: name.to_owned(), known: meaning.is_some() })
        }
        Step::Threshold(threshold) => {
            ("client", format!("sets the threshold {threshold}"), Detail::Threshold { threshold })
        }
        Step::Rule { index, matches } => rule(config, index, matches)?,
        Step::Continues(Some(model)) => {
            let model = model.name.to_string();
            (
                "state",
                format!("continues a response that {model} made"),
                Detail::Continues { model: Some(model) },
            )
        }
        Step::Continues(None) => {
            let text = "continues what a provider keeps; which one is not known";
            ("state", text.to_owned(), Detail::Continues { model: None })
        }
        Step::Policy(policy) => {
            let (policy, classifier) = (policy.name.to_string(), policy.classifier.to_string());
            ("policy", format!("{policy}, by classifier {classifier}"), Detail::Policy { policy, classifier })
        }
        Step::Prompt(prompt) => {
            let prompt = prompt.text();
            let characters = prompt.chars().count();
            let start: String = prompt.chars().take(MAX_PROMPT).collect();
            let cut = if characters > MAX_PROMPT { "…" } else { "" };
            ("prompt", format!("{start:?}{cut} ({characters} characters)"), Detail::Prompt { characters })
        }
        Step::Sticky(model) => {
            let model = model.name.to_string();
            (
                "sticky",
                format!("an earlier message of the conversation decides: {model}"),
                Detail::Sticky { model },
            )
        }
        Step::Label { label, min_confidence, target } => {
            let (name, confidence) = (label.name(), label.confidence());
            let compared = match target {
                Some(target) => format!("→ {}", target_cell(target)),
                None if confidence < min_confidence => format!("is below the confidence of {min_confidence}"),
                None => "has no route".to_owned(),
            };
            let text = format!("{name} {confidence:.3} {compared}");
            let (label, models) = (name.to_owned(), target.map(models));
            ("classifier", text, Detail::Label { label, confidence, min_confidence, models })
        }
        Step::Score { score, threshold, target } => {
            let bound = threshold.map(|it| format!(" with the request's bound {it}")).unwrap_or_default();
            let band = target.map_or_else(|| "no band".to_owned(), target_cell);
            let text = format!("score {score:.3}{bound} → {band}");
            ("classifier", text, Detail::Score { score, threshold, models: target.map(models) })
        }
        Step::WrongKind => {
            let text = "its prediction is not of the kind that the policy needs (a label for routes, a score for bands)";
            ("classifier", text.to_owned(), Detail::WrongKind)
        }
        Step::Unavailable => ("classifier", "is unavailable".to_owned(), Detail::Unavailable),
        Step::Default(target) => {
            ("default", format!("→ {}", target_cell(target)), Detail::Default { models: models(target) })
        }
        Step::Unable { model, unmet } => {
            let (model, unmet) = (model.name.to_string(), unmet.to_string());
            ("unable", format!("{model} does not support {unmet}"), Detail::Unable { model, unmet })
        }
        Step::Fallback(model) => {
            let model = model.name.to_string();
            ("fallback", format!("{model} takes the request instead"), Detail::Fallback { model })
        }
        Step::NoFailover { model, max_bytes } => {
            let text = format!(
                "on failure: none, because the members that the body edits of {} change have more than {max_bytes} bytes",
                model.name
            );
            ("retries", text, Detail::Retries { models: Vec::new() })
        }
        Step::Compared(comparison) => compared(comparison),
        // Only metrics need it.
        Step::Lookup { .. } => return None,
    };
    Some(ExplainedStep { topic, text, detail })
}

fn compared(comparison: &Comparison) -> (&'static str, String, Detail) {
    let candidate = comparison.policy.candidate.as_ref().map_or("", |policy| policy.name.as_str());
    let text = match &comparison.model {
        Some(model) => format!("{candidate} would choose {}", model.name),
        None => format!("{candidate} would choose no model"),
    };
    let model = comparison.model.as_ref().map(|model| model.name.to_string());
    ("candidate", text, Detail::Compared { candidate: candidate.to_owned(), model })
}

fn rule(config: &Config, index: usize, matches: Option<bool>) -> Option<(&'static str, String, Detail)> {
    let rule = config.rules.get(index)?;
    let (number, condition, outcome) = (index + 1, conditions(&rule.when), outcome_cell(rule));
    let result = match matches {
        Some(true) => format!("matches → {outcome}"),
        Some(false) => "does not match".to_owned(),
        None => "depends on predictions".to_owned(),
    };
    let text = format!("{number}: {condition}: {result}");
    Some(("rule", text, Detail::Rule { number, name: rule.name.clone(), condition, outcome, matches }))
}

/// What decides if the client names neither a policy nor a model.
fn default_choice(config: &Config) -> &'static str {
    if config.rules.is_empty() {
        "the default policy decides"
    } else {
        "rules decide, then the default policy"
    }
}

fn meaning_of(config: &Config, meaning: Option<&Name>) -> String {
    match meaning {
        Some(Name::Auto) => default_choice(config).to_owned(),
        Some(Name::Policy(policy)) => format!("the policy {}", policy.name),
        Some(Name::Model(model)) => format!("the model {}", model.name),
        Some(Name::Alias(model)) => format!("an alias of the model {}", model.name),
        None => format!("not configured; on_unknown_model is {}", config.on_unknown_model.as_str()),
    }
}

fn required(requirements: &Requirements) -> String {
    let Requirements { api, tokens, .. } = requirements;
    let named = capabilities(requirements);
    let named = if named.is_empty() { String::new() } else { format!(", {}", named.join(", ")) };
    format!("{api}'s API, about {tokens} tokens{named}")
}

fn requires(requirements: &Requirements) -> Detail {
    let Requirements { api, tokens, .. } = *requirements;
    Detail::Requires { api: api.to_string(), capabilities: capabilities(requirements), tokens }
}

fn capabilities(requirements: &Requirements) -> Vec<String> {
    requirements.capabilities.iter().map(|one| one.to_string()).collect()
}

/// The names of a target's models.
fn models(target: &Target) -> Vec<String> {
    target.models().map(|model| model.name.to_string()).collect()
}
