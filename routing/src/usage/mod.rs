//! The tokens that an LLM reports it used, read from its response while it is streamed.
//!
//! The response may be megabytes, comes in arbitrary chunks, and its text is chosen by the model. So nothing is
//! held back: a scanner keeps its position between the chunks, and only the JSON of a usage object is kept, up to a bound.
//! Its position identifies that object, not its content: text that looks like one is ignored.

mod counts;
mod event_stream;
mod members;
mod path;
mod scanner;
mod split;
#[cfg(test)]
mod tests;

use event_stream::EventStream;
use scanner::{Form, Scanner};

/// What a request cost, in tokens, as OpenTelemetry's GenAI conventions count them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// All tokens of the prompt, those from the provider's cache with them (`gen_ai.usage.input_tokens`).
    pub input_tokens: u64,
    /// Tokens of the completion, including its reasoning (`gen_ai.usage.output_tokens`).
    pub output_tokens: u64,
    /// How many of the prompt's tokens came from the provider's cache, if it reports that
    /// (`gen_ai.usage.cache_read.input_tokens`).
    pub cached_input_tokens: Option<u64>,
}

/// Reads a response's usage, in the format of any routed API, from arbitrary chunks.
///
/// Invalid bytes are not an error, but yield no usage. Nor do encoded bytes, such as gzip's.
///
/// ```
/// use llm_router_routing::usage::UsageReader;
/// let mut reader = UsageReader::new(Some("application/json"));
/// reader.read(br#"{"choices": [], "usage": {"prompt_tokens": 12, "comple"#);
/// reader.read(br#"tion_tokens": 3, "total_tokens": 15}}"#);
/// assert_eq!(reader.usage().map(|usage| (usage.input_tokens, usage.output_tokens)), Some((12, 3)));
/// ```
#[derive(Debug)]
pub struct UsageReader(Source);

#[derive(Debug)]
enum Source {
    Body(Scanner),
    Events(EventStream),
    /// Neither JSON nor events: audio, an error page.
    Other,
}

impl UsageReader {
    /// A reader for a response with this `content-type`.
    pub fn new(content_type: Option<&str>) -> Self {
        Self::reading(content_type, false)
    }

    /// The same for a response of OpenAI's Responses API, whose id is read, too.
    pub fn with_response_id(content_type: Option<&str>) -> Self {
        Self::reading(content_type, true)
    }

    fn reading(content_type: Option<&str>, id: bool) -> Self {
        let essence = content_type.and_then(|value| value.split(';').next()).unwrap_or_default().trim();
        Self(if essence.eq_ignore_ascii_case("application/json") {
            Source::Body(Scanner::new(Form::Body, id))
        } else if essence.eq_ignore_ascii_case("text/event-stream") {
            Source::Events(EventStream::new(id))
        } else {
            Source::Other
        })
    }

    /// Reads the next chunk of the response.
    pub fn read(&mut self, chunk: &[u8]) {
        match &mut self.0 {
            Source::Body(scanner) => scanner.read(chunk),
            Source::Events(events) => events.read(chunk),
            Source::Other => {}
        }
    }

    /// Whether the response has begun: a JSON body's first brace, or the first event with some of the model's text,
    /// reasoning or tool calls. Blank lines and comments that only keep the connection alive do not count.
    pub fn has_content(&self) -> bool {
        self.scanner().is_some_and(Scanner::has_content)
    }

    /// What has been reported so far; the last report counts. At the end of the response it is complete.
    pub fn usage(&self) -> Option<Usage> {
        self.scanner().and_then(Scanner::usage)
    }

    /// The same, if both the input's and the output's tokens have been reported: without one of them, a bill could not be computed.
    pub fn whole_usage(&self) -> Option<Usage> {
        self.scanner().and_then(Scanner::whole_usage)
    }

    /// The response's id by OpenAI's Responses API: the `id` of a body, or `response.id` of events. Clients name it as
    /// `previous_response_id`. At most 128 printable characters. None unless the reader reads it.
    pub fn response_id(&self) -> Option<&str> {
        self.scanner().and_then(Scanner::id)
    }

    fn scanner(&self) -> Option<&Scanner> {
        match &self.0 {
            Source::Body(scanner) => Some(scanner),
            Source::Events(events) => Some(events.scanner()),
            Source::Other => None,
        }
    }
}
