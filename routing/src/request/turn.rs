//! The turns of a conversation, with their texts left where they lie in the body.

use super::error::BodyError;
use crate::json::{RawString, Scanner};

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
    fn new(name: RawString<'_>) -> Self {
        match &*name.bytes() {
            b"user" => Self::User,
            b"system" | b"developer" => Self::System,
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
#[derive(Clone, Debug, Default)]
pub(super) struct Content<'a> {
    texts: Texts<'a>,
    pub(super) has_images: bool,
}

#[derive(Clone, Debug)]
enum Texts<'a> {
    One(RawString<'a>),
    Several(Vec<RawString<'a>>),
}

impl Default for Texts<'_> {
    fn default() -> Self {
        Self::Several(Vec::new())
    }
}

impl<'a> Content<'a> {
    pub(super) fn texts(&self) -> &[RawString<'a>] {
        match &self.texts {
            Texts::One(text) => std::slice::from_ref(text),
            Texts::Several(texts) => texts,
        }
    }

    fn one(text: RawString<'a>) -> Self {
        Self { texts: Texts::One(text), has_images: false }
    }

    /// A string, or the texts of an array of parts; audio and files have none, and null says nothing.
    fn read(scanner: &mut Scanner<'a>) -> Result<Self, BodyError> {
        match scanner.peek() {
            Some(b'"') => Ok(Self::one(scanner.string()?)),
            Some(b'[') => Self::read_parts(scanner),
            Some(b'n') => {
                scanner.skip()?;
                Ok(Self::default())
            }
            _ => Err(BodyError::Type("must be a string, an array of parts, or null")),
        }
    }

    fn read_parts(scanner: &mut Scanner<'a>) -> Result<Self, BodyError> {
        let mut texts = Vec::new();
        let mut has_images = false;
        scanner.array(|scanner| {
            let part = Part::read(scanner)?;
            texts.extend(part.text);
            has_images |= part.is_image;
            Ok::<_, BodyError>(())
        })?;
        Ok(Self { texts: Texts::Several(texts), has_images })
    }
}

/// A chat's `messages`.
pub(super) fn messages<'a>(scanner: &mut Scanner<'a>) -> Result<Vec<Turn<'a>>, BodyError> {
    if scanner.peek() != Some(b'[') {
        return Err(BodyError::Type("must be an array of messages"));
    }
    let mut turns = Vec::new();
    scanner.array(|scanner| {
        let message = Message::read(scanner)?;
        let role = message.role.ok_or(BodyError::Type("has a message without a role"))?;
        turns.push(Turn { role: Role::new(role), content: message.content.unwrap_or_default() });
        Ok::<_, BodyError>(())
    })?;
    Ok(turns)
}

/// A system prompt that stands beside the messages: `instructions`, or Anthropic's `system`.
pub(super) fn system<'a>(scanner: &mut Scanner<'a>) -> Result<Turn<'a>, BodyError> {
    Ok(Turn { role: Role::System, content: Content::read(scanner)? })
}

/// A `prompt` or `input`: a string, an array of strings or token numbers, or the items of a conversation.
pub(super) fn input<'a>(scanner: &mut Scanner<'a>) -> Result<Vec<Turn<'a>>, BodyError> {
    let user = |content| Turn { role: Role::User, content };
    match scanner.peek() {
        Some(b'"') => return Ok(vec![user(Content::one(scanner.string()?))]),
        Some(b'[') => {}
        _ => return Err(BodyError::Type("must be a string or an array")),
    }
    let mut is_empty = true;
    let mut strings = Vec::new();
    let mut turns = Vec::new();
    scanner.array(|scanner| {
        is_empty = false;
        match scanner.peek() {
            Some(b'"') => strings.push(scanner.string()?),
            Some(b'{') => turns.extend(Message::read(scanner)?.into_item()),
            _ => {
                scanner.skip()?;
            }
        }
        Ok::<_, BodyError>(())
    })?;
    // Token numbers leave a turn without text: there is a prompt, only not one to read.
    if turns.is_empty() && !is_empty {
        turns.push(user(Content { texts: Texts::Several(strings), has_images: false }));
    }
    Ok(turns)
}

/// Of a message's several roles or contents the last counts, as most JSON parsers have it.
#[derive(Default)]
struct Message<'a> {
    role: Option<RawString<'a>>,
    content: Option<Content<'a>>,
}

impl<'a> Message<'a> {
    fn read(scanner: &mut Scanner<'a>) -> Result<Self, BodyError> {
        if scanner.peek() != Some(b'{') {
            return Err(BodyError::Type("must hold objects only"));
        }
        let mut message = Self::default();
        scanner.object(|scanner, key| {
            match &*key.name {
                b"role" => {
                    let role = scanner.string();
                    message.role =
                        Some(role.map_err(|_| BodyError::Type("has a role that is not a string"))?);
                }
                b"content" => message.content = Some(Content::read(scanner)?),
                _ => {
                    scanner.skip()?;
                }
            }
            Ok::<_, BodyError>(())
        })?;
        Ok(message)
    }

    /// An item of `input`. Tool calls, their results and references say nothing by themselves.
    fn into_item(self) -> Option<Turn<'a>> {
        let (role, content) = self.role.zip(self.content)?;
        Some(Turn { role: Role::new(role), content })
    }
}

/// A part of a message's content.
#[derive(Default)]
struct Part<'a> {
    text: Option<RawString<'a>>,
    is_image: bool,
}

impl<'a> Part<'a> {
    fn read(scanner: &mut Scanner<'a>) -> Result<Self, BodyError> {
        if scanner.peek() != Some(b'{') {
            return Err(BodyError::Type("must have objects for the parts of a content"));
        }
        let mut part = Self::default();
        scanner.object(|scanner, key| {
            let is_string = scanner.peek() == Some(b'"');
            match &*key.name {
                b"text" if is_string => part.text = Some(scanner.string()?),
                b"type" if is_string => {
                    // Chat completions, responses and Anthropic's messages, in this order.
                    let kind = scanner.string()?;
                    part.is_image = matches!(&*kind.bytes(), b"image_url" | b"input_image" | b"image");
                }
                _ => {
                    scanner.skip()?;
                }
            }
            Ok::<_, BodyError>(())
        })?;
        Ok(part)
    }
}
