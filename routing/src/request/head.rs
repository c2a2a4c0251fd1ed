//! The HTTP side of a request.

use crate::headers::Headers;

/// A request's headers as the client sent them, with its `:path` and `:method`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestHead {
    headers: Headers,
}

impl RequestHead {
    /// The head of a request with these headers; the pseudo headers are among them.
    pub fn new(headers: impl Into<Headers>) -> Self {
        Self { headers: headers.into() }
    }

    /// The path with its query; empty if there is none.
    pub fn path(&self) -> &str {
        self.headers.text(":path").unwrap_or_default()
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
