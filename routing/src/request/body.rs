//! The one pass over a body: what is not wanted is skipped, not built.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;
use std::ops::Range;

use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::turn::{self, Messages, Text, Turn};
use super::{Directives, Endpoint, METADATA_FIELD, Request};
use crate::needs::{Capabilities, Capability, Needs};
use crate::refusal::Refusal;
use crate::rewrite::Rewrite;

/// English text has about four bytes a token, in the tokenizers of today's LLMs; other languages have fewer. An
/// estimate is enough to tell a prompt that cannot fit from one that can.
const BYTES_PER_TOKEN: usize = 4;

pub(super) fn parse(endpoint: Endpoint, body: &str) -> Result<Request<'_>, Refusal> {
    let field = Cell::new(None);
    let fields = fields(body, &field).map_err(|error| match field.get() {
        Some(name) => Refusal::invalid(Some(name), format!("{name}: {error}")),
        None => Refusal::invalid(None, format!("the body is not a JSON object: {error}")),
    })?;
    let model = fields.models.last().map(|raw| model(raw)).transpose()?;
    let directives = fields.metadata.last().map(|(_, raw)| Directives::parse(raw)).transpose()?;
    let models = fields.models.iter().map(|raw| span(body, raw)).collect();
    let metadata: Vec<_> = fields.metadata.iter().map(|(place, raw)| (*place, span(body, raw))).collect();
    let options = fields.options;
    let turns = fields.turns(endpoint)?;
    let prompt_tokens = tokens(&turns, &options);
    Ok(Request {
        endpoint,
        model: model.filter(|name| !name.is_empty()),
        directives,
        needs: Needs {
            api: endpoint.api(),
            capabilities: capabilities(&turns, &options),
            tokens: prompt_tokens.saturating_add(options.max_tokens),
        },
        prompt_tokens,
        turns,
        rewrite: Rewrite::new(body.as_bytes(), models, &metadata),
    })
}

fn model(raw: &RawValue) -> Result<Cow<'_, str>, Refusal> {
    serde_json::from_str(raw.get())
        .map(|Text(text)| text)
        .map_err(|_| Refusal::invalid(Some("model"), "model must be a string"))
}

fn tokens(turns: &[Turn<'_>], options: &Options) -> u64 {
    let text: usize = turns.iter().flat_map(|turn| turn.content.texts()).map(|text| text.len()).sum();
    u64::try_from((text + options.tool_bytes).div_ceil(BYTES_PER_TOKEN)).unwrap_or(u64::MAX)
}

fn capabilities(turns: &[Turn<'_>], options: &Options) -> Capabilities {
    let needed = [
        (Capability::Tools, options.tool_bytes > 0),
        (Capability::Images, turns.iter().any(|turn| turn.content.has_images)),
        (Capability::Json, options.json),
        (Capability::Reasoning, options.reasoning),
    ];
    needed.into_iter().filter_map(|(capability, needed)| needed.then_some(capability)).collect()
}

fn fields<'a>(body: &'a str, field: &Cell<Option<&'static str>>) -> Result<Fields<'a>, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_str(body);
    let fields = deserializer.deserialize_map(BodyVisitor { field })?;
    deserializer.end()?;
    Ok(fields)
}

/// Where a raw value lies in the text that it was borrowed from.
fn span(body: &str, raw: &RawValue) -> Range<usize> {
    let start = raw.get().as_ptr().addr().saturating_sub(body.as_ptr().addr());
    start..start + raw.get().len()
}

/// The members of the body that routing reads. Keys may come several times, hence the vectors; elsewhere the last
/// counts.
#[derive(Default)]
struct Fields<'a> {
    models: Vec<&'a RawValue>,
    /// With the place among the body's members, so that neighbours can be told.
    metadata: Vec<(usize, &'a RawValue)>,
    messages: Option<Vec<Turn<'a>>>,
    prompt: Option<Vec<Turn<'a>>>,
    input: Option<Vec<Turn<'a>>>,
    system: Option<Turn<'a>>,
    options: Options,
}

impl<'a> Fields<'a> {
    /// The turns of the endpoint's own prompt field, after a system prompt that stands beside it.
    fn turns(self, endpoint: Endpoint) -> Result<Vec<Turn<'a>>, Refusal> {
        let field = endpoint.prompt_field();
        let found = match endpoint {
            Endpoint::ChatCompletions | Endpoint::Messages => self.messages,
            Endpoint::Completions => self.prompt,
            Endpoint::Responses | Endpoint::Embeddings => self.input,
        };
        let turns = found.ok_or_else(|| Refusal::invalid(Some(field), format!("{field} is missing")))?;
        if turns.is_empty() {
            return Err(Refusal::invalid(Some(field), format!("{field} must not be empty")));
        }
        Ok(self.system.into_iter().chain(turns).collect())
    }
}

/// What the client wants of the answer.
#[derive(Clone, Copy, Default)]
struct Options {
    tool_bytes: usize,
    json: bool,
    reasoning: bool,
    max_tokens: u64,
}

impl Options {
    /// Reads an option. Wrong types are left to the LLM to refuse.
    fn read(&mut self, key: &str, raw: &RawValue) {
        match key {
            "tools" | "functions" => {
                let is_empty =
                    serde_json::from_str::<Vec<IgnoredAny>>(raw.get()).is_ok_and(|tools| tools.is_empty());
                self.tool_bytes = if is_empty || is_null(raw) { 0 } else { raw.get().len() };
            }
            "response_format" => self.json = Format::is_json(raw),
            // Of the responses API; completions have no such member, chats neither.
            "text" => {
                let text: Option<TextOptions> = serde_json::from_str(raw.get()).ok();
                self.json = text.and_then(|text| text.format).is_some_and(|format| format.is_some_json());
            }
            "reasoning_effort" | "reasoning" | "thinking" => self.reasoning = !is_null(raw),
            "max_tokens" | "max_completion_tokens" | "max_output_tokens" => {
                self.max_tokens = raw.get().parse().unwrap_or(0);
            }
            _ => {}
        }
    }

    fn knows(key: &str) -> bool {
        matches!(
            key,
            "tools"
                | "functions"
                | "response_format"
                | "text"
                | "reasoning_effort"
                | "reasoning"
                | "thinking"
                | "max_tokens"
                | "max_completion_tokens"
                | "max_output_tokens"
        )
    }
}

fn is_null(raw: &RawValue) -> bool {
    raw.get() == "null"
}

#[derive(Deserialize)]
struct Format {
    r#type: String,
}

impl Format {
    fn is_json(raw: &RawValue) -> bool {
        serde_json::from_str::<Self>(raw.get()).is_ok_and(|format| format.is_some_json())
    }

    fn is_some_json(&self) -> bool {
        matches!(self.r#type.as_str(), "json_object" | "json_schema")
    }
}

#[derive(Deserialize)]
struct TextOptions {
    format: Option<Format>,
}

struct BodyVisitor<'c> {
    /// The member being read, for errors.
    field: &'c Cell<Option<&'static str>>,
}

impl BodyVisitor<'_> {
    /// Reads one member, and names it in the error if that fails.
    fn named<T, E>(&self, name: &'static str, read: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        self.field.set(Some(name));
        let value = read()?;
        self.field.set(None);
        Ok(value)
    }
}

impl<'de> Visitor<'de> for BodyVisitor<'_> {
    type Value = Fields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Fields::default();
        let mut place = 0;
        while let Some(Text(key)) = map.next_key()? {
            match key.as_ref() {
                "model" => fields.models.push(self.named("model", || map.next_value())?),
                METADATA_FIELD => {
                    fields.metadata.push((place, self.named(METADATA_FIELD, || map.next_value())?));
                }
                "messages" => {
                    fields.messages = Some(self.named("messages", || map.next_value_seed(Messages))?);
                }
                "prompt" => fields.prompt = Some(self.named("prompt", || read(&mut map, turn::input))?),
                "input" => fields.input = Some(self.named("input", || read(&mut map, turn::input))?),
                "instructions" => fields.system = self.named("instructions", || read_system(&mut map))?,
                "system" => fields.system = self.named("system", || read_system(&mut map))?,
                key if Options::knows(key) => fields.options.read(key, map.next_value()?),
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
            place += 1;
        }
        Ok(fields)
    }
}

fn read<'de, A: MapAccess<'de>, T>(
    map: &mut A,
    parse: fn(&'de RawValue) -> Result<T, serde_json::Error>,
) -> Result<T, A::Error> {
    parse(map.next_value()?).map_err(A::Error::custom)
}

fn read_system<'de, A: MapAccess<'de>>(map: &mut A) -> Result<Option<Turn<'de>>, A::Error> {
    let raw: Option<&'de RawValue> = map.next_value()?;
    raw.map(turn::system).transpose().map_err(A::Error::custom)
}
