//! What a mock LLM replies, in the shape of the API that was called.

use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::{Value, json};

use super::output::Output;
use super::{completions, embeddings, messages, responses};

/// The API that was called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Endpoint {
    Chat,
    Completions,
    Responses,
    Messages,
    CountTokens,
    Embeddings,
}

impl Endpoint {
    pub(super) fn from_path(path: &str) -> Option<Self> {
        const SUFFIXES: [(&str, Endpoint); 6] = [
            ("/chat/completions", Endpoint::Chat),
            ("/completions", Endpoint::Completions),
            ("/responses", Endpoint::Responses),
            ("/messages", Endpoint::Messages),
            ("/messages/count_tokens", Endpoint::CountTokens),
            ("/embeddings", Endpoint::Embeddings),
        ];
        SUFFIXES.into_iter().find(|(suffix, _)| path.ends_with(suffix)).map(|(_, endpoint)| endpoint)
    }
}

/// The request's properties that determine the reply.
#[derive(Debug)]
pub(super) struct Reply<'a> {
    pub(super) endpoint: Endpoint,
    pub(super) cluster: &'a str,
    pub(super) request: &'a Value,
    pub(super) output: Output,
}

impl<'a> Reply<'a> {
    pub(super) fn new(endpoint: Endpoint, cluster: &'a str, request: &'a Value) -> Self {
        Self { endpoint, cluster, request, output: Output::from_request(request, cluster) }
    }

    pub(super) fn is_stream(&self) -> bool {
        self.request["stream"] == true
    }

    /// The whole reply in one object.
    pub(super) fn object(&self) -> Value {
        match self.endpoint {
            Endpoint::Chat | Endpoint::Completions => completions::object(self),
            Endpoint::Responses => responses::object(self),
            Endpoint::Messages => messages::object(self),
            Endpoint::CountTokens => json!({ "input_tokens": self.input_tokens() }),
            Endpoint::Embeddings => embeddings::object(self),
        }
    }

    /// The reply as the payloads of server-sent events.
    pub(super) fn events(&self) -> Vec<String> {
        let events = match self.endpoint {
            // Embeddings and token counts are not streamed.
            Endpoint::Chat | Endpoint::Completions | Endpoint::Embeddings | Endpoint::CountTokens => {
                return completions::events(self);
            }
            Endpoint::Responses => responses::events(self),
            Endpoint::Messages => messages::events(self),
        };
        events.iter().map(Value::to_string).collect()
    }

    /// The text that the model writes: none if it calls a tool.
    pub(super) fn text(&self) -> Option<String> {
        match &self.output {
            Output::Text(pieces) => Some(pieces.concat()),
            Output::Call(_) => None,
        }
    }

    /// An id of the reply or of a part of it: another one for each cluster and request.
    pub(super) fn id(&self, kind: &str) -> String {
        let mut hasher = DefaultHasher::new();
        self.request.to_string().hash(&mut hasher);
        format!("{kind}_{}_{:016x}", self.cluster, hasher.finish())
    }

    /// One for each piece.
    pub(super) fn output_tokens(&self) -> usize {
        match &self.output {
            Output::Text(pieces) => pieces.len(),
            Output::Call(call) => call.pieces().len(),
        }
    }

    /// It counts words as tokens.
    pub(super) fn input_tokens(&self) -> usize {
        let fields = ["messages", "prompt", "input"].map(|field| self.request[field].to_string());
        fields.concat().split_whitespace().count()
    }
}
