//! Parts of a policy in one line each.

use crate::config::{AttributeTest, Condition, HeadTest, Mode, RequestCondition, Rule, Target, Then};
use crate::context::Scalar;

/// What a rule does, and with which requests.
pub fn outcome_cell(rule: &Rule) -> String {
    let mut cell = match &rule.then {
        Then::Policy(policy) => format!("policy {}", policy.name),
        Then::Target(target) => target_cell(target),
        Then::Reject(reject) => format!("reject with {}", reject.status),
    };
    match (&rule.then, rule.always) {
        (Then::Reject(_), false) => cell += ", unless the client names a model or a policy",
        (Then::Policy(_) | Then::Target(_), true) => cell += ", whatever the client names",
        _ => {}
    }
    if rule.mode == Mode::Shadow {
        cell += " (shadow: only counted)";
    }
    cell
}

/// A condition in one line.
pub fn conditions(when: &Condition) -> String {
    match when {
        Condition::All(all) => joined(all, ", "),
        Condition::Any(any) => joined(any, " or "),
        Condition::Not(inner) => format!("not ({})", conditions(inner)),
        Condition::Request(condition) => match condition {
            RequestCondition::Header(name, value) => format!("{name}: {value}"),
            RequestCondition::Attribute(attribute, test) => {
                format!("{} {}", attribute.as_str(), attribute_test(test))
            }
            RequestCondition::Metadata(key, wanted) => {
                format!("{} {} is {}", key.namespace, key.path.join("."), any_of(wanted.iter().map(scalar)))
            }
            RequestCondition::PathPrefix(prefix) => format!("path {prefix}…"),
            RequestCondition::TextMatches(regex) => format!("text ~ {regex}"),
            RequestCondition::HasTools(has) => format!("tools: {has}"),
            RequestCondition::HasImages(has) => format!("images: {has}"),
            RequestCondition::MinTokens(tokens) => format!("tokens ≥ {tokens}"),
            RequestCondition::MaxTokens(tokens) => format!("tokens ≤ {tokens}"),
        },
        Condition::Head(condition) => head_condition(&condition.head, &condition.test),
    }
}

fn joined(all: &[Condition], separator: &str) -> String {
    let cell = |condition: &Condition| match condition {
        Condition::All(_) | Condition::Any(_) => format!("({})", conditions(condition)),
        other => conditions(other),
    };
    all.iter().map(cell).collect::<Vec<_>>().join(separator)
}

fn attribute_test(test: &AttributeTest) -> String {
    match test {
        AttributeTest::AnyOf(wanted) => format!("is {}", any_of(wanted.iter().map(scalar))),
        AttributeTest::Prefix(prefix) => format!("is {prefix}…"),
        AttributeTest::Networks(networks) => {
            format!("in {}", any_of(networks.iter().map(ToString::to_string)))
        }
    }
}

fn scalar(value: &Scalar) -> String {
    match value {
        Scalar::Text(text) => text.clone(),
        Scalar::Number(number) => number.to_string(),
        Scalar::Flag(flag) => flag.to_string(),
    }
}

fn any_of(values: impl Iterator<Item = String>) -> String {
    values.collect::<Vec<_>>().join(" or ")
}

fn head_condition(head: &str, test: &HeadTest) -> String {
    match test {
        HeadTest::Labels(labels) => format!("{head} is {}", labels.join(" or ")),
        HeadTest::Range { of, above, below } => {
            let of = if of.is_empty() { String::new() } else { format!(" of {}", of.join(" + ")) };
            let above = above.map(|bound| format!(" > {bound}")).unwrap_or_default();
            let below = below.map(|bound| format!(" < {bound}")).unwrap_or_default();
            format!("{head}{of}{above}{below}")
        }
    }
}

/// A target: its model, or its models with their weights.
pub fn target_cell(target: &Target) -> String {
    match target {
        Target::Model(model) => model.name.to_string(),
        Target::Weighted(shares) => {
            let shares: Vec<_> =
                shares.iter().map(|share| format!("{} × {}", share.model.name, share.weight)).collect();
            shares.join(", ")
        }
    }
}
