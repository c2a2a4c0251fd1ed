//! Reads a body in one pass: unneeded values are skipped, not built.

use std::mem;
use std::sync::LazyLock;

use super::content::{bytes_of_data, is_nothing};
use super::error::BodyError;
use super::identity::{self, Identity};
use super::key::lower_case;
use super::members::{Changed, Fate, Members};
use super::options::{self, Options};
use super::turn::{self, BYTES_PER_TOKEN, Input, Role, Turn};
use super::{Directives, Endpoint, METADATA_FIELD, Request};
use crate::json::{RawString, Scanner};
use crate::rejection::Rejection;
use crate::requirements::{Capability, Requirements};
use crate::rewrite::{Object, Rewrite, brace};

pub(super) fn parse(endpoint: Endpoint, body: &[u8]) -> Result<Request<'_>, Rejection> {
    let (mut fields, Changed { model, unwanted }) = Fields::read(endpoint, body)?;
    let options = fields.options.needs();
    let object = Object { brace: brace(body), members: fields.members };
    let rewrite = Rewrite::new(model.into_iter().collect(), unwanted, object, body.len());
    let model = fields.model.take().map(RawString::text).filter(|name| !name.is_empty());
    let directives = fields.directives.take();
    let identity = mem::take(&mut fields.identity);
    let Conversation { turns, error, bytes, prompts } = fields.conversation(endpoint);
    let prompt_tokens = tokens(bytes.saturating_add(options.bytes()));
    let completion_tokens =
        options.max_tokens().saturating_mul(options.completions()).saturating_mul(prompts);
    let has_images = turns.iter().any(|turn| turn.content.has_images);
    let capabilities = options.capabilities();
    Ok(Request {
        endpoint,
        model,
        directives,
        needs: Requirements {
            api: endpoint.api(),
            capabilities: if has_images { capabilities.with(Capability::Images) } else { capabilities },
            tokens: prompt_tokens.saturating_add(options.max_tokens()),
        },
        prompt_tokens,
        estimated_tokens: prompt_tokens.saturating_add(completion_tokens),
        prompt_error: error,
        identity,
        turns,
        rewrite,
    })
}

fn tokens(bytes: usize) -> u64 {
    u64::try_from(bytes.div_ceil(BYTES_PER_TOKEN)).unwrap_or(u64::MAX)
}

/// The members of the body that routing reads. Of several with the same key the last counts, as most JSON parsers have
/// it.
#[derive(Default)]
struct Fields<'a> {
    model: Option<RawString<'a>>,
    directives: Option<Directives>,
    prompt: Option<Prompt<'a>>,
    system: Option<Turn<'a>>,
    /// A prompt that routing cannot read, unless it is null or empty.
    unreadable: Option<Turn<'a>>,
    identity: Identity,
    options: Options<'a>,
    /// The number of members.
    members: usize,
}

/// The value of the endpoint's prompt field.
enum Prompt<'a> {
    Read(Input<'a>),
    /// It has an unknown format.
    Invalid {
        error: Rejection,
        /// Its length.
        bytes: usize,
    },
}

/// What is said to the LLM.
struct Conversation<'a> {
    /// Empty if the prompt's format is unknown, or if nothing is classified.
    turns: Vec<Turn<'a>>,
    /// The error in the prompt's field.
    error: Option<Rejection>,
    /// Its bytes, as written.
    bytes: usize,
    /// The number of prompts, each with completions of its own.
    prompts: u64,
}

/// Routing metadata longer than this, in bytes, is an error: valid metadata has a few hundred.
const LONGEST_METADATA: usize = 64 << 10;

/// The members that [`Fields::read_member`] knows.
#[derive(Clone, Copy)]
enum Field {
    Model,
    Metadata,
    Prompt,
    System,
    UnreadablePrompt,
    Identity,
    /// By its position among the options.
    Option(usize),
}

/// The fields of each endpoint, with their names.
static FIELDS: LazyLock<[Vec<(Field, &str)>; Endpoint::ALL.len()]> =
    LazyLock::new(|| Endpoint::ALL.map(|endpoint| Field::all(endpoint).collect()));

/// The most fields that an endpoint can have.
const MOST_FIELDS: usize = 5 + identity::NAMES.len() + options::COUNT;

impl Field {
    /// The field that a server could take a key for, with its name and its position among all. Servers that ignore case do so for
    /// keys that differ in case only.
    fn find(endpoint: Endpoint, key: &[u8]) -> Option<(usize, Self, &'static str)> {
        let fields = FIELDS.get(endpoint as usize)?;
        let position =
            |key: &[u8]| fields.iter().position(|(_, name)| name.as_bytes().eq_ignore_ascii_case(key));
        let place = if key.is_ascii() { position(key) } else { position(&lower_case(key)?) }?;
        let (field, name) = fields.get(place)?;
        Some((place, *field, *name))
    }

    /// The fields of an endpoint, with their names. Fields of other endpoints have no meaning there.
    fn all(endpoint: Endpoint) -> impl Iterator<Item = (Self, &'static str)> {
        let known = [
            Some((Self::Model, "model")),
            Some((Self::Metadata, METADATA_FIELD)),
            Some((Self::Prompt, endpoint.prompt_field())),
            endpoint.system_field().map(|name| (Self::System, name)),
            endpoint.unreadable_prompt_field().map(|name| (Self::UnreadablePrompt, name)),
        ];
        let identity = identity::NAMES.into_iter().map(|name| (Self::Identity, name));
        let options = Options::names(endpoint).map(|(index, name)| (Self::Option(index), name));
        known.into_iter().flatten().chain(identity).chain(options)
    }
}

/// The names of the members that routing reads.
pub(super) fn known_members(endpoint: Endpoint) -> impl Iterator<Item = &'static str> {
    Field::all(endpoint).map(|(_, name)| name)
}

impl<'a> Fields<'a> {
    fn read(endpoint: Endpoint, body: &'a [u8]) -> Result<(Self, Changed), Rejection> {
        let mut fields = Self::default();
        let mut members = Members::<MOST_FIELDS>::new();
        let mut scanner = Scanner::new(body);
        let mut field = None;
        let read = scanner.object(|scanner, key| {
            fields.members += 1;
            members.at_key(&key);
            scanner.peek();
            let start = scanner.position();
            let fate = match Field::find(endpoint, &key.name) {
                Some((place, known, name)) if *key.name == *name.as_bytes() => {
                    field = Some(name);
                    fields.read_member(known, name, scanner)?;
                    match known {
                        Field::Model => Fate::Model,
                        Field::Metadata => Fate::Removed,
                        _ => Fate::Stays(place),
                    }
                }
                // Servers that ignore case take the last, so the LLM could get another value than the decision saw.
                Some(_) => {
                    scanner.skip()?;
                    Fate::Removed
                }
                None => {
                    scanner.skip()?;
                    return Ok(());
                }
            };
            members.push(fate, &key, start..scanner.position());
            field = None;
            Ok::<_, BodyError>(())
        });
        read.map_err(|error| error.rejection(field))?;
        scanner.end().map_err(|error| BodyError::from(error).rejection(None))?;
        Ok((fields, members.finish()))
    }

    /// Reads the value of a field.
    fn read_member(
        &mut self,
        field: Field,
        name: &'static str,
        scanner: &mut Scanner<'a>,
    ) -> Result<(), BodyError> {
        match field {
            Field::Model => {
                self.model = match scanner.peek() {
                    Some(b'n') => scanner.skip().map(|_| None)?,
                    _ => Some(scanner.string().map_err(|_| BodyError::Type("must be a string"))?),
                };
            }
            Field::Metadata => {
                let raw = scanner.raw()?;
                if raw.len() > LONGEST_METADATA {
                    return Err(BodyError::Type("must be shorter than 64 KiB"));
                }
                self.directives = Directives::parse(raw)?;
            }
            Field::Prompt => self.prompt = Some(Prompt::read(name, scanner)?),
            Field::System => {
                let start = scanner.position();
                let system = or_skip(scanner, turn::system)?;
                // It is left to the LLM to reject a system prompt of an unknown shape.
                let unread = |_| Turn::unread(Role::System, scanner.since(start).len());
                self.system = Some(system.unwrap_or_else(unread));
            }
            Field::UnreadablePrompt => {
                let raw = scanner.raw()?;
                self.unreadable = (!is_nothing(raw)).then(|| Turn::unread(Role::User, bytes_of_data(raw)));
            }
            Field::Identity => self.identity.read(name, scanner)?,
            Field::Option(index) => self.options.read(index, scanner)?,
        }
        Ok(())
    }

    /// The turns of the endpoint's own prompt field, after a system prompt in a field of its own.
    fn conversation(self, endpoint: Endpoint) -> Conversation<'a> {
        let (input, error, mut bytes) = match self.prompt {
            Some(Prompt::Read(input)) => (input, None, 0),
            Some(Prompt::Invalid { error, bytes }) => (Input::default(), Some(error), bytes),
            None if endpoint.prompt_field() == "messages" => {
                let error = Rejection::invalid(Some("messages"), "messages is missing");
                (Input::default(), Some(error), 0)
            }
            // A response can continue another one, or be made of a stored prompt; vLLM takes completions of embeddings.
            None => (Input::default(), None, 0),
        };
        let mut turns = input.turns;
        match self.unreadable {
            // A stored prompt comes before the input.
            Some(turn) if endpoint == Endpoint::Responses => turns.insert(0, turn),
            other => turns.extend(other),
        }
        if let Some(system) = self.system {
            turns.insert(0, system);
        }
        bytes += turns.iter().map(|turn| turn.content.bytes()).sum::<usize>();
        if error.is_some() || !endpoint.is_classified() {
            turns.clear();
        }
        let error = error.filter(|_| endpoint.is_classified());
        Conversation { turns, error, bytes, prompts: input.prompts.max(1) }
    }
}

impl<'a> Prompt<'a> {
    fn read(name: &'static str, scanner: &mut Scanner<'a>) -> Result<Self, BodyError> {
        let start = scanner.position();
        let input = match name {
            "messages" => or_skip(scanner, turn::messages)?.and_then(|turns| match turns.is_empty() {
                true => Err(BodyError::Type("must not be empty")),
                false => Ok(Input { turns, prompts: 1 }),
            }),
            _ => or_skip(scanner, turn::input)?,
        };
        let bytes = scanner.since(start).len();
        Ok(input.map_or_else(|error| Self::Invalid { error: error.rejection(Some(name)), bytes }, Self::Read))
    }
}

/// Reads a value, or skips a value of another type. The error is for callers that need the value.
fn or_skip<'a, T>(
    scanner: &mut Scanner<'a>,
    read: impl FnOnce(&mut Scanner<'a>) -> Result<T, BodyError>,
) -> Result<Result<T, BodyError>, BodyError> {
    let mut ahead = scanner.clone();
    match read(&mut ahead) {
        Err(error @ BodyError::Syntax(_)) => Err(error),
        Err(error) => {
            scanner.count_items_of(&ahead);
            scanner.skip()?;
            Ok(Err(error))
        }
        Ok(value) => {
            *scanner = ahead;
            Ok(Ok(value))
        }
    }
}
