//! Resolves the rules.

use regex_lite::{Regex, RegexBuilder};

use super::checks::{find, header_name};
use super::policies::target;
use super::{ConfigError, Models, Policies};
use crate::config::{Rule, Then, When, raw};

/// Bytes of a compiled expression: enough for lists of some hundred words, and a bound on what a worker holds.
const REGEX_SIZE: usize = 1 << 20;

pub(super) fn resolve(
    raw: Vec<raw::Rule>,
    models: &Models,
    policies: &Policies,
) -> Result<Vec<Rule>, ConfigError> {
    raw.into_iter()
        .enumerate()
        .map(|(index, raw)| {
            let path = format!("rules[{index}]");
            let then = match (raw.policy, raw.model) {
                (Some(name), None) => {
                    Then::Policy(find("policy", policies, &name, || format!("{path}.policy"))?)
                }
                (None, Some(raw)) => Then::Target(target(raw, models, || format!("{path}.model"))?),
                (Some(_), Some(_)) => {
                    return Err(ConfigError::new(path, "has both a policy and a model; remove one"));
                }
                (None, None) => return Err(ConfigError::new(path, "needs a policy or a model to choose")),
            };
            Ok(Rule { when: when(raw.when, &format!("{path}.when"))?, then })
        })
        .collect()
}

fn when(raw: raw::When, path: &str) -> Result<When, ConfigError> {
    let headers = raw
        .header
        .into_iter()
        .map(|(name, value)| Ok((header_name(name, || format!("{path}.header"))?, value)));
    if let Some(prefix) = raw.path_prefix.as_ref().filter(|prefix| !prefix.starts_with('/')) {
        return Err(ConfigError::new(format!("{path}.path_prefix"), format!("{prefix:?} must start with /")));
    }
    if let (Some(least), Some(most)) = (raw.min_tokens, raw.max_tokens)
        && least > most
    {
        let problem = format!("{} is above max_tokens, {}: no request could match", least.0, most.0);
        return Err(ConfigError::new(format!("{path}.min_tokens"), problem));
    }
    let text_matches = raw.text_matches.map(|expression| regex(&expression, path));
    let when = When {
        headers: headers.collect::<Result<_, ConfigError>>()?,
        path_prefix: raw.path_prefix,
        text_matches: text_matches.transpose()?,
        has_tools: raw.has_tools,
        has_images: raw.has_images,
        min_tokens: raw.min_tokens.map(|tokens| tokens.0),
        max_tokens: raw.max_tokens.map(|tokens| tokens.0),
    };
    if when.is_empty() {
        return Err(ConfigError::new(path, "must have a condition; for all requests, use default_policy"));
    }
    Ok(when)
}

fn regex(expression: &str, path: &str) -> Result<Regex, ConfigError> {
    let built = RegexBuilder::new(expression).size_limit(REGEX_SIZE).build();
    built
        .map_err(|error| ConfigError::new(format!("{path}.text_matches"), format!("{expression:?}: {error}")))
}
