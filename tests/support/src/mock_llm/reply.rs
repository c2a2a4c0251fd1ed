//! What a mock LLM replies, in the shape of the API that was called.

use serde_json::Value;

use super::{completions, embeddings, messages, responses};

/// The API that was called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Endpoint {
    Chat,
    Completions,
    Responses,
    Messages,
    Embeddings,
}

impl Endpoint {
    pub(super) fn from_path(path: &str) -> Option<Self> {
        const SUFFIXES: [(&str, Endpoint); 5] = [
            ("/chat/completions", Endpoint::Chat),
            ("/completions", Endpoint::Completions),
            ("/responses", Endpoint::Responses),
            ("/messages", Endpoint::Messages),
            ("/embeddings", Endpoint::Embeddings),
        ];
        SUFFIXES.into_iter().find(|(suffix, _)| path.ends_with(suffix)).map(|(_, endpoint)| endpoint)
    }
}

/// What shapes the reply to one request.
#[derive(Debug)]
pub(super) struct Reply<'a> {
    pub(super) endpoint: Endpoint,
    pub(super) cluster: &'a str,
    pub(super) request: &'a Value,
}

impl Reply<'_> {
    pub(super) fn is_stream(&self) -> bool {
        self.request["stream"] == true
    }

    /// The whole reply in one object.
    pub(super) fn object(&self) -> Value {
        match self.endpoint {
            Endpoint::Chat | Endpoint::Completions => completions::object(self),
            Endpoint::Responses => responses::object(self),
            Endpoint::Messages => messages::object(self),
            Endpoint::Embeddings => embeddings::object(self),
        }
    }

    /// The reply as the payloads of server-sent events.
    pub(super) fn events(&self) -> Vec<String> {
        let events = match self.endpoint {
            // OpenAI streams no embeddings.
            Endpoint::Chat | Endpoint::Completions | Endpoint::Embeddings => {
                return completions::events(self);
            }
            Endpoint::Responses => responses::events(self),
            Endpoint::Messages => messages::events(self),
        };
        events.iter().map(Value::to_string).collect()
    }

    /// What the model writes, in pieces.
    pub(super) fn words(&self) -> [&str; 4] {
        ["This ", "is ", self.cluster, "."]
    }

    pub(super) fn output_tokens(&self) -> usize {
        self.words().len()
    }

    /// It counts words as tokens.
    pub(super) fn input_tokens(&self) -> usize {
        let fields = ["messages", "prompt", "input"].map(|field| self.request[field].to_string());
        fields.concat().split_whitespace().count()
    }
}
