//! The turns of a conversation, with texts that borrow from the body.
//!
//! Only formats that no LLM accepts are errors.

use memchr::{memchr, memchr_iter, memmem};

use super::content::{Content, Part};
use super::error::BodyError;
use super::key::in_any_case;
use crate::json::{RawString, Scanner, SyntaxError};
use crate::rewrite::is_same_but_for_case;

/// English text has about four bytes a token, in the tokenizers of today's LLMs; other languages have fewer. An
/// estimate is enough to detect prompts that cannot fit.
pub(super) const BYTES_PER_TOKEN: usize = 4;

/// One message, or the whole of a completion's prompt.
#[derive(Clone, Debug)]
pub(super) struct Turn<'a> {
    pub(super) role: Role,
    pub(super) content: Content<'a>,
}

impl Turn<'_> {
    /// A part of the prompt that routing cannot read, of this length.
    pub(super) fn unread(role: Role, bytes: usize) -> Self {
        Self { role, content: Content::unread(bytes) }
    }
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
    /// Servers such as Ollama ignore case, and some templates ignore white space.
    fn new(name: RawString<'_>) -> Self {
        let name = name.bytes();
        let name = std::str::from_utf8(&name).unwrap_or_default().trim().as_bytes();
        let is = |role: &str| is_same_but_for_case(name, role);
        if is("user") {
            Self::User
        } else if is("system") || is("developer") {
            Self::System
        } else {
            Self::Other
        }
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

/// A `prompt` or `input`.
#[derive(Debug, Default)]
pub(super) struct Input<'a> {
    pub(super) turns: Vec<Turn<'a>>,
    /// How many prompts of a completion it has, each with a completion of its own.
    pub(super) prompts: u64,
}

/// A `prompt` or `input`: a string, an array of strings or token numbers, or the items of a conversation.
pub(super) fn input<'a>(scanner: &mut Scanner<'a>) -> Result<Input<'a>, BodyError> {
    let turns = match scanner.peek() {
        Some(b'"') => vec![user(Content::one(scanner.string()?))],
        Some(b'{') => vec![Message::read(scanner)?.into_turn()],
        Some(b'n') => {
            scanner.skip()?;
            Vec::new()
        }
        Some(b'[') => {
            let mut list = List::default();
            list.read(scanner, 0)?;
            return Ok(list.into_input());
        }
        _ => return Err(BodyError::Type("must be a string or an array")),
    };
    Ok(Input { turns, prompts: 1 })
}

fn user(content: Content<'_>) -> Turn<'_> {
    Turn { role: Role::User, content }
}

/// A list of prompts: strings, and lists of token numbers that may have strings among them; or of a conversation's items.
#[derive(Default)]
struct List<'a> {
    strings: Vec<RawString<'a>>,
    turns: Vec<Turn<'a>>,
    tokens: usize,
    prompts: u64,
}

impl<'a> List<'a> {
    fn read(&mut self, scanner: &mut Scanner<'a>, depth: u32) -> Result<(), BodyError> {
        if let Some(tokens) = token_numbers(scanner)? {
            self.tokens += tokens;
            return Ok(());
        }
        scanner.array(|scanner| {
            let first = scanner.peek();
            let is_prompt = depth == 0 && matches!(first, Some(b'"' | b'['));
            self.prompts = self.prompts.saturating_add(is_prompt.into());
            match first {
                Some(b'"') => self.strings.push(scanner.string()?),
                Some(b'{') => self.turns.push(Message::read(scanner)?.into_turn()),
                Some(b'[') if depth == 0 => self.read(scanner, depth + 1)?,
                _ => self.tokens += tokens_of(scanner.raw()?),
            }
            Ok(())
        })
    }

    fn into_input(self) -> Input<'a> {
        let Self { strings, mut turns, tokens, prompts } = self;
        if !strings.is_empty() {
            turns.push(user(Content::several(strings)));
        }
        if tokens > 0 {
            turns.push(Turn::unread(Role::User, tokens.saturating_mul(BYTES_PER_TOKEN)));
        }
        Input { turns, prompts }
    }
}

/// Skips a list that has only numbers, and counts them. It can be very long, so its items are not read one by one.
fn token_numbers(scanner: &mut Scanner<'_>) -> Result<Option<usize>, SyntaxError> {
    if !scanner.starts_with_number() {
        return Ok(None);
    }
    let mut ahead = scanner.clone();
    let raw = ahead.raw()?;
    if has_strings(raw) {
        return Ok(None);
    }
    *scanner = ahead;
    Ok(Some(numbers(raw)))
}

/// The tokens of a number, or of a list of numbers.
fn tokens_of(raw: &[u8]) -> usize {
    let numbers = numbers(raw);
    if has_strings(raw) { numbers.max(raw.len().div_ceil(BYTES_PER_TOKEN)) } else { numbers }
}

fn numbers(raw: &[u8]) -> usize {
    memchr_iter(b',', raw).count() + 1
}

fn has_strings(raw: &[u8]) -> bool {
    memchr(b'"', raw).is_some()
}

/// A message, or an item of a response's input. Parsers differ in which of several roles or contents counts: all contents are
/// read, and if one of the roles is the user's, so is the message.
#[derive(Default)]
struct Message<'a> {
    /// Whether it has the member, even if its value is null.
    has_role: bool,
    role: Option<Role>,
    content: Option<Content<'a>>,
    /// The data outside the content: tool calls, their output, reasoning.
    rest: Content<'a>,
    /// The item that has this data.
    item: Part,
}

/// Longer roles, in bytes, count as a part of the prompt: templates of chats write the role before the content.
const LONGEST_ROLE: usize = 16;

impl<'a> Message<'a> {
    fn read(scanner: &mut Scanner<'a>) -> Result<Self, BodyError> {
        if scanner.peek() != Some(b'{') {
            return Err(BodyError::Type("must contain only objects"));
        }
        let mut message = Self::default();
        scanner.object(|scanner, key| message.read_member(&key.name, scanner))?;
        Ok(message)
    }

    fn read_member(&mut self, key: &[u8], scanner: &mut Scanner<'a>) -> Result<(), BodyError> {
        if !in_any_case(key, |key| self.read_known(key, scanner))? {
            self.rest.read_member(&mut self.item, key, scanner, 0)?;
        }
        Ok(())
    }

    /// Reads a member with this key in lower case. Returns whether the key is one of a message.
    fn read_known(&mut self, key: &[u8], scanner: &mut Scanner<'a>) -> Result<bool, BodyError> {
        match key {
            b"role" => self.read_role(scanner)?,
            b"content" => {
                let content = Content::read(scanner)?;
                match &mut self.content {
                    Some(before) => before.append(content),
                    None => self.content = Some(content),
                }
            }
            b"tool_calls" | b"function_call" => {
                let raw = scanner.raw()?;
                let rest = &mut self.rest;
                rest.other_bytes += raw.len();
                // A member with this name. In a call's arguments, which are a string, the quotes would be escaped.
                rest.has_sealed_reasoning |= memmem::find(raw, b"\"thought_signature\"").is_some();
            }
            // As gateways pass reasoning on: OpenRouter, LiteLLM.
            b"reasoning_details" | b"thinking_blocks" => {
                let mut reasoning = Content::default();
                reasoning.read_parts(scanner, 0)?;
                self.rest.add_without_text(&reasoning);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn read_role(&mut self, scanner: &mut Scanner<'a>) -> Result<(), BodyError> {
        self.has_role = true;
        if scanner.peek() == Some(b'n') {
            scanner.skip()?;
            return Ok(());
        }
        let name = scanner.string().map_err(|_| BodyError::Type("has a role that is not a string"))?;
        if name.inner().len() > LONGEST_ROLE {
            self.rest.other_bytes += name.written();
        }
        if self.role != Some(Role::User) {
            self.role = Some(Role::new(name));
        }
        Ok(())
    }

    /// Tool calls, their results and references are turns without text. A part in place of a message is the user's.
    fn into_turn(mut self) -> Turn<'a> {
        self.rest.end_part(&self.item);
        let mut rest = self.rest;
        let is_part = self.content.is_none() && (self.item.is_input || !rest.texts().is_empty());
        let role = self.role.unwrap_or(if is_part { Role::User } else { Role::Other });
        let content = match self.content {
            Some(mut content) => {
                content.add_without_text(&rest);
                content
            }
            None => {
                rest.has_unread = is_part && !rest.has_text();
                rest
            }
        };
        Turn { role, content }
    }
}
