//! What routing needs of an OpenAI request's body, found in one pass and without building a JSON tree.

mod body;
mod json_string;
mod metadata;
mod text;

use std::borrow::Cow;

pub use metadata::{Directives, METADATA_FIELD, Strategy};
pub use text::{Excerpt, TextToClassify};

use crate::refusal::Refusal;
use crate::rewrite::Rewrite;

/// The API that a request speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// `/v1/chat/completions`: the prompt is in `messages`.
    ChatCompletions,
    /// `/v1/completions`: the prompt is in `prompt`.
    Completions,
}

impl Endpoint {
    /// The endpoint of a request path, with or without a prefix before `/v1` and a query.
    ///
    /// ```
    /// use llm_router_routing::request::Endpoint;
    /// assert_eq!(Endpoint::from_path("/v1/chat/completions?x=1"), Some(Endpoint::ChatCompletions));
    /// assert_eq!(Endpoint::from_path("/openai/v1/completions"), Some(Endpoint::Completions));
    /// assert_eq!(Endpoint::from_path("/v1/models"), None);
    /// ```
    pub fn from_path(path: &str) -> Option<Self> {
        let path = path.split(['?', '#']).next().unwrap_or_default();
        if path.ends_with("/v1/chat/completions") {
            Some(Self::ChatCompletions)
        } else if path.ends_with("/v1/completions") {
            Some(Self::Completions)
        } else {
            None
        }
    }

    /// The field that holds the prompt.
    fn prompt_field(self) -> &'static str {
        match self {
            Self::ChatCompletions => "messages",
            Self::Completions => "prompt",
        }
    }
}

/// A request's body, as far as routing reads it; borrows from the bytes.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// The body's `model`; none if it is missing or empty. Of several, the last, as most JSON parsers have it.
    pub model: Option<Cow<'a, str>>,
    /// The routing metadata of NVIDIA's blueprint, if it is there.
    pub directives: Option<Directives>,
    turns: Vec<Turn<'a>>,
    rewrite: Rewrite,
}

impl<'a> Request<'a> {
    /// Finds in the body what routing needs.
    ///
    /// # Errors
    /// A 400 that names the field at fault: the body is not UTF-8 JSON, or not an object, or a field that routing
    /// reads is missing or of the wrong type. All other fields are the LLM's business.
    pub fn parse(endpoint: Endpoint, body: &'a [u8]) -> Result<Self, Refusal> {
        let body = std::str::from_utf8(body).map_err(|error| {
            let at = error.valid_up_to();
            Refusal::invalid(None, format!("the body is not JSON: invalid UTF-8 at byte {at}"))
        })?;
        body::parse(endpoint, body)
    }

    /// What of the prompt a classifier should read, at most `limit` bytes of it.
    pub fn text_to_classify(&self, limit: usize) -> TextToClassify {
        text::select(&self.turns, limit)
    }

    /// The places to change once a model is chosen. Owned, so that the body need not be kept until then.
    pub fn into_rewrite(self) -> Rewrite {
        self.rewrite
    }
}

/// One message, or the whole of a completion's prompt.
#[derive(Clone, Debug)]
struct Turn<'a> {
    role: Role,
    content: Content<'a>,
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

    fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::System => "system",
            Self::Other => "assistant",
        }
    }
}

/// The texts of a turn, each a JSON string as written, with its quotes.
#[derive(Clone, Debug)]
enum Content<'a> {
    Text(&'a str),
    Parts(Vec<&'a str>),
}

impl<'a> Content<'a> {
    fn texts(&self) -> &[&'a str] {
        match self {
            Self::Text(text) => std::slice::from_ref(text),
            Self::Parts(texts) => texts,
        }
    }
}

#[cfg(test)]
mod tests;
