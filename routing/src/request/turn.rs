//! The turns of a conversation, with their texts left where they lie in the body.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// One message, or the whole of a completion's prompt.
#[derive(Clone, Debug)]
pub(super) struct Turn<'a> {
    pub(super) role: Role,
    pub(super) content: Content<'a>,
}

/// Who speaks, as far as it matters to classification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// `user`.
    User,
    /// `system` or `developer`.
    System,
    /// `assistant`, `tool`, `function`, or what else the LLM may know.
    Other,
}

impl Role {
    fn new(name: &str) -> Self {
        match name {
            "user" => Self::User,
            "system" | "developer" => Self::System,
            _ => Self::Other,
        }
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::System => "system",
            Self::Other => "assistant",
        }
    }
}

/// What a turn says.
#[derive(Clone, Debug)]
pub(super) struct Content<'a> {
    texts: Texts<'a>,
    pub(super) has_images: bool,
}

/// Each a JSON string as written, with its quotes.
#[derive(Clone, Debug)]
enum Texts<'a> {
    One(&'a str),
    Several(Vec<&'a str>),
}

impl<'a> Content<'a> {
    pub(super) fn texts(&self) -> &[&'a str] {
        match &self.texts {
            Texts::One(text) => std::slice::from_ref(text),
            Texts::Several(texts) => texts,
        }
    }

    fn none() -> Self {
        Self { texts: Texts::Several(Vec::new()), has_images: false }
    }

    /// A string, or the texts of an array of parts; audio and files have none.
    fn parse(raw: &'a RawValue) -> Result<Self, serde_json::Error> {
        if is_string(raw) {
            return Ok(Self { texts: Texts::One(raw.get()), has_images: false });
        }
        let parts: Vec<Part> = serde_json::from_str(raw.get()).map_err(|error| {
            serde_json::Error::custom(format_args!("neither a string nor an array of parts: {error}"))
        })?;
        let has_images = parts.iter().any(|part| part.is_image);
        Ok(Self {
            texts: Texts::Several(parts.into_iter().filter_map(|part| part.text).collect()),
            has_images,
        })
    }
}

/// A chat's `messages`.
pub(super) struct Messages;

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
            let at = turns.len();
            let role = role.ok_or_else(|| A::Error::custom(format_args!("message {at} has no role")))?;
            let content = content.map_or_else(|| Ok(Content::none()), Content::parse);
            let content = content
                .map_err(|error| A::Error::custom(format_args!("content of message {at}: {error}")))?;
            turns.push(Turn { role: Role::new(&role), content });
        }
        Ok(turns)
    }
}

/// A system prompt that stands beside the messages: `instructions`, or Anthropic's `system`.
pub(super) fn system(raw: &RawValue) -> Result<Turn<'_>, serde_json::Error> {
    Ok(Turn { role: Role::System, content: Content::parse(raw)? })
}

/// A `prompt` or `input`: a string, an array of strings or token numbers, or the items of a conversation.
pub(super) fn input(raw: &RawValue) -> Result<Vec<Turn<'_>>, serde_json::Error> {
    if is_string(raw) {
        return Ok(vec![Turn { role: Role::User, content: Content::parse(raw)? }]);
    }
    let items: Vec<&RawValue> = serde_json::from_str(raw.get())
        .map_err(|error| serde_json::Error::custom(format_args!("neither a string nor an array: {error}")))?;
    let is_empty = items.is_empty();
    let mut strings = Vec::new();
    let mut turns = Vec::new();
    for item in items {
        if is_string(item) {
            strings.push(item.get());
        } else if item.get().starts_with('{') {
            turns.extend(item_turn(item)?);
        }
    }
    // Token numbers leave a turn without text: there is a prompt, only not one to read.
    if turns.is_empty() && !is_empty {
        let content = Content { texts: Texts::Several(strings), has_images: false };
        turns.push(Turn { role: Role::User, content });
    }
    Ok(turns)
}

/// An item of `input`. Tool calls, their results and references say nothing by themselves.
fn item_turn(raw: &RawValue) -> Result<Option<Turn<'_>>, serde_json::Error> {
    let message: Message = serde_json::from_str(raw.get())?;
    let Some((role, content)) = message.role.zip(message.content) else { return Ok(None) };
    Ok(Some(Turn { role: Role::new(&role), content: Content::parse(content)? }))
}

fn is_string(raw: &RawValue) -> bool {
    raw.get().starts_with('"')
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

/// A part of a message's content.
struct Part<'a> {
    text: Option<&'a str>,
    is_image: bool,
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
        let mut part = Part { text: None, is_image: false };
        while let Some(Text(key)) = map.next_key()? {
            match key.as_ref() {
                "text" => {
                    let raw: &'de RawValue = map.next_value()?;
                    part.text = is_string(raw).then_some(raw.get());
                }
                // Chat completions, responses and Anthropic's messages, in this order.
                "type" => {
                    let Text(kind) = map.next_value()?;
                    part.is_image = matches!(kind.as_ref(), "image_url" | "input_image" | "image");
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(part)
    }
}

/// A string, borrowed where it has no escapes; serde's own `Cow` is always owned.
pub(super) struct Text<'a>(pub(super) Cow<'a, str>);

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
