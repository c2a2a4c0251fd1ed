//! A policy as a table for people.

use std::fmt::Write;

use llm_router_routing::config::{Config, Model, Policy, Rule, Strategy};
use llm_router_routing::explain::{conditions, outcome_cell, target_cell};
use llm_router_routing::requirements::Api;

/// The routing table.
pub(crate) fn write(config: &Config) -> String {
    let mut text = String::new();
    let mode = config.mode.as_str();
    // Writing to a String does not fail.
    let _ = writeln!(text, "mode {mode}, default policy {}\n\nmodels", config.default_policy.name);
    let mut aliases: Vec<_> = config.aliases().collect();
    aliases.sort_by_key(|(alias, _)| *alias);
    let names =
        config.models().map(|model| model.name.as_str()).chain(aliases.iter().map(|(alias, _)| *alias));
    let width = names.map(|name| name.chars().count()).max().unwrap_or(0);
    for model in config.models() {
        let _ = writeln!(text, "  {:<width$} → {}", model.name.as_str(), model_cell(model));
    }
    for (alias, model) in aliases {
        let _ = writeln!(text, "  {alias:<width$} = {}", model.name);
    }
    if !config.rules.is_empty() {
        text += "\nrules, the first that matches\n";
    }
    for rule in &config.rules {
        let _ = writeln!(text, "  {}", rule_line(rule));
    }
    for policy in config.policies() {
        text += &policy_table(policy);
    }
    text
}

fn model_cell(model: &Model) -> String {
    let mut cell = format!("cluster {}, model {}", model.cluster, model.upstream);
    if model.api != Api::default() {
        let _ = write!(cell, ", {}'s API", model.api);
    }
    if let Some(has) = model.capabilities {
        let names: Vec<_> = has.iter().map(|one| one.to_string()).collect();
        let names = if names.is_empty() { "none".to_owned() } else { names.join(" ") };
        let _ = write!(cell, ", capabilities {names}");
    }
    if let Some(context) = model.context {
        let _ = write!(cell, ", {context} tokens");
    }
    if let Some(cost) = model.cost {
        let _ = write!(cell, ", {cost}");
    }
    if !model.body.is_empty() {
        let _ = write!(cell, ", body: {}", model.body);
    }
    cell
}

fn rule_line(rule: &Rule) -> String {
    format!("{} → {}", conditions(&rule.when), outcome_cell(rule))
}

fn policy_table(policy: &Policy) -> String {
    let mut text = format!("\npolicy {} by classifier {}\n", policy.name, policy.classifier);
    match &policy.chooser {
        Strategy::Labels { routes, min_confidence } => {
            let mut routes: Vec<_> = routes.iter().collect();
            routes.sort_by_key(|(label, _)| *label);
            let width = routes.iter().map(|(label, _)| label.chars().count()).max().unwrap_or(0);
            for (label, target) in routes {
                let _ =
                    writeln!(text, "  {label:<width$} → {}{}", target_cell(target), examples(policy, label));
            }
            let unsure =
                if *min_confidence > 0.0 { format!(", or below {min_confidence}") } else { String::new() };
            let _ = writeln!(text, "  else{unsure} → {}", target_cell(&policy.default));
        }
        Strategy::Bands(bands) => {
            for (up_to, target) in bands.rows() {
                let range = up_to.map_or_else(|| "above".to_owned(), |up_to| format!("up to {up_to}"));
                let _ = writeln!(text, "  {range} → {}", target_cell(target));
            }
            let _ = writeln!(text, "  unclassified → {}", target_cell(&policy.default));
        }
    }
    for (class, model) in &policy.classes {
        let _ = writeln!(text, "  class {class} = {}", model.name);
    }
    let fallbacks: Vec<_> = policy.fallbacks.iter().map(|model| model.name.as_str()).collect();
    let _ = writeln!(text, "  fallback: {}", fallbacks.join(", "));
    text
}

/// The number of few-shot examples of a label, if it has any.
fn examples(policy: &Policy, label: &str) -> String {
    match policy.classifier.examples().and_then(|examples| examples.routes().get(label)) {
        Some(texts) if texts.len() == 1 => " (1 example)".to_owned(),
        Some(texts) => format!(" ({} examples)", texts.len()),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_shows_the_model_of_each_label() {
        let config = br#"{"sidecar": {"cluster": "c"}, "default_policy": "tasks",
            "models": {"small": {"cluster": "a", "model": "x", "context": "8k", "capabilities": ["json"]}, "large": {"cluster": "b", "model": "y"}},
            "aliases": {"gpt-4o": "large"},
            "rules": [{"when": {"has_tools": true}, "model": "large"}],
            "policies": {
                "tasks": {"classifier": "task", "min_confidence": 0.5, "routes": {"Chatbot": "small"},
                    "default": [{"model": "small", "weight": 9}, {"model": "large", "weight": 1}]},
                "scores": {"classifier": "complexity", "bands": [{"up_to": 0.4, "model": "small"}, {"model": "large"}]}}}"#;
        let table = write(&Config::from_json(config).unwrap());
        for line in [
            "mode enforce, default policy tasks",
            "  small  → cluster a, model x, capabilities json, 8000 tokens",
            "  gpt-4o = large",
            "  tools: true → large",
            "policy tasks by classifier task",
            "  Chatbot → small",
            "  else, or below 0.5 → small × 9, large × 1",
            "  up to 0.4 → small",
            "  above → large",
            "  unclassified → large",
            "  fallback: large, small",
        ] {
            assert!(table.lines().any(|found| found == line), "no {line:?} in:\n{table}");
        }
    }
}
