//! The turns of a conversation, with texts that borrow from the body.
//!
//! Only formats that no LLM accepts are errors. Unknown parts and items have no text.

use memchr::memmem;

use super::error::BodyError;
use crate::json::{RawString, Scanner, SyntaxError};

/// English text has about four bytes a token, in the tokenizers of today's LLMs; other languages have fewer. An
/// estimate is enough to detect prompts that cannot fit.
pub(super) const BYTES_PER_TOKEN: usize = 4;

/// One message, or the whole of a completion's prompt.
#[derive(Clone, Debug)]
pub(super) struct Turn<'a> {
    pub(super) role: Role,
    pub(super) content: Content<'a>,
}

/// The role, as far as it matters to classification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// `user`.
    User,
    /// `system` or `developer`.
    System,
    /// `assistant`, `tool`, `function`, or any other role.
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
}

/// The content of a turn.
#[derive(Clone, Debug, Default)]
pub(super) struct Content<'a> {
    texts: Texts<'a>,
    /// Whether it has images or videos, wherever the API allows them.
    pub(super) has_images: bool,
    /// Whether it has reasoning that only the model that wrote it accepts: signed or encrypted.
    pub(super) has_sealed_reasoning: bool,
    /// Bytes of tool calls and of their results, as written.
    pub(super) tool_bytes: usize,
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

/// Parts nest in tool results, and those in documents. Nothing that an API knows is nested deeper.
const MAX_NESTING: u32 = 4;

/// The types of parts and items that are images or videos, in all APIs.
const IMAGES: [&[u8]; 11] = [
    b"image_url",
    b"input_image",
    b"image",
    b"image_embeds",
    b"image_pil",
    b"computer_screenshot",
    b"image_generation_call",
    b"video_url",
    b"input_video",
    b"video",
    b"video_embeds",
];

impl<'a> Content<'a> {
    pub(super) fn texts(&self) -> &[RawString<'a>] {
        match &self.texts {
            Texts::One(text) => std::slice::from_ref(text),
            Texts::Several(texts) => texts,
        }
    }

    /// The bytes of its texts, as written.
    pub(super) fn text_bytes(&self) -> usize {
        self.texts().iter().map(|text| text.written()).sum()
    }

    fn one(text: RawString<'a>) -> Self {
        Self { texts: Texts::One(text), ..Self::default() }
    }

    fn several(texts: Vec<RawString<'a>>) -> Self {
        Self { texts: Texts::Several(texts), ..Self::default() }
    }

    /// Reads a string, an array of parts, or one part. Null is empty.
    fn read(scanner: &mut Scanner<'a>) -> Result<Self, BodyError> {
        match scanner.peek() {
            Some(b'"') => Ok(Self::one(scanner.string()?)),
            Some(b'[' | b'{') => {
                let mut parts = Parts::default();
                parts.read_all(scanner, 0)?;
                Ok(parts.content)
            }
            Some(b'n') => {
                scanner.skip()?;
                Ok(Self::default())
            }
            _ => Err(BodyError::Type("must be a string, an array of parts, or null")),
        }
    }
}

/// Collects the content of parts.
#[derive(Default)]
struct Parts<'a> {
    content: Content<'a>,
}

impl<'a> Parts<'a> {
    /// Reads an array of parts, or one part. Texts of nested ones are those of tools.
    fn read_all(&mut self, scanner: &mut Scanner<'a>, depth: u32) -> Result<(), SyntaxError> {
        match scanner.peek() {
            _ if depth > MAX_NESTING => scanner.skip().map(drop),
            Some(b'[') => scanner.array(|scanner| self.read_part(scanner, depth)),
            _ => self.read_part(scanner, depth),
        }
    }

    fn read_part(&mut self, scanner: &mut Scanner<'a>, depth: u32) -> Result<(), SyntaxError> {
        match scanner.peek() {
            Some(b'"') => {
                let text = scanner.string()?;
                self.add_text(text, depth);
                Ok(())
            }
            Some(b'{') => scanner.object(|scanner, key| self.read_member(&key.name, scanner, depth)),
            _ => scanner.skip().map(drop),
        }
    }

    fn read_member(&mut self, key: &[u8], scanner: &mut Scanner<'a>, depth: u32) -> Result<(), SyntaxError> {
        let first = scanner.peek();
        match key {
            b"text" if first == Some(b'"') => {
                let text = scanner.string()?;
                self.add_text(text, depth);
            }
            b"type" if first == Some(b'"') => {
                let kind = scanner.string()?.bytes();
                self.content.has_images |= IMAGES.contains(&&*kind);
                self.content.has_sealed_reasoning |=
                    matches!(&*kind, b"redacted_thinking" | b"reasoning.encrypted");
            }
            b"signature" if first == Some(b'"') => {
                self.content.has_sealed_reasoning |= !scanner.string()?.inner().is_empty();
            }
            // Of a reasoning item. Results of searches, which are nested, have encrypted contents for all models.
            b"encrypted_content" if first == Some(b'"') && depth == 0 => {
                self.content.has_sealed_reasoning |= !scanner.string()?.inner().is_empty();
            }
            // A tool result, a tool's output, and a document that is made of parts.
            b"content" | b"output" | b"outputs" => self.read_all(scanner, depth + 1)?,
            b"source" | b"file" if first == Some(b'{') => self.read_all(scanner, depth + 1)?,
            b"media_type" | b"mime_type" | b"mediaType" | b"mimeType" | b"file_data"
                if first == Some(b'"') =>
            {
                self.content.has_images |= is_image_file(scanner.string()?.inner());
            }
            // What tools are given and give back.
            b"input" | b"arguments" | b"stdout" | b"stderr" | b"results" => {
                self.content.tool_bytes += scanner.raw()?.len();
            }
            b"images" => self.content.has_images |= !is_nothing(scanner.raw()?),
            _ => {
                let raw = scanner.raw()?;
                self.content.has_images |= IMAGES.contains(&key) && !is_nothing(raw);
            }
        }
        Ok(())
    }

    fn add_text(&mut self, text: RawString<'a>, depth: u32) {
        match &mut self.content.texts {
            Texts::Several(texts) if depth == 0 => texts.push(text),
            _ => self.content.tool_bytes += text.written(),
        }
    }
}

/// Whether a media type, or a URL that holds the data itself, is an image's or a video's.
fn is_image_file(written: &[u8]) -> bool {
    let starts = |start: &[u8]| written.get(..start.len()).is_some_and(|it| it.eq_ignore_ascii_case(start));
    [&b"image/"[..], br"image\/", b"video/", br"video\/", b"data:image", b"data:video"]
        .into_iter()
        .any(starts)
}

/// Whether a value, as written, is null or empty.
fn is_nothing(raw: &[u8]) -> bool {
    matches!(raw, b"null" | b"\"\"" | b"[]" | b"{}")
}

/// A chat's `messages`.
pub(super) fn messages<'a>(scanner: &mut Scanner<'a>) -> Result<Vec<Turn<'a>>, BodyError> {
    if scanner.peek() != Some(b'[') {
        return Err(BodyError::Type("must be an array of messages"));
    }
    let mut turns = Vec::new();
    scanner.array(|scanner| {
        let message = Message::read(scanner)?;
        if !message.has_role {
            return Err(BodyError::Type("has a message without a role"));
        }
        turns.push(message.into_turn());
        Ok::<_, BodyError>(())
    })?;
    Ok(turns)
}

/// A system prompt outside the messages: `instructions`, or Anthropic's `system`.
pub(super) fn system<'a>(scanner: &mut Scanner<'a>) -> Result<Turn<'a>, BodyError> {
    Ok(Turn { role: Role::System, content: Content::read(scanner)? })
}

/// A `prompt` or `input`: a string, an array of strings or token numbers, or the items of a conversation.
pub(super) fn input<'a>(scanner: &mut Scanner<'a>) -> Result<Vec<Turn<'a>>, BodyError> {
    let user = |content| Turn { role: Role::User, content };
    match scanner.peek() {
        Some(b'"') => return Ok(vec![user(Content::one(scanner.string()?))]),
        Some(b'{') => return Ok(vec![Message::read(scanner)?.into_turn()]),
        Some(b'n') => {
            scanner.skip()?;
            return Ok(Vec::new());
        }
        Some(b'[') => {}
        _ => return Err(BodyError::Type("must be a string or an array")),
    }
    let mut strings = Vec::new();
    let mut turns = Vec::new();
    let mut numbers = 0;
    let count = |raw: &[u8]| raw.split(|byte| *byte == b',').count();
    if scanner.starts_with_number() {
        // Tokens' numbers, of which there may be very many.
        numbers += count(scanner.raw()?);
    } else {
        scanner.array(|scanner| {
            match scanner.peek() {
                Some(b'"') => strings.push(scanner.string()?),
                Some(b'{') => turns.push(Message::read(scanner)?.into_turn()),
                // A list of tokens' numbers.
                _ => numbers += count(scanner.raw()?),
            }
            Ok::<_, BodyError>(())
        })?;
    }
    if !strings.is_empty() || numbers > 0 {
        turns.push(user(Content { tool_bytes: numbers * BYTES_PER_TOKEN, ..Content::several(strings) }));
    }
    Ok(turns)
}

/// A message, or an item of a response's input. Of several roles or contents the last counts, as most JSON parsers have
/// it.
#[derive(Default)]
struct Message<'a> {
    /// Whether it has the member, be it null.
    has_role: bool,
    role: Option<RawString<'a>>,
    content: Option<Content<'a>>,
    /// The data outside the content: tool calls, their output, reasoning.
    rest: Parts<'a>,
}

impl<'a> Message<'a> {
    fn read(scanner: &mut Scanner<'a>) -> Result<Self, BodyError> {
        if scanner.peek() != Some(b'{') {
            return Err(BodyError::Type("must contain only objects"));
        }
        let mut message = Self::default();
        scanner.object(|scanner, key| {
            match &*key.name {
                b"role" => message.read_role(scanner)?,
                b"content" => message.content = Some(Content::read(scanner)?),
                b"tool_calls" | b"function_call" => {
                    let raw = scanner.raw()?;
                    let rest = &mut message.rest.content;
                    rest.tool_bytes += raw.len();
                    // A member of this name. In a call's arguments, which are a text, its quotes would be escaped.
                    rest.has_sealed_reasoning |= memmem::find(raw, b"\"thought_signature\"").is_some();
                }
                // As gateways pass reasoning on: OpenRouter, LiteLLM.
                b"reasoning_details" | b"thinking_blocks" => {
                    let mut reasoning = Parts::default();
                    reasoning.read_all(scanner, 0)?;
                    message.rest.content.has_sealed_reasoning |= reasoning.content.has_sealed_reasoning;
                }
                name => message.rest.read_member(name, scanner, 0)?,
            }
            Ok::<_, BodyError>(())
        })?;
        Ok(message)
    }

    fn read_role(&mut self, scanner: &mut Scanner<'a>) -> Result<(), BodyError> {
        self.has_role = true;
        self.role = match scanner.peek() {
            Some(b'n') => {
                scanner.skip()?;
                None
            }
            _ => Some(scanner.string().map_err(|_| BodyError::Type("has a role that is not a string"))?),
        };
        Ok(())
    }

    /// Tool calls, their results and references are turns without text. A part in place of a message is the user's.
    fn into_turn(self) -> Turn<'a> {
        let rest = self.rest.content;
        let role = self.role.map(Role::new);
        let role = role.unwrap_or(match self.content.is_none() && !rest.texts().is_empty() {
            true => Role::User,
            false => Role::Other,
        });
        let has_images = rest.has_images;
        let has_sealed_reasoning = rest.has_sealed_reasoning;
        let tool_bytes = rest.tool_bytes;
        let mut content = self.content.unwrap_or(Content { tool_bytes: 0, ..rest });
        content.has_images |= has_images;
        content.has_sealed_reasoning |= has_sealed_reasoning;
        content.tool_bytes += tool_bytes;
        Turn { role, content }
    }
}
