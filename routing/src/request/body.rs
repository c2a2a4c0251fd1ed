//! The one pass over a body: what is not wanted is skipped, not built.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;
use std::ops::Range;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, de::Error as _};
use serde_json::value::RawValue;

use super::{Content, Directives, Endpoint, METADATA_FIELD, Request, Role, Turn};
use crate::refusal::Refusal;
use crate::rewrite::Rewrite;

pub(super) fn parse(endpoint: Endpoint, body: &str) -> Result<Request<'_>, Refusal> {
    let field = Cell::new(None);
    let fields = fields(body, &field).map_err(|error| match field.get() {
        Some(name) => Refusal::invalid(Some(name), format!("{name}: {error}")),
        None => Refusal::invalid(None, format!("the body is not a JSON object: {error}")),
    })?;
    let model = fields.models.last().map(|raw| model(raw)).transpose()?;
    let directives = fields.metadata.last().map(|(_, raw)| Directives::parse(raw)).transpose()?;
    let turns = match endpoint {
        Endpoint::ChatCompletions => fields.messages,
        Endpoint::Completions => fields.prompt,
    };
    let prompt = endpoint.prompt_field();
    let turns = turns.ok_or_else(|| Refusal::invalid(Some(prompt), format!("{prompt} is missing")))?;
    if turns.is_empty() {
        return Err(Refusal::invalid(Some(prompt), format!("{prompt} must not be empty")));
    }
    let models = fields.models.iter().map(|raw| span(body, raw)).collect();
    let metadata: Vec<_> = fields.metadata.iter().map(|(place, raw)| (*place, span(body, raw))).collect();
    let rewrite = Rewrite::new(body.as_bytes(), models, &metadata);
    Ok(Request { model: model.filter(|name| !name.is_empty()), directives, turns, rewrite })
}

fn model(raw: &RawValue) -> Result<Cow<'_, str>, Refusal> {
    serde_json::from_str(raw.get())
        .map(|Text(text)| text)
        .map_err(|_| Refusal::invalid(Some("model"), "model must be a string"))
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

/// The members of the body that routing reads. Keys may come several times, hence the vectors.
#[derive(Default)]
struct Fields<'a> {
    models: Vec<&'a RawValue>,
    /// With the place among the body's members, so that neighbours can be told.
    metadata: Vec<(usize, &'a RawValue)>,
    messages: Option<Vec<Turn<'a>>>,
    prompt: Option<Vec<Turn<'a>>>,
}

struct BodyVisitor<'c> {
    /// The member being read, for errors.
    field: &'c Cell<Option<&'static str>>,
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
                "model" => {
                    self.field.set(Some("model"));
                    fields.models.push(map.next_value()?);
                }
                METADATA_FIELD => {
                    self.field.set(Some(METADATA_FIELD));
                    fields.metadata.push((place, map.next_value()?));
                }
                "messages" => {
                    self.field.set(Some("messages"));
                    fields.messages = Some(map.next_value_seed(Messages)?);
                }
                "prompt" => {
                    self.field.set(Some("prompt"));
                    fields.prompt = Some(prompt(map.next_value()?).map_err(A::Error::custom)?);
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
            self.field.set(None);
            place += 1;
        }
        Ok(fields)
    }
}

/// The array of a chat's messages.
struct Messages;

impl<'de> DeserializeSeed<'de> for Messages {
    type Value = Vec<Turn<'de>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Messages {
    type Value = Vec<Turn<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of messages")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut turns = Vec::new();
        while let Some(Message { role, content }) = seq.next_element()? {
            let role =
                role.ok_or_else(|| A::Error::custom(format_args!("message {} has no role", turns.len())))?;
            let content = content.map_or(Ok(Content::Parts(Vec::new())), chat_content);
            let content = content.map_err(|error| {
                A::Error::custom(format_args!("content of message {}: {error}", turns.len()))
            })?;
            turns.push(Turn { role: Role::new(&role), content });
        }
        Ok(turns)
    }
}

/// A message whose content is not looked into yet.
struct Message<'a> {
    role: Option<Cow<'a, str>>,
    content: Option<&'a RawValue>,
}

impl<'de> Deserialize<'de> for Message<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MessageVisitor)
    }
}

struct MessageVisitor;

impl<'de> Visitor<'de> for MessageVisitor {
    type Value = Message<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a message object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut message = Message { role: None, content: None };
        while let Some(Text(key)) = map.next_key()? {
            match key.as_ref() {
                "role" => message.role = Some(map.next_value::<Text>()?.0),
                "content" => message.content = map.next_value()?,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(message)
    }
}

/// The texts of a message: a string, or the `text` of its parts; images, audio and files have none.
fn chat_content(raw: &RawValue) -> Result<Content<'_>, serde_json::Error> {
    if is_string(raw) {
        return Ok(Content::Text(raw.get()));
    }
    let parts: Vec<Part> = serde_json::from_str(raw.get()).map_err(|error| {
        serde_json::Error::custom(format_args!("neither a string nor an array of parts: {error}"))
    })?;
    Ok(Content::Parts(parts.into_iter().filter_map(|part| part.text).collect()))
}

/// The text of a completion's prompt: a string or an array of strings; token numbers have none.
fn prompt(raw: &RawValue) -> Result<Vec<Turn<'_>>, serde_json::Error> {
    let content = if is_string(raw) {
        Content::Text(raw.get())
    } else {
        let items: Vec<&RawValue> = serde_json::from_str(raw.get()).map_err(|error| {
            serde_json::Error::custom(format_args!("neither a string nor an array: {error}"))
        })?;
        if items.is_empty() {
            return Ok(Vec::new());
        }
        Content::Parts(items.into_iter().filter(|item| is_string(item)).map(RawValue::get).collect())
    };
    Ok(vec![Turn { role: Role::User, content }])
}

fn is_string(raw: &RawValue) -> bool {
    raw.get().starts_with('"')
}

/// A part of a message's content.
struct Part<'a> {
    text: Option<&'a str>,
}

impl<'de> Deserialize<'de> for Part<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(PartVisitor)
    }
}

struct PartVisitor;

impl<'de> Visitor<'de> for PartVisitor {
    type Value = Part<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a content part")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut text = None;
        while let Some(Text(key)) = map.next_key()? {
            if key == "text" {
                let raw: &'de RawValue = map.next_value()?;
                text = is_string(raw).then_some(raw.get());
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(Part { text })
    }
}

/// A string, borrowed where it has no escapes; serde's own `Cow` is always owned.
struct Text<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextVisitor)
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Text<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Text(Cow::Owned(text.to_owned())))
    }
}
