//! What the client wants of the response, as far as not every model can do it.
//!
//! Values count, not keys: `null`, empty values and the values for "no reasoning" need nothing. Of several fields that
//! mean the same, each that needs something counts. Of several members of one name the last counts, as most JSON parsers
//! have it. Fields that only another endpoint reads are ignored.

use serde_json::Value;

use super::Endpoint;
use crate::json::{Scanner, SyntaxError};
use crate::requirements::{Capabilities, Capability};

/// The options that routing reads. Values of wrong types are left to the LLM to reject.
#[derive(Clone, Debug, Default)]
pub(super) struct Options {
    fields: [Need; FIELDS.len()],
}

/// What one field needs.
#[derive(Clone, Copy, Debug, Default)]
struct Need {
    /// What its tools take of the prompt, in bytes.
    tool_bytes: usize,
    max_tokens: u64,
    json: bool,
    reasoning: bool,
}

/// What a field says.
#[derive(Clone, Copy)]
enum Meaning {
    Tools,
    MaxTokens,
    /// A format such as `{"type": "json_schema"}`.
    Format,
    /// An object with a format in `format`.
    FormatWithin,
    /// A schema, or an object with one in a member whose name has "json" in it.
    Schema,
    /// An effort's name, or a switch.
    Effort,
    /// `{"effort": …, "enabled": …}`, `{"type": "enabled"}` and the like.
    Reasoning,
    /// A budget in tokens.
    Budget,
    /// Arguments of a model's chat template.
    TemplateArguments,
    /// Anthropic's: an effort and a format.
    OutputConfig,
}

/// The APIs that read a field.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    /// Chat completions and completions.
    Chat,
    Responses,
    /// Anthropic's messages.
    Messages,
    All,
}

const FIELDS: [(&[u8], Of, Meaning); 22] = [
    (b"tools", Of::All, Meaning::Tools),
    (b"functions", Of::Chat, Meaning::Tools),
    (b"mcp_servers", Of::Messages, Meaning::Tools),
    (b"max_tokens", Of::Chat, Meaning::MaxTokens),
    (b"max_completion_tokens", Of::Chat, Meaning::MaxTokens),
    (b"max_output_tokens", Of::Responses, Meaning::MaxTokens),
    (b"response_format", Of::Chat, Meaning::Format),
    (b"output_format", Of::Messages, Meaning::Format),
    (b"text", Of::Responses, Meaning::FormatWithin),
    // Servers such as vLLM and NIM.
    (b"guided_json", Of::Chat, Meaning::Schema),
    (b"structured_outputs", Of::All, Meaning::Schema),
    (b"nvext", Of::Chat, Meaning::Schema),
    (b"output_config", Of::Messages, Meaning::OutputConfig),
    (b"reasoning_effort", Of::All, Meaning::Effort),
    (b"reasoning", Of::All, Meaning::Reasoning),
    (b"thinking", Of::All, Meaning::Reasoning),
    (b"think", Of::All, Meaning::Effort),
    (b"enable_thinking", Of::All, Meaning::Effort),
    (b"thinking_budget", Of::All, Meaning::Budget),
    (b"chat_template_kwargs", Of::All, Meaning::TemplateArguments),
    (b"max_tokens", Of::Messages, Meaning::MaxTokens),
    (b"include_reasoning", Of::Chat, Meaning::Effort),
];

/// Longer values than this are not looked into: none of the fields needs as much, but for schemas, which need JSON
/// whatever they say.
const LONGEST: usize = 4 << 10;

impl Options {
    /// The tokens that the response may have at most; 0 if the client does not say.
    pub(super) fn max_tokens(&self) -> u64 {
        self.fields.iter().map(|need| need.max_tokens).max().unwrap_or(0)
    }

    /// What the tools take of the prompt, in bytes.
    pub(super) fn tool_bytes(&self) -> usize {
        self.fields.iter().map(|need| need.tool_bytes).sum()
    }

    pub(super) fn capabilities(&self) -> Capabilities {
        let any = |needs: fn(&Need) -> bool| self.fields.iter().any(needs);
        let needed = [
            (Capability::Tools, any(|need| need.tool_bytes > 0)),
            (Capability::Json, any(|need| need.json)),
            (Capability::Reasoning, any(|need| need.reasoning)),
        ];
        needed.into_iter().filter_map(|(capability, needed)| needed.then_some(capability)).collect()
    }

    /// Reads the member, or steps over one that is no option of the endpoint.
    pub(super) fn read(
        &mut self,
        endpoint: Endpoint,
        key: &[u8],
        scanner: &mut Scanner<'_>,
    ) -> Result<(), SyntaxError> {
        let raw = scanner.raw()?;
        let fields = self.fields.iter_mut().zip(FIELDS);
        for (need, (name, of, meaning)) in fields {
            if name == key && of.is_read_by(endpoint) {
                *need = Need::new(meaning, raw);
            }
        }
        Ok(())
    }
}

impl Of {
    fn is_read_by(self, endpoint: Endpoint) -> bool {
        match self {
            Self::All => true,
            Self::Chat => matches!(endpoint, Endpoint::ChatCompletions | Endpoint::Completions),
            Self::Responses => endpoint == Endpoint::Responses,
            Self::Messages => matches!(endpoint, Endpoint::Messages | Endpoint::CountTokens),
        }
    }
}

impl Need {
    fn new(meaning: Meaning, raw: &[u8]) -> Self {
        if let Meaning::Tools = meaning {
            let tool_bytes = if is_empty(raw) { 0 } else { raw.len() };
            return Self { tool_bytes, ..Self::default() };
        }
        let value: Option<Value> = (raw.len() <= LONGEST).then(|| serde_json::from_slice(raw).ok()).flatten();
        let (json, reasoning, max_tokens) = match (meaning, &value) {
            (Meaning::Format | Meaning::Schema, None) => (raw.len() > LONGEST, false, 0),
            (Meaning::FormatWithin | Meaning::OutputConfig, None) => (raw.len() > LONGEST, false, 0),
            (_, None) => (false, false, 0),
            (Meaning::Format, Some(format)) => (is_json(format), false, 0),
            (Meaning::FormatWithin, Some(text)) => (text.get("format").is_some_and(is_json), false, 0),
            (Meaning::Schema, Some(schema)) => (has_schema(schema), false, 0),
            (Meaning::OutputConfig, Some(config)) => {
                let format = config.get("format").is_some_and(is_json);
                (format, config.get("effort").is_some_and(is_on), 0)
            }
            (Meaning::Effort, Some(effort)) => (false, is_on(effort), 0),
            (Meaning::Reasoning, Some(reasoning)) => (false, wants_reasoning(reasoning), 0),
            (Meaning::Budget, Some(budget)) => (false, tokens(budget) > 0, 0),
            (Meaning::TemplateArguments, Some(arguments)) => {
                let switches = ["enable_thinking", "thinking", "reasoning_effort"];
                let on = switches.into_iter().filter_map(|name| arguments.get(name)).any(is_on);
                (false, on, 0)
            }
            (Meaning::MaxTokens, Some(number)) => (false, false, tokens(number)),
            (Meaning::Tools, _) => (false, false, 0),
        };
        Self { tool_bytes: 0, max_tokens, json, reasoning }
    }
}

/// Whether a value, as written, says nothing.
fn is_empty(raw: &[u8]) -> bool {
    let inner = match raw {
        b"null" | b"false" | b"\"\"" => return true,
        [b'[', inner @ .., b']'] | [b'{', inner @ .., b'}'] => inner,
        _ => return false,
    };
    inner.trim_ascii().is_empty()
}

/// A number of tokens, also one that is written as a float. What is not a number is the LLM's to reject.
fn tokens(value: &Value) -> u64 {
    let float = |number: f64| (number.is_finite() && number > 0.0).then_some(number as u64);
    value.as_u64().or_else(|| value.as_f64().and_then(float)).unwrap_or(0)
}

fn is_json(format: &Value) -> bool {
    let kind = format.get("type").unwrap_or(format);
    matches!(kind.as_str(), Some("json_object" | "json_schema" | "json"))
}

fn has_schema(value: &Value) -> bool {
    match value {
        Value::Object(members) => {
            let is_schema = members.contains_key("type") || members.contains_key("properties");
            is_schema || members.iter().any(|(name, value)| name.contains("json") && is_on(value))
        }
        Value::String(schema) => !schema.is_empty(),
        _ => false,
    }
}

/// Whether a switch, an effort or a mode is on.
fn is_on(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(on) => *on,
        Value::Number(number) => number.as_f64().is_some_and(|number| number > 0.0),
        Value::String(name) => !matches!(
            name.to_ascii_lowercase().as_str(),
            "" | "none" | "off" | "disabled" | "disable" | "false"
        ),
        Value::Array(items) => !items.is_empty(),
        Value::Object(members) => !members.is_empty(),
    }
}

/// `{"effort": "high"}`, `{"enabled": true}`, `{"max_tokens": 2000}`, `{"type": "enabled"}`, or a switch alone. Something
/// that is off is stronger than the rest.
fn wants_reasoning(value: &Value) -> bool {
    let Value::Object(members) = value else { return is_on(value) };
    let decides = |name: &str| matches!(name, "effort" | "enabled" | "type");
    let is_off = |(name, value): (&String, &Value)| decides(name) && !value.is_null() && !is_on(value);
    if members.iter().any(is_off) {
        return false;
    }
    // Whether the reasoning is shown is no matter of whether there is any.
    let asks = |(name, value): (&String, &Value)| name != "exclude" && is_on(value);
    members.iter().any(asks)
}
