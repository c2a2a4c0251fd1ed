//! Reads a body in one pass: unneeded values are skipped, not built.

use std::mem;

use super::error::BodyError;
use super::identity::Identity;
use super::options::{Needs, Options};
use super::turn::{self, BYTES_PER_TOKEN, Turn};
use super::{Directives, Endpoint, METADATA_FIELD, Request};
use crate::json::{Key, RawString, Scanner};
use crate::rejection::Rejection;
use crate::requirements::{Capability, Requirements};
use crate::rewrite::{Member, Object, Rewrite, brace, is_same_but_for_case};

pub(super) fn parse(endpoint: Endpoint, body: &[u8]) -> Result<Request<'_>, Rejection> {
    let mut fields = Fields::read(endpoint, body)?;
    let options = fields.options.needs();
    let (models, unwanted) = (mem::take(&mut fields.models), mem::take(&mut fields.unwanted));
    let object = Object { brace: brace(body), members: fields.members };
    let rewrite = Rewrite::new(models, unwanted, object, body.len());
    let model = fields.model.take().map(RawString::text).filter(|name| !name.is_empty());
    let directives = fields.directives.take();
    let identity = mem::take(&mut fields.identity);
    let (turns, prompt_error) = match fields.turns(endpoint) {
        Ok(turns) => (turns, None),
        Err(rejection) => (Vec::new(), Some(rejection)),
    };
    let prompt_tokens = tokens(&turns, &options);
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
        prompt_error,
        identity,
        turns,
        rewrite,
    })
}

fn tokens(turns: &[Turn<'_>], options: &Needs) -> u64 {
    let text: usize = turns.iter().map(|turn| turn.content.text_bytes() + turn.content.tool_bytes).sum();
    u64::try_from((text + options.tool_bytes()).div_ceil(BYTES_PER_TOKEN)).unwrap_or(u64::MAX)
}

/// The members of the body that routing reads. Of several with the same key the last counts, as most JSON parsers have
/// it.
#[derive(Default)]
struct Fields<'a> {
    model: Option<RawString<'a>>,
    models: Vec<Member>,
    directives: Option<Directives>,
    /// Members that never reach the LLM: routing metadata, and keys that some servers mistake for the ones read here.
    unwanted: Vec<Member>,
    /// The value of the endpoint's prompt field, or its error.
    prompt: Option<Result<Vec<Turn<'a>>, Rejection>>,
    system: Option<Turn<'a>>,
    identity: Identity,
    options: Options<'a>,
    /// The number of members.
    members: usize,
}

/// Routing metadata longer than this, in bytes, is an error: valid metadata has some hundred.
const LONGEST_METADATA: usize = 64 << 10;

/// The members that [`Fields::read_member`] knows.
#[derive(Clone, Copy)]
enum Field {
    Model,
    Metadata,
    Prompt,
    System,
}

impl Field {
    /// What a key means at an endpoint: fields of other endpoints have no meaning here.
    fn find(endpoint: Endpoint, key: &[u8]) -> Option<(Self, &'static str)> {
        Self::all(endpoint).find(|(_, name)| name.as_bytes() == key)
    }

    /// Whether a key is none of them, but servers that ignore case would mistake it for one: they use the last one, so the LLM
    /// could get another model or prompt than the one that was decided on.
    fn differs_in_case_only(endpoint: Endpoint, key: &[u8]) -> bool {
        Self::all(endpoint).any(|(_, name)| is_same_but_for_case(key, name))
    }

    fn all(endpoint: Endpoint) -> impl Iterator<Item = (Self, &'static str)> {
        let known = [
            Some((Self::Model, "model")),
            Some((Self::Metadata, METADATA_FIELD)),
            endpoint.prompt_field().map(|name| (Self::Prompt, name)),
            endpoint.system_field().map(|name| (Self::System, name)),
        ];
        known.into_iter().flatten()
    }
}

impl<'a> Fields<'a> {
    fn read(endpoint: Endpoint, body: &'a [u8]) -> Result<Self, Rejection> {
        let mut fields = Self::default();
        let mut scanner = Scanner::new(body);
        let mut field = None;
        let read = scanner.object(|scanner, key| {
            let found = Field::find(endpoint, &key.name);
            field = found.map(|(_, name)| name);
            fields.members += 1;
            for member in [fields.models.last_mut(), fields.unwanted.last_mut()].into_iter().flatten() {
                member.before(&key);
            }
            match found {
                Some((known, name)) => fields.read_member(known, name, scanner, &key)?,
                None if Field::differs_in_case_only(endpoint, &key.name) => {
                    fields.unwanted.push(Member::new(&key, scanner.skip()?));
                }
                None => {
                    fields.identity.read(&key.name, scanner)?;
                    fields.options.read(endpoint, &key.name, scanner)?;
                }
            }
            field = None;
            Ok::<_, BodyError>(())
        });
        read.map_err(|error| error.rejection(field))?;
        scanner.end().map_err(|error| BodyError::from(error).rejection(None))?;
        Ok(fields)
    }

    fn read_member(
        &mut self,
        field: Field,
        name: &'static str,
        scanner: &mut Scanner<'a>,
        key: &Key<'a>,
    ) -> Result<(), BodyError> {
        match field {
            Field::Model => {
                let mut at = scanner.clone();
                self.model = match at.peek() {
                    Some(b'n') => None,
                    _ => Some(at.string().map_err(|_| BodyError::Type("must be a string"))?),
                };
                self.models.push(Member::new(key, scanner.skip()?));
            }
            Field::Metadata => {
                let raw = scanner.clone().raw()?;
                self.unwanted.push(Member::new(key, scanner.skip()?));
                if raw.len() > LONGEST_METADATA {
                    return Err(BodyError::Type("must be shorter than 64 KiB"));
                }
                self.directives = Directives::parse(raw)?;
            }
            Field::Prompt => self.prompt = read_prompt(name, scanner)?,
            // A system prompt of an unknown shape is the LLM's to reject.
            Field::System => self.system = or_skip(scanner, turn::system)?.ok(),
        }
        Ok(())
    }

    /// The turns of the endpoint's own prompt field, after a system prompt in a field of its own.
    fn turns(self, endpoint: Endpoint) -> Result<Vec<Turn<'a>>, Rejection> {
        let mut turns = match (self.prompt, endpoint.prompt_field()) {
            (Some(prompt), _) => prompt?,
            // A response can continue another one, or be made of a stored prompt; vLLM takes completions of embeddings.
            (None, Some("messages")) => {
                return Err(Rejection::invalid(Some("messages"), "messages is missing"));
            }
            (None, _) => Vec::new(),
        };
        if let Some(system) = self.system {
            turns.insert(0, system);
        }
        Ok(turns)
    }
}

/// The value of a prompt field; none if it is null and optional.
fn read_prompt<'a>(
    name: &'static str,
    scanner: &mut Scanner<'a>,
) -> Result<Option<Result<Vec<Turn<'a>>, Rejection>>, BodyError> {
    if name != "messages" {
        return Ok(Some(or_skip(scanner, turn::input)?.map_err(|error| error.rejection(Some(name)))));
    }
    let messages = or_skip(scanner, turn::messages)?.map_err(|error| error.rejection(Some(name)));
    Ok(Some(messages.and_then(|turns| match turns.is_empty() {
        true => Err(Rejection::invalid(Some(name), format!("{name} must not be empty"))),
        false => Ok(turns),
    })))
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
