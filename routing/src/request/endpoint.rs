//! The APIs that are routed, told by their paths.

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
    /// `/v1/embeddings`: there is no prompt to classify, only a model to choose by name.
    Embeddings,
}

impl Endpoint {
    const ALL: [Self; 5] =
        [Self::ChatCompletions, Self::Completions, Self::Responses, Self::Messages, Self::Embeddings];

    /// The endpoint of a request path, with or without a prefix before `/v1` and a query.
    ///
    /// ```
    /// use llm_router_routing::request::Endpoint;
    /// assert_eq!(Endpoint::from_path("/v1/chat/completions?x=1"), Some(Endpoint::ChatCompletions));
    /// assert_eq!(Endpoint::from_path("/openai/v1/completions"), Some(Endpoint::Completions));
    /// assert_eq!(Endpoint::from_path("/v1/models"), None);
    /// ```
    pub fn from_path(path: &str) -> Option<Self> {
        let path = without_query(path);
        Self::ALL.into_iter().find(|endpoint| endpoint.prefix(path).is_some())
    }

    /// The path that a provider gets which has `base_path` in place of what comes up to `/v1`. The query stays.
    ///
    /// ```
    /// use llm_router_routing::request::Endpoint;
    /// let path = Endpoint::Responses.path_at("/team-a/v1/responses?x=1", "/openai/v1");
    /// assert_eq!(path, "/openai/v1/responses?x=1");
    /// ```
    pub fn path_at(self, path: &str, base_path: &str) -> String {
        let suffix = self.prefix(without_query(path)).and_then(|prefix| path.get(prefix.len() + V1.len()..));
        format!("{base_path}{}", suffix.unwrap_or_default())
    }

    /// The shape of its requests and answers.
    pub fn api(self) -> Api {
        match self {
            Self::Messages => Api::Anthropic,
            _ => Api::Openai,
        }
    }

    /// What comes before `/v1`, if the path is this endpoint's.
    fn prefix(self, path: &str) -> Option<&str> {
        path.strip_suffix(self.suffix())?.strip_suffix(V1)
    }

    fn suffix(self) -> &'static str {
        match self {
            Self::ChatCompletions => "/chat/completions",
            Self::Completions => "/completions",
            Self::Responses => "/responses",
            Self::Messages => "/messages",
            Self::Embeddings => "/embeddings",
        }
    }

    /// The field that holds the prompt.
    pub(super) fn prompt_field(self) -> &'static str {
        match self {
            Self::ChatCompletions | Self::Messages => "messages",
            Self::Completions => "prompt",
            Self::Responses | Self::Embeddings => "input",
        }
    }
}

/// Whether a path asks for the list of models.
///
/// ```
/// assert!(llm_router_routing::request::is_model_list("/v1/models?limit=3"));
/// assert!(!llm_router_routing::request::is_model_list("/v1/models/auto"));
/// ```
pub fn is_model_list(path: &str) -> bool {
    without_query(path).ends_with("/v1/models")
}

const V1: &str = "/v1";

fn without_query(path: &str) -> &str {
    path.split(['?', '#']).next().unwrap_or_default()
}
