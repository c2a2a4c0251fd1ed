//! The options of a request that require a capability of the model, or that add tokens to its prompt or its completions.
//!
//! Values count, not keys: `null`, empty values and the values for "no reasoning" need nothing. Of several fields that
//! mean the same, each that needs something counts. Of several members of one name the last counts; the LLM does not get the
//! others. Fields that only another endpoint reads are ignored.

use std::borrow::Cow;

use serde_json::Value;

use super::Endpoint;
use super::content::{bytes_of, is_nothing};
use crate::json::{RawString, Scanner, SyntaxError};
use crate::requirements::{Capabilities, Capability};

/// The options that routing reads. Values of wrong types are left to the LLM to reject.
#[derive(Clone, Debug, Default)]
pub(super) struct Options<'a> {
    /// The fields of the request in their JSON encoding, each with its position in [`FIELDS`]. Most requests have a few.
    fields: Vec<(usize, &'a [u8])>,
}

/// The requirements of all options together.
#[derive(Debug)]
pub(super) struct Needs(Vec<Need>);

/// The requirements of one field.
#[derive(Clone, Copy, Debug, Default)]
struct Need {
    /// Whether it has tools.
    tools: bool,
    /// The length of what it adds to the prompt, in bytes.
    bytes: usize,
    max_tokens: u64,
    /// The number of completions for each prompt; 0 if it does not say.
    completions: u64,
    json: bool,
    reasoning: bool,
}

/// The meaning of a field.
#[derive(Clone, Copy)]
enum Meaning {
    Tools,
    /// Text that becomes a part of the prompt.
    Text,
    MaxTokens,
    /// The number of completions for each prompt.
    Completions,
    /// A format such as `{"type": "json_schema"}`.
    Format,
    /// An object with a format in `format`.
    FormatWithin,
    /// A schema.
    Schema,
    /// An object with a schema, or a switch, in one of the members that servers have for JSON.
    SchemaWithin,
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
    Embeddings,
    All,
}

/// The number of fields.
pub(super) const COUNT: usize = 28;

static FIELDS: [(&str, Of, Meaning); COUNT] = [
    ("tools", Of::All, Meaning::Tools),
    ("functions", Of::Chat, Meaning::Tools),
    ("mcp_servers", Of::Messages, Meaning::Tools),
    ("suffix", Of::Chat, Meaning::Text),
    ("prediction", Of::Chat, Meaning::Text),
    ("documents", Of::All, Meaning::Text),
    ("chat_template", Of::All, Meaning::Text),
    // vLLM's, of a conversation.
    ("messages", Of::Embeddings, Meaning::Text),
    ("n", Of::Chat, Meaning::Completions),
    ("best_of", Of::Chat, Meaning::Completions),
    ("max_tokens", Of::Chat, Meaning::MaxTokens),
    ("max_completion_tokens", Of::Chat, Meaning::MaxTokens),
    ("max_output_tokens", Of::Responses, Meaning::MaxTokens),
    ("response_format", Of::Chat, Meaning::Format),
    ("output_format", Of::Messages, Meaning::Format),
    ("text", Of::Responses, Meaning::FormatWithin),
    // Servers such as vLLM and NIM.
    ("guided_json", Of::Chat, Meaning::Schema),
    ("structured_outputs", Of::All, Meaning::SchemaWithin),
    ("nvext", Of::Chat, Meaning::SchemaWithin),
    ("output_config", Of::Messages, Meaning::OutputConfig),
    ("reasoning_effort", Of::All, Meaning::Effort),
    ("reasoning", Of::All, Meaning::Reasoning),
    ("thinking", Of::All, Meaning::Reasoning),
    ("think", Of::All, Meaning::Effort),
    ("enable_thinking", Of::All, Meaning::Effort),
    ("thinking_budget", Of::All, Meaning::Budget),
    ("chat_template_kwargs", Of::All, Meaning::TemplateArguments),
    ("max_tokens", Of::Messages, Meaning::MaxTokens),
];

/// Values longer than this, in bytes, count as on: no switch, effort or budget is as long.
const LONGEST: usize = 4 << 10;

impl Needs {
    /// The maximum tokens of the completion; 0 if the client sets none.
    pub(super) fn max_tokens(&self) -> u64 {
        self.0.iter().map(|need| need.max_tokens).max().unwrap_or(0)
    }

    /// The number of completions for each prompt.
    pub(super) fn completions(&self) -> u64 {
        self.0.iter().map(|need| need.completions).max().unwrap_or(0).max(1)
    }

    /// The length of tools, schemas and other members that become a part of the prompt, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.0.iter().map(|need| need.bytes).sum()
    }

    pub(super) fn capabilities(&self) -> Capabilities {
        let any = |needs: fn(&Need) -> bool| self.0.iter().any(needs);
        let needed = [
            (Capability::Tools, any(|need| need.tools)),
            (Capability::Json, any(|need| need.json)),
            (Capability::Reasoning, any(|need| need.reasoning)),
        ];
        needed.into_iter().filter_map(|(capability, needed)| needed.then_some(capability)).collect()
    }
}

impl<'a> Options<'a> {
    /// Their requirements. Fields are parsed here once, not on arrival: of several with one name the last counts.
    pub(super) fn needs(&self) -> Needs {
        let needs = self.fields.iter().filter_map(|(index, raw)| {
            let (_, _, meaning) = FIELDS.get(*index)?;
            Some(Need::new(*meaning, raw))
        });
        Needs(needs.collect())
    }

    /// The names of the endpoint's options, with the positions that identify them.
    pub(super) fn names(endpoint: Endpoint) -> impl Iterator<Item = (usize, &'static str)> {
        let fields = FIELDS.iter().enumerate().filter(move |(_, (_, of, _))| of.is_read_by(endpoint));
        fields.map(|(index, (name, _, _))| (index, *name))
    }

    /// Reads the option at this position.
    pub(super) fn read(&mut self, index: usize, scanner: &mut Scanner<'a>) -> Result<(), SyntaxError> {
        let raw = scanner.raw()?;
        self.fields.retain(|(other, _)| *other != index);
        self.fields.push((index, raw));
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
            Self::Embeddings => endpoint == Endpoint::Embeddings,
        }
    }
}

impl Need {
    fn new(meaning: Meaning, raw: &[u8]) -> Self {
        // Providers put schemas into the prompt.
        let json = |json| Self { json, bytes: if json { raw.len() } else { 0 }, ..Self::default() };
        let reasoning = |reasoning| Self { reasoning, ..Self::default() };
        let any_member = |names: &[&str]| names.iter().filter_map(|name| member(raw, name)).any(is_on);
        match meaning {
            Meaning::Tools if is_empty(raw) => Self::default(),
            Meaning::Tools => Self { tools: true, bytes: raw.len(), ..Self::default() },
            Meaning::Text => Self { bytes: bytes_of(raw), ..Self::default() },
            Meaning::MaxTokens => Self { max_tokens: whole_number(raw), ..Self::default() },
            Meaning::Completions => Self { completions: whole_number(raw), ..Self::default() },
            Meaning::Format => json(is_json(raw)),
            Meaning::FormatWithin => json(member(raw, "format").is_some_and(is_json)),
            Meaning::Schema => json(!is_empty(raw)),
            Meaning::SchemaWithin => json(any_member(&["json", "json_object", "json_schema", "guided_json"])),
            Meaning::OutputConfig => Self {
                reasoning: member(raw, "effort").is_some_and(is_on),
                ..json(member(raw, "format").is_some_and(is_json))
            },
            Meaning::Effort => reasoning(is_on(raw)),
            Meaning::Reasoning => reasoning(wants_reasoning(raw)),
            // A negative budget means that the model chooses.
            Meaning::Budget => reasoning(number(raw).is_some_and(|budget| budget != 0.0)),
            Meaning::TemplateArguments => Self {
                bytes: bytes_of(raw),
                ..reasoning(any_member(&[
                    "enable_thinking",
                    "thinking",
                    "reasoning_effort",
                    "thinking_budget",
                ]))
            },
        }
    }
}

/// The value of an object's member, as written; of several the last.
fn member<'a>(raw: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let mut found = None;
    let mut scanner = Scanner::new(raw);
    let read = scanner.object(|scanner, key| {
        let value = scanner.raw()?;
        if *key.name == *name.as_bytes() {
            found = Some(value);
        }
        Ok::<_, SyntaxError>(())
    });
    read.ok().and(found)
}

/// Whether a value, in its JSON encoding, is empty or false.
fn is_empty(raw: &[u8]) -> bool {
    raw == b"false" || is_nothing(raw)
}

/// A number, also in a string: servers in Python read both.
fn number(raw: &[u8]) -> Option<f64> {
    let digits = match raw {
        [b'"', inner @ .., b'"'] => Cow::Owned(RawString::new(inner).text().trim().replace('_', "")),
        _ => Cow::Borrowed(std::str::from_utf8(raw).ok()?),
    };
    digits.parse().ok().filter(|number: &f64| !number.is_nan())
}

/// A number of tokens or completions, also one that is written as a float. The LLM rejects values that are not numbers.
fn whole_number(raw: &[u8]) -> u64 {
    number(raw).filter(|number| *number > 0.0).map_or(0, |number| number as u64)
}

fn is_json(raw: &[u8]) -> bool {
    let kind: Option<String> = serde_json::from_slice(member(raw, "type").unwrap_or(raw)).ok();
    matches!(kind.as_deref(), Some("json_object" | "json_schema" | "json"))
}

/// Whether a switch, an effort or a mode is on.
fn is_on(raw: &[u8]) -> bool {
    if is_empty(raw) || raw.len() > LONGEST {
        return !is_empty(raw);
    }
    match serde_json::from_slice(raw) {
        Ok(Value::Number(number)) => number.as_f64().is_some_and(|number| number > 0.0),
        Ok(Value::String(name)) => {
            let name = name.trim().to_ascii_lowercase();
            !matches!(name.as_str(), "" | "none" | "off" | "disabled" | "disable" | "false")
        }
        Ok(_) => true,
        Err(_) => false,
    }
}

/// `{"effort": "high"}`, `{"enabled": true}`, `{"max_tokens": 2000}`, `{"type": "enabled"}`, or a switch alone. Something
/// that is off is stronger than the rest.
fn wants_reasoning(raw: &[u8]) -> bool {
    let (mut is_off, mut asks) = (false, false);
    let mut scanner = Scanner::new(raw);
    let read = scanner.object(|scanner, key| {
        let value = scanner.raw()?;
        match &*key.name {
            b"effort" | b"enabled" | b"type" => is_off |= value != b"null" && !is_on(value),
            // Whether the reasoning is shown does not matter, only whether there is any.
            b"exclude" => return Ok(()),
            _ => {}
        }
        asks |= is_on(value);
        Ok::<_, SyntaxError>(())
    });
    if read.is_ok() { asks && !is_off } else { is_on(raw) }
}
