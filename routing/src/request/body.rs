//! The one pass over a body: what is not wanted is skipped, not built.

use std::mem;
use std::ops::Range;

use super::error::BodyError;
use super::options::Options;
use super::turn::{self, Turn};
use super::{Directives, Endpoint, METADATA_FIELD, Request};
use crate::json::{RawString, Scanner};
use crate::rejection::Rejection;
use crate::requirements::{Capability, Requirements};
use crate::rewrite::{Member, Rewrite};

/// English text has about four bytes a token, in the tokenizers of today's LLMs; other languages have fewer. An
/// estimate is enough to tell a prompt that cannot fit from one that can.
const BYTES_PER_TOKEN: usize = 4;

pub(super) fn parse(endpoint: Endpoint, body: &[u8]) -> Result<Request<'_>, Rejection> {
    let mut fields = Fields::read(body)?;
    let options = fields.options;
    let rewrite = Rewrite::new(mem::take(&mut fields.models), mem::take(&mut fields.metadata));
    let model = fields.model.map(RawString::text).filter(|name| !name.is_empty());
    let directives = fields.directives.take();
    let turns = fields.turns(endpoint)?;
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
            tokens: prompt_tokens.saturating_add(options.max_tokens),
        },
        prompt_tokens,
        turns,
        rewrite,
    })
}

fn tokens(turns: &[Turn<'_>], options: &Options) -> u64 {
    let text: usize = turns.iter().flat_map(|turn| turn.content.texts()).map(|text| text.written()).sum();
    u64::try_from((text + options.tool_bytes).div_ceil(BYTES_PER_TOKEN)).unwrap_or(u64::MAX)
}

/// The members of the body that routing reads. Of several with the same key the last counts, as most JSON parsers have
/// it.
#[derive(Default)]
struct Fields<'a> {
    model: Option<RawString<'a>>,
    models: Vec<Member>,
    directives: Option<Directives>,
    metadata: Vec<Member>,
    messages: Option<Vec<Turn<'a>>>,
    prompt: Option<Vec<Turn<'a>>>,
    input: Option<Vec<Turn<'a>>>,
    system: Option<Turn<'a>>,
    options: Options,
}

impl<'a> Fields<'a> {
    fn read(body: &'a [u8]) -> Result<Self, Rejection> {
        let mut fields = Self::default();
        let mut scanner = Scanner::new(body);
        let mut field = None;
        let mut place = 0;
        let read = scanner.object(|scanner, key| {
            field = FIELDS.into_iter().find(|field| field.as_bytes() == &*key.name);
            match field {
                Some(name) => {
                    fields.read_member(name, scanner, |value| Member { place, key: key.start, value })?
                }
                None => fields.options.read(&key.name, scanner)?,
            }
            field = None;
            place += 1;
            Ok::<_, BodyError>(())
        });
        read.map_err(|error| error.refusal(field))?;
        scanner.end().map_err(|error| BodyError::from(error).refusal(None))?;
        Ok(fields)
    }

    fn read_member(
        &mut self,
        name: &'static str,
        scanner: &mut Scanner<'a>,
        member: impl FnOnce(Range<usize>) -> Member,
    ) -> Result<(), BodyError> {
        match name {
            "model" => {
                let mut at = scanner.clone();
                self.model = Some(at.string().map_err(|_| BodyError::Type("must be a string"))?);
                self.models.push(member(scanner.skip()?));
            }
            METADATA_FIELD => {
                let raw = scanner.clone().raw()?;
                self.metadata.push(member(scanner.skip()?));
                self.directives = Some(Directives::parse(raw)?);
            }
            "messages" => self.messages = Some(turn::messages(scanner)?),
            "prompt" => self.prompt = Some(turn::input(scanner)?),
            "input" => self.input = Some(turn::input(scanner)?),
            _ => self.system = Some(turn::system(scanner)?),
        }
        Ok(())
    }

    /// The turns of the endpoint's own prompt field, after a system prompt that stands beside it.
    fn turns(self, endpoint: Endpoint) -> Result<Vec<Turn<'a>>, Rejection> {
        let field = endpoint.prompt_field();
        let found = match endpoint {
            Endpoint::ChatCompletions | Endpoint::Messages | Endpoint::CountTokens => self.messages,
            Endpoint::Completions => self.prompt,
            Endpoint::Responses | Endpoint::Embeddings => self.input,
        };
        let mut turns =
            found.ok_or_else(|| Rejection::invalid(Some(field), format!("{field} is missing")))?;
        if turns.is_empty() {
            return Err(Rejection::invalid(Some(field), format!("{field} must not be empty")));
        }
        if let Some(system) = self.system {
            turns.insert(0, system);
        }
        Ok(turns)
    }
}

/// The members that [`Fields::read_member`] knows.
const FIELDS: [&str; 7] = ["model", "messages", METADATA_FIELD, "prompt", "input", "instructions", "system"];
