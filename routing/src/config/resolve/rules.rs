//! Resolves the rules.

use std::collections::BTreeSet;
use std::sync::Arc;

use regex_lite::{Regex, RegexBuilder};

use super::checks::{find, header_name, stat_name, within};
use super::policies::target;
use super::{ConfigError, Models, Policies, context};
use crate::config::units::Decimal;
use crate::config::{
    Classifier, Condition, HeadCondition, HeadTest, Reject, RequestCondition, Rule, Then, raw,
};

/// The maximum size of a compiled expression, in bytes: enough for a few hundred words, and a bound on a worker's memory.
const REGEX_SIZE: usize = 1 << 20;
/// The maximum nesting of conditions. Deeper nesting is hard to read.
const MAX_DEPTH: usize = 8;
/// The maximum number of heads in all rules together. One call can name 64 classifiers.
const MAX_HEADS: usize = 32;
/// The maximum length of a rejection's message, in bytes.
const MAX_MESSAGE: usize = 300;

pub(super) fn resolve(
    raw: Vec<raw::Rule>,
    models: &Models,
    policies: &Policies,
) -> Result<Vec<Rule>, ConfigError> {
    let rules = raw.into_iter().enumerate();
    let rules: Vec<Rule> =
        rules.map(|(index, raw)| rule(raw, index, models, policies)).collect::<Result<_, ConfigError>>()?;
    let mut names = BTreeSet::new();
    if let Some(index) = rules.iter().position(|rule| !names.insert(rule.name.as_str())) {
        return Err(ConfigError::new(format!("rules[{index}].name"), "another rule has this name"));
    }
    let heads: BTreeSet<_> = rules.iter().flat_map(|rule| rule.when.heads()).map(|it| &it.head).collect();
    if heads.len() > MAX_HEADS {
        let problem = format!("use {} heads; the maximum is {MAX_HEADS}", heads.len());
        return Err(ConfigError::new("rules", problem));
    }
    Ok(rules)
}

fn rule(raw: raw::Rule, index: usize, models: &Models, policies: &Policies) -> Result<Rule, ConfigError> {
    let path = format!("rules[{index}]");
    if let Some(name) = &raw.name {
        stat_name(name, || format!("{path}.name"))?;
    }
    let then = match (raw.policy, raw.model, raw.reject) {
        (Some(name), None, None) => {
            Then::Policy(find("policy", policies, &name, || format!("{path}.policy"))?)
        }
        (None, Some(raw), None) => Then::Target(target(raw, models, || format!("{path}.model"))?),
        (None, None, Some(raw)) => Then::Reject(Arc::new(reject(raw, &format!("{path}.reject"))?)),
        (None, None, None) => {
            return Err(ConfigError::new(path, "needs one of policy, model and reject"));
        }
        _ => return Err(ConfigError::new(path, "can have only one of policy, model and reject")),
    };
    Ok(Rule {
        name: raw.name.unwrap_or_else(|| (index + 1).to_string()),
        when: when(raw.when, &format!("{path}.when"), 0)?,
        always: raw.always.unwrap_or(matches!(then, Then::Reject(_))),
        then,
        mode: raw.mode,
    })
}

fn reject(raw: raw::Reject, path: &str) -> Result<Reject, ConfigError> {
    within(&raw.status, &(400..=599), || format!("{path}.status"))?;
    if raw.message.is_empty() || raw.message.len() > MAX_MESSAGE {
        let problem = format!("must have 1 to {MAX_MESSAGE} bytes");
        return Err(ConfigError::new(format!("{path}.message"), problem));
    }
    Ok(Reject { status: raw.status, message: raw.message })
}

/// All conditions of a map, the cheapest first.
fn when(raw: raw::When, path: &str, depth: usize) -> Result<Condition, ConfigError> {
    if depth > MAX_DEPTH {
        return Err(ConfigError::new(path, format!("is nested more than {MAX_DEPTH} levels deep")));
    }
    let mut all = Vec::new();
    for (name, condition) in raw.0 {
        all.extend(conditions(name, condition, path, depth)?);
    }
    if all.is_empty() {
        return Err(ConfigError::new(path, "must have a condition; for all requests, use default_policy"));
    }
    check_tokens(&all, path)?;
    all.sort_by_key(Condition::cost);
    Ok(if all.len() == 1 { all.swap_remove(0) } else { Condition::All(all) })
}

fn conditions(
    name: String,
    raw: raw::Condition,
    path: &str,
    depth: usize,
) -> Result<Vec<Condition>, ConfigError> {
    let path = format!("{path}.{name}");
    let one = |condition| Ok(vec![Condition::Request(condition)]);
    match raw {
        raw::Condition::All(all) => Ok(vec![Condition::All(several(all, &path, depth)?)]),
        raw::Condition::Any(any) => Ok(vec![Condition::Any(several(any, &path, depth)?)]),
        raw::Condition::Not(inner) => Ok(vec![Condition::Not(Box::new(when(inner, &path, depth + 1)?))]),
        raw::Condition::Header(headers) => headers
            .into_iter()
            .map(|(name, value)| {
                let name = header_name(name, || path.clone())?;
                Ok(Condition::Request(RequestCondition::Header(name, value)))
            })
            .collect(),
        raw::Condition::Attribute(attributes) => context::attributes(attributes, &path),
        raw::Condition::Metadata(namespaces) => context::metadata(namespaces, &path),
        raw::Condition::PathPrefix(prefix) if !prefix.starts_with('/') => {
            Err(ConfigError::new(path, format!("{prefix:?} must start with /")))
        }
        raw::Condition::PathPrefix(prefix) => {
            check_prefix(&prefix, &path)?;
            one(RequestCondition::PathPrefix(prefix))
        }
        raw::Condition::TextMatches(expression) => {
            one(RequestCondition::TextMatches(regex(&expression, path)?))
        }
        raw::Condition::HasTools(wanted) => one(RequestCondition::HasTools(wanted)),
        raw::Condition::HasImages(wanted) => one(RequestCondition::HasImages(wanted)),
        raw::Condition::MinTokens(least) => one(RequestCondition::MinTokens(least.0)),
        raw::Condition::MaxTokens(most) => one(RequestCondition::MaxTokens(most.0)),
        raw::Condition::Head(test) => head(name, test, &path).map(|condition| vec![condition]),
    }
}

/// Paths are compared as servers understand them: another spelling would never match.
fn check_prefix(prefix: &str, path: &str) -> Result<(), ConfigError> {
    let is_plain =
        !prefix.contains(['%', '?', '#', ';', '\\']) && !prefix.contains("//") && !prefix.contains("/.");
    if is_plain {
        return Ok(());
    }
    let problem =
        format!("{prefix:?} must be a decoded path, without a query, double slashes or dot segments");
    Err(ConfigError::new(path, problem))
}

fn several(raw: Vec<raw::When>, path: &str, depth: usize) -> Result<Vec<Condition>, ConfigError> {
    if raw.is_empty() {
        return Err(ConfigError::new(path, "must have at least one condition"));
    }
    let all = raw.into_iter().enumerate();
    let mut all: Vec<_> = all
        .map(|(index, raw)| when(raw, &format!("{path}[{index}]"), depth + 1))
        .collect::<Result<_, ConfigError>>()?;
    all.sort_by_key(Condition::cost);
    Ok(all)
}

fn head(name: String, raw: raw::HeadTest, path: &str) -> Result<Condition, ConfigError> {
    if name == Classifier::EXAMPLES {
        let problem = "is the classifier of a policy's own examples, not a head; name a policy instead";
        return Err(ConfigError::new(path, problem));
    }
    if let Some(meant) = misspelt(&name) {
        return Err(ConfigError::new(
            path,
            format!("is neither a condition nor a head; did you mean {meant}?"),
        ));
    }
    let test = match raw {
        raw::HeadTest::Label(label) if label.is_empty() => {
            return Err(ConfigError::new(path, "must name a label"));
        }
        raw::HeadTest::Label(label) => HeadTest::Labels(vec![label]),
        raw::HeadTest::Labels(labels) if labels.is_empty() || labels.iter().any(String::is_empty) => {
            return Err(ConfigError::new(path, "must name at least one label; no label may be empty"));
        }
        raw::HeadTest::Labels(labels) => HeadTest::Labels(labels),
        raw::HeadTest::Range(raw) => range(raw, path)?,
    };
    Ok(Condition::Head(Arc::new(HeadCondition { head: name, test })))
}

/// The condition that a misspelt name probably means. A name that differs from a condition's in one or two letters is unlikely
/// to be a head's.
fn misspelt(name: &str) -> Option<&'static str> {
    const CONDITIONS: [&str; 12] = [
        "all",
        "any",
        "not",
        "header",
        "attribute",
        "metadata",
        "path_prefix",
        "text_matches",
        "has_tools",
        "has_images",
        "min_tokens",
        "max_tokens",
    ];
    const OTHERS: [(&str, &str); 9] = [
        ("", "a head's name"),
        ("or", "any"),
        ("and", "all"),
        ("path", "path_prefix"),
        ("text", "text_matches"),
        ("tools", "has_tools"),
        ("images", "has_images"),
        ("model", "a rule's model beside when"),
        ("policy", "a rule's policy beside when"),
    ];
    let plain = name.to_ascii_lowercase().replace('-', "_");
    let other = OTHERS.into_iter().find(|(other, _)| *other == plain).map(|(_, meant)| meant);
    // Unrelated short names differ in few letters, too.
    let most = |condition: &str| if condition.len() > 5 { 2 } else { usize::from(condition.len() > 3) };
    other.or(CONDITIONS.into_iter().find(|condition| distance(&plain, condition) <= most(condition)))
}

/// How many letters must be added, removed or replaced (Levenshtein, 1966).
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (index, letter) in one.bytes().enumerate() {
        let mut diagonal = index;
        let mut left = index + 1;
        for (cell, with) in row.iter_mut().skip(1).zip(other.bytes()) {
            let above = *cell;
            left = (diagonal + usize::from(letter != with)).min(above + 1).min(left + 1);
            diagonal = above;
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = index + 1;
        }
    }
    row.last().copied().unwrap_or(one.len())
}

fn range(raw: raw::Range, path: &str) -> Result<HeadTest, ConfigError> {
    let bound = |bound: Option<Decimal>, name: &str| {
        let Some(Decimal(bound)) = bound else { return Ok(None) };
        let bound = bound as f32;
        within(&bound, &(0.0..=1.0), || format!("{path}.{name}"))?;
        Ok(Some(bound))
    };
    let (above, below) = (bound(raw.above, "above")?, bound(raw.below, "below")?);
    match (above, below) {
        (None, None) => Err(ConfigError::new(path, "needs above, below, or both")),
        (Some(1.0), _) => Err(ConfigError::new(path, "no number is above 1")),
        (_, Some(0.0)) => Err(ConfigError::new(path, "no number is below 0")),
        (Some(above), Some(below)) if above >= below => {
            Err(ConfigError::new(path, format!("no number is above {above} and below {below}")))
        }
        _ => Ok(HeadTest::Range { of: raw.of, above, below }),
    }
}

/// Rejects bounds that no request can meet.
fn check_tokens(all: &[Condition], path: &str) -> Result<(), ConfigError> {
    let bounds = all.iter().fold((None, None), |(least, most), condition| match condition {
        Condition::Request(RequestCondition::MinTokens(tokens)) => (Some(*tokens), most),
        Condition::Request(RequestCondition::MaxTokens(tokens)) => (least, Some(*tokens)),
        _ => (least, most),
    });
    match bounds {
        (Some(least), Some(most)) if least > most => {
            let problem = format!("{least} is above max_tokens, {most}: no request could match");
            Err(ConfigError::new(format!("{path}.min_tokens"), problem))
        }
        _ => Ok(()),
    }
}

fn regex(expression: &str, path: String) -> Result<Regex, ConfigError> {
    let built = RegexBuilder::new(expression).size_limit(REGEX_SIZE).build();
    built.map_err(|error| ConfigError::new(path, format!("{expression:?}: {error}")))
}
