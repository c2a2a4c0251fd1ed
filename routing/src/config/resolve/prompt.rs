//! Resolves which text of a request is classified.

use super::ConfigError;
use super::checks::within;
use crate::config::raw;
use crate::request::{Harness, PromptSettings};

/// The maximum length of a list. Each entry is compared with each user message.
const MAX_ENTRIES: usize = 200;

pub(super) fn resolve(raw: raw::Prompt, limit: usize) -> Result<PromptSettings, ConfigError> {
    let most = PromptSettings::MAX_CONTEXT;
    let context = usize::from(raw.context_messages);
    within(&context, &(0..=most), || "prompt.context_messages".to_owned())?;
    let knows_agents = raw.user_elements.iter().any(|entry| entry == raw::KNOWN_AGENTS);
    let known = Harness::of_known_agents();
    let if_known = |entries: Vec<String>| if knows_agents { entries } else { Vec::new() };
    let harness = Harness {
        common_user_elements: if_known(known.common_user_elements),
        command_elements: if_known(known.command_elements),
        user_markers: if_known(known.user_markers),
        added_elements: elements(raw.remove_elements, &known.added_elements, "remove_elements")?,
        user_elements: elements(raw.user_elements, &known.user_elements, "user_elements")?,
        written_texts: entries(raw.agent_texts, &known.written_texts, "agent_texts")?,
        tool_results: entries(raw.tool_results, &known.tool_results, "tool_results")?,
    };
    Ok(PromptSettings { limit, context, harness })
}

/// Names of elements, without brackets.
fn elements(raw: Vec<String>, known: &[String], field: &str) -> Result<Vec<String>, ConfigError> {
    let all = entries(raw, known, field)?;
    match all.iter().find(|name| name.contains(['<', '>', '/', '"', '\\', '*'])) {
        None => Ok(all),
        Some(name) => {
            let problem = format!("{name:?} must be an element's name, without brackets");
            Err(ConfigError::new(format!("prompt.{field}"), problem))
        }
    }
}

/// The entries, with the built-in list in place of `known_agents`.
fn entries(raw: Vec<String>, known: &[String], field: &str) -> Result<Vec<String>, ConfigError> {
    let path = || format!("prompt.{field}");
    if raw.len() > MAX_ENTRIES {
        let problem = format!("has {} entries; the maximum is {MAX_ENTRIES}", raw.len());
        return Err(ConfigError::new(path(), problem));
    }
    let mut all = Vec::new();
    for entry in raw {
        if entry == raw::KNOWN_AGENTS {
            all.extend_from_slice(known);
        } else if entry.to_ascii_lowercase().replace(['-', ' '], "_").starts_with("known_agent") {
            return Err(ConfigError::new(path(), format!("{entry:?} is unknown; use {}", raw::KNOWN_AGENTS)));
        } else if entry.trim() != entry {
            return Err(ConfigError::new(path(), format!("{entry:?} has white space around it")));
        } else if entry.trim_matches(['*', ' ']).is_empty() {
            return Err(ConfigError::new(path(), format!("{entry:?} would match everything")));
        } else {
            all.push(entry);
        }
    }
    Ok(all)
}
