//! The APIs that are routed.

use crate::requirements::Api;

/// The API that a request speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// `/v1/chat/completions`: the prompt is in `messages`.
    ChatCompletions,
    /// `/v1/completions`: the prompt is in `prompt`.
    Completions,
    /// `/v1/responses`: the prompt is in `input`.
    Responses,
    /// `/v1/messages`, Anthropic's: the prompt is in `messages`.
    Messages,
    /// `/v1/messages/count_tokens`, Anthropic's: asks how many tokens a message has. The model is the one that would get it.
    CountTokens,
    /// `/v1/embeddings`: there is no prompt to classify, only a model to choose by name.
    Embeddings,
}

impl Endpoint {
    /// All endpoints. If the path of one ends with the path of another, it comes first.
    pub const ALL: [Self; 6] = [
        Self::ChatCompletions,
        Self::Completions,
        Self::Responses,
        Self::Messages,
        Self::CountTokens,
        Self::Embeddings,
    ];

    /// The format of its requests and responses.
    pub fn api(self) -> Api {
        match self {
            Self::Messages | Self::CountTokens => Api::Anthropic,
            _ => Api::Openai,
        }
    }

    /// Whether an LLM uses tokens for it, which limits and usage count.
    pub fn takes_tokens(self) -> bool {
        self != Self::CountTokens
    }

    /// Its path after the base, such as `/v1`.
    pub(super) fn suffix(self) -> &'static str {
        match self {
            Self::ChatCompletions => "/chat/completions",
            Self::Completions => "/completions",
            Self::Responses => "/responses",
            Self::Messages => "/messages",
            Self::CountTokens => "/messages/count_tokens",
            Self::Embeddings => "/embeddings",
        }
    }

    /// Whether its prompt is classified. The others' only counts.
    pub(super) fn is_classified(self) -> bool {
        self != Self::Embeddings
    }

    /// The field with the prompt.
    pub(crate) fn prompt_field(self) -> &'static str {
        match self {
            Self::ChatCompletions | Self::Messages | Self::CountTokens => "messages",
            Self::Completions => "prompt",
            Self::Responses | Self::Embeddings => "input",
        }
    }

    /// A field with a prompt that routing cannot read: vLLM's embeddings of a prompt, and the variables of a stored prompt.
    pub(super) fn unreadable_prompt_field(self) -> Option<&'static str> {
        match self {
            Self::Completions => Some("prompt_embeds"),
            Self::Responses => Some("prompt"),
            Self::ChatCompletions | Self::Messages | Self::CountTokens | Self::Embeddings => None,
        }
    }

    /// The field of a system prompt outside the messages.
    pub(super) fn system_field(self) -> Option<&'static str> {
        match self {
            Self::Messages | Self::CountTokens => Some("system"),
            Self::Responses => Some("instructions"),
            Self::ChatCompletions | Self::Completions | Self::Embeddings => None,
        }
    }
}
