//! What a request asks for, by its path.

use std::borrow::Cow;

use super::endpoint::Endpoint;
use super::path::{NormalPath, encode, split_once, starts_with, strip_suffix};
use crate::requirements::Api;

/// What a path names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Resource {
    /// An LLM's endpoint.
    Target(Target),
    /// The list of models.
    ModelList,
    /// One model of that list, by its name.
    Model(String),
    /// An LLM's endpoint or something else: servers differ in how they resolve it.
    Ambiguous,
    /// Nothing that is routed.
    #[default]
    Other,
}

/// An LLM's endpoint, as a client addresses it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The endpoint.
    pub endpoint: Endpoint,
    /// The model's name, if the path has it, as Azure's clients send it.
    pub deployment: Option<String>,
    /// The beginning of the LLM's path, unless its model has a `base_path`: the client's path up to `/v1`.
    base: Cow<'static, str>,
    /// With its question mark.
    query: String,
}

impl Target {
    /// The path at a model with this `base_path`. The query stays.
    ///
    /// ```
    /// use llm_router_routing::request::Target;
    /// let target = Target::from_path("/team-a/v1/./Responses?x=1").unwrap();
    /// assert_eq!(target.path_at(None), "/team-a/v1/responses?x=1");
    /// assert_eq!(target.path_at(Some("/openai/v1")), "/openai/v1/responses?x=1");
    /// ```
    pub fn path_at(&self, base_path: Option<&str>) -> String {
        let base = base_path.unwrap_or(&self.base);
        format!("{base}{}{}", self.endpoint.suffix(), self.query)
    }

    /// Whether this is the path at a model with this `base_path`.
    pub(crate) fn is_path_at(&self, path: &str, base_path: Option<&str>) -> bool {
        let after_base = path.strip_prefix(base_path.unwrap_or(&self.base));
        after_base.and_then(|rest| rest.strip_prefix(self.endpoint.suffix())) == Some(&self.query)
    }

    /// Whether the path at a model without a `base_path` starts with this prefix, ignoring case.
    pub(super) fn path_starts_with(&self, prefix: &str) -> bool {
        match prefix.split_at_checked(self.base.len()) {
            Some((base, rest)) => {
                base.eq_ignore_ascii_case(&self.base) && starts_with(self.endpoint.suffix(), rest)
            }
            None => starts_with(&self.base, prefix),
        }
    }

    /// The endpoint that a `:path` names.
    pub fn from_path(path: &str) -> Option<Self> {
        match Resource::new(&NormalPath::new(path)) {
            Resource::Target(target) => Some(target),
            _ => None,
        }
    }

    fn new(path: &NormalPath) -> Option<Self> {
        let (endpoint, (base, deployment)) = Endpoint::ALL.into_iter().find_map(|endpoint| {
            Some((endpoint, base_of(endpoint, strip_suffix(&path.path, endpoint.suffix())?)?))
        })?;
        Some(Self { endpoint, deployment, base, query: path.query.clone() })
    }
}

impl Resource {
    pub(super) fn new(path: &NormalPath) -> Self {
        if let Some(target) = Target::new(path) {
            return Self::Target(target);
        }
        if strip_suffix(&path.path, MODELS).is_some_and(is_api) {
            return Self::ModelList;
        }
        if let Some((base, name)) = split_once(&path.path, &format!("{MODELS}/"))
            && is_api(base)
        {
            return Self::Model(name.to_owned());
        }
        if path.unresolved.as_deref().is_some_and(has_endpoint) { Self::Ambiguous } else { Self::Other }
    }
}

/// Whether a segment could be the last of an endpoint's path.
fn has_endpoint(path: &str) -> bool {
    Endpoint::ALL.into_iter().any(|endpoint| {
        let last = endpoint.suffix().rsplit('/').next().unwrap_or_default();
        path.split('/').any(|segment| segment.eq_ignore_ascii_case(last))
    })
}

const MODELS: &str = "/models";
const V1: &str = "/v1";

/// The beginning of the LLM's path, and the deployment, if `before` can precede the endpoint's own part.
fn base_of(endpoint: Endpoint, before: &str) -> Option<(Cow<'static, str>, Option<String>)> {
    if let Some(prefix) = strip_suffix(before, V1) {
        let base = if prefix.is_empty() { V1.into() } else { (encode(prefix) + V1).into() };
        return Some((base, None));
    }
    let deployment = deployment(before).filter(|_| endpoint.api() == Api::Openai);
    let is_routed = deployment.is_some()
        || match endpoint {
            // Only LLM APIs have such a path.
            Endpoint::ChatCompletions => true,
            Endpoint::Completions | Endpoint::Responses | Endpoint::Embeddings => is_api(before),
            Endpoint::Messages | Endpoint::CountTokens => false,
        };
    is_routed.then(|| (V1.into(), deployment))
}

/// The model's name in `/openai/deployments/NAME` (Azure) and `/v1/engines/NAME` (OpenAI's first API). It may have slashes.
fn deployment(before: &str) -> Option<String> {
    let (base, name) =
        ["/deployments/", "/engines/"].into_iter().find_map(|part| split_once(before, part))?;
    is_api(base).then(|| name.to_owned())
}

/// Whether an LLM's API can have this base path. Needed for endpoints whose own part other servers may have, too.
fn is_api(base: &str) -> bool {
    base.is_empty() || [V1, "/openai"].into_iter().any(|end| strip_suffix(base, end).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource(path: &str) -> Resource {
        Resource::new(&NormalPath::new(path))
    }

    fn target(path: &str) -> (Endpoint, Option<String>, String) {
        let target = Target::from_path(path).unwrap_or_else(|| panic!("{path} is not routed"));
        let at = target.path_at(None);
        assert!(target.is_path_at(&at, None) && !target.is_path_at(&format!("{at}x"), None), "{at}");
        (target.endpoint, target.deployment, at)
    }

    #[test]
    fn an_endpoint_is_found_behind_each_base() {
        for (path, endpoint, at) in [
            ("/v1/chat/completions", Endpoint::ChatCompletions, "/v1/chat/completions"),
            ("/a/b/v1/completions?x", Endpoint::Completions, "/a/b/v1/completions?x"),
            ("/chat/completions", Endpoint::ChatCompletions, "/v1/chat/completions"),
            ("/completions", Endpoint::Completions, "/v1/completions"),
            ("/responses?x=1", Endpoint::Responses, "/v1/responses?x=1"),
            ("/embeddings", Endpoint::Embeddings, "/v1/embeddings"),
            ("/v1beta/openai/chat/completions", Endpoint::ChatCompletions, "/v1/chat/completions"),
            ("/v1beta/openai/embeddings", Endpoint::Embeddings, "/v1/embeddings"),
            ("/api/paas/v4/chat/completions", Endpoint::ChatCompletions, "/v1/chat/completions"),
            ("/v1/messages", Endpoint::Messages, "/v1/messages"),
            (
                "/v1/messages/count_tokens?beta=true",
                Endpoint::CountTokens,
                "/v1/messages/count_tokens?beta=true",
            ),
            ("/anthropic/v1/messages", Endpoint::Messages, "/anthropic/v1/messages"),
        ] {
            assert_eq!(target(path), (endpoint, None, at.to_owned()), "{path}");
        }
    }

    #[test]
    fn other_paths_are_not_routed() {
        for path in [
            "/v1/models/auto/x",
            "/v1/files",
            "/v1/chat/completions/abc",
            "/v1/responses/abc/cancel",
            "/",
            "/api/messages",
            "/messages",
            "/survey/responses",
            "/api/embeddings",
            "/v1/chat",
            "/v1/xcompletions",
            "",
        ] {
            assert_eq!(Target::from_path(path), None, "{path}");
        }
    }

    #[test]
    fn a_deployments_name_is_the_models() {
        for (path, name, at) in [
            (
                "/openai/deployments/gpt-4o/chat/completions?api-version=1",
                "gpt-4o",
                "/v1/chat/completions?api-version=1",
            ),
            ("/proxy/openai/deployments/a%2Fb%20c/embeddings", "a/b c", "/v1/embeddings"),
            ("/OpenAI/Deployments/GPT/Completions", "GPT", "/v1/completions"),
            ("/v1/engines/davinci/completions", "davinci", "/v1/completions"),
            ("/engines/meta/llama/chat/completions", "meta/llama", "/v1/chat/completions"),
        ] {
            let (_, deployment, path_at) = target(path);
            assert_eq!((deployment.as_deref(), path_at.as_str()), (Some(name), at), "{path}");
        }
    }

    #[test]
    fn a_path_in_another_spelling_gets_the_usual_one() {
        for (path, at) in [
            ("/v1/%63hat/completions?x=%41", "/v1/chat/completions?x=%41"),
            ("/Team%20A//V1/Chat/COMPLETIONS/", "/Team%20A/v1/chat/completions"),
            ("/a%0D%0Ab/v1/chat/completions#x", "/a%0D%0Ab/v1/chat/completions"),
            ("/v1/chat/x/../completions?a#b", "/v1/chat/completions?a"),
        ] {
            assert_eq!(target(path).2, at, "{path}");
        }
    }

    #[test]
    fn the_usual_spelling_stays() {
        for path in ["/v1/chat/completions", "/a%20b/v1/embeddings?q=%2f%2F/../;", "/Team.a/v1/messages?"] {
            assert_eq!(target(path).2, path);
        }
    }

    /// Some servers decode a slash, count an empty segment or cut parameters before they resolve dots, others after.
    #[test]
    fn a_path_that_servers_resolve_differently_is_ambiguous() {
        for path in [
            "/v1/chat/completions//..",
            "/v1/chat/completions/a%2Fb/..",
            "/v1/chat/completions/;x/..",
            "/v1/Messages/a\\b/%2e%2e",
            "/v1/responses/%20..",
        ] {
            assert_eq!(resource(path), Resource::Ambiguous, "{path}");
        }
        assert_eq!(resource("/files/../x"), Resource::Other);
    }

    #[test]
    fn models_are_found_by_their_names() {
        for path in ["/v1/models", "/models", "/a/v1/models/?limit=3", "/openai/models", "/V1//Models"] {
            assert_eq!(resource(path), Resource::ModelList, "{path}");
        }
        for (path, name) in [
            ("/v1/models/auto", "auto"),
            ("/models/a%2Fb", "a/b"),
            ("/v1/models/Meta/models/Llama-3.1?x", "Meta/models/Llama-3.1"),
        ] {
            assert_eq!(resource(path), Resource::Model(name.to_owned()), "{path}");
        }
        for path in ["/files/models", "/my-models", "/static/models/a"] {
            assert_eq!(resource(path), Resource::Other, "{path}");
        }
    }
}
