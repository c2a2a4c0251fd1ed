//! The HTTP side of a request.

use super::path::{NormalPath, starts_with};
use super::target::{Resource, Target};
use crate::context::RequestContext;
use crate::headers::Headers;
use crate::requirements::Api;

/// A request's headers as the client sent them, with its `:path` and `:method`; and the request's context in Envoy.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RequestHead {
    headers: Headers,
    context: RequestContext,
    path: NormalPath,
    resource: Resource,
}

impl RequestHead {
    /// The head of a request with these headers; the pseudo headers are among them.
    pub fn new(headers: impl Into<Headers>) -> Self {
        let headers = headers.into();
        let path = match (headers.text(":path"), headers.get(":path")) {
            (Some(path), _) => NormalPath::new(path),
            (None, path) => NormalPath::new(&String::from_utf8_lossy(path.unwrap_or_default())),
        };
        Self { resource: Resource::new(&path), path, headers, context: RequestContext::default() }
    }

    /// Adds the context of the request in Envoy.
    #[must_use]
    pub fn with_context(self, context: RequestContext) -> Self {
        Self { context, ..self }
    }

    /// The context of the request in Envoy.
    pub fn context(&self) -> &RequestContext {
        &self.context
    }

    /// Whether the path starts with this prefix, ignoring case: the client's path as servers understand it (decoded, and without
    /// dots, doubled slashes and the like), or the path that the LLM gets. They differ for aliases such as `/completions`.
    pub fn path_starts_with(&self, prefix: &str) -> bool {
        let forwarded =
            || matches!(&self.resource, Resource::Target(target) if target.path_starts_with(prefix));
        starts_with(&self.path.path, prefix) || forwarded()
    }

    /// The endpoint of the path.
    pub fn resource(&self) -> &Resource {
        &self.resource
    }

    /// The model's name in the path, if it has one.
    pub fn deployment(&self) -> Option<&str> {
        match &self.resource {
            Resource::Target(Target { deployment, .. }) => deployment.as_deref(),
            _ => None,
        }
    }

    /// The API whose format the client understands: by the endpoint, and elsewhere by a header that Anthropic's clients send.
    pub fn api(&self) -> Api {
        match &self.resource {
            Resource::Target(target) => target.endpoint.api(),
            _ if self.headers.get("anthropic-version").is_some() => Api::Anthropic,
            _ => Api::Openai,
        }
    }

    /// The HTTP method.
    pub fn method(&self) -> Option<&str> {
        self.headers.text(":method")
    }

    /// The first value of a header, if it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.text(name)
    }

    /// The body's length in bytes, if the client announces it.
    pub fn content_length(&self) -> Option<usize> {
        self.header("content-length")?.parse().ok()
    }

    /// All headers.
    pub fn headers(&self) -> &Headers {
        &self.headers
    }
}
