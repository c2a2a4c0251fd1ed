//! What the client wants of the answer, as far as not every model can do it.

use serde::Deserialize;

use crate::json::{Scanner, SyntaxError};
use crate::requirements::{Capabilities, Capability};

/// The options that routing reads. Wrong types are left to the LLM to refuse.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Options {
    /// What the tools take of the prompt.
    pub(super) tool_bytes: usize,
    pub(super) max_tokens: u64,
    json: bool,
    reasoning: bool,
}

impl Options {
    pub(super) fn capabilities(&self) -> Capabilities {
        let needed = [
            (Capability::Tools, self.tool_bytes > 0),
            (Capability::Json, self.json),
            (Capability::Reasoning, self.reasoning),
        ];
        needed.into_iter().filter_map(|(capability, needed)| needed.then_some(capability)).collect()
    }

    /// Reads the member, or steps over one that is no option.
    pub(super) fn read(&mut self, key: &[u8], scanner: &mut Scanner<'_>) -> Result<(), SyntaxError> {
        let raw = scanner.raw()?;
        match key {
            b"tools" | b"functions" => {
                self.tool_bytes = if is_empty_array(raw) || is_null(raw) { 0 } else { raw.len() }
            }
            b"response_format" => self.json = parse::<Format>(raw).is_some_and(|format| format.is_json()),
            // Of the responses API.
            b"text" => {
                let format = parse::<Text>(raw).and_then(|text| text.format);
                self.json = format.is_some_and(|format| format.is_json());
            }
            b"reasoning_effort" | b"reasoning" | b"thinking" => self.reasoning = !is_null(raw),
            b"max_tokens" | b"max_completion_tokens" | b"max_output_tokens" => {
                self.max_tokens = parse(raw).unwrap_or(0);
            }
            _ => {}
        }
        Ok(())
    }
}

fn parse<'a, T: Deserialize<'a>>(raw: &'a [u8]) -> Option<T> {
    serde_json::from_slice(raw).ok()
}

fn is_null(raw: &[u8]) -> bool {
    raw == b"null"
}

fn is_empty_array(raw: &[u8]) -> bool {
    let inner = raw.strip_prefix(b"[").and_then(|rest| rest.strip_suffix(b"]"));
    inner.is_some_and(|inner| inner.trim_ascii().is_empty())
}

#[derive(Deserialize)]
struct Format {
    r#type: String,
}

impl Format {
    fn is_json(&self) -> bool {
        matches!(self.r#type.as_str(), "json_object" | "json_schema")
    }
}

#[derive(Deserialize)]
struct Text {
    format: Option<Format>,
}
