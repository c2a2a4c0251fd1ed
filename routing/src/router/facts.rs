//! What rules look at.

use std::cell::OnceCell;

use crate::config::Facts;
use crate::request::Request;
use crate::requirements::Capability;

/// The HTTP side of a request: its path and headers.
#[derive(Clone, Copy, Debug)]
pub struct Client<'h> {
    /// The path, with its query.
    pub path: &'h str,
    /// The headers that the client sent, with lower-case names.
    pub headers: &'h [(String, Vec<u8>)],
}

impl<'h> Client<'h> {
    /// The first value of a header, if it is text.
    pub fn header(&self, name: &str) -> Option<&'h str> {
        let (_, value) = self.headers.iter().find(|(key, _)| key == name)?;
        std::str::from_utf8(value).ok()
    }
}

/// A request as rules see it. Its text is only put together if a rule looks at it.
pub(super) struct RequestFacts<'a> {
    request: &'a Request<'a>,
    client: &'a Client<'a>,
    text_limit: usize,
    text: OnceCell<String>,
}

impl<'a> RequestFacts<'a> {
    pub(super) fn new(request: &'a Request<'a>, client: &'a Client<'a>, text_limit: usize) -> Self {
        Self { request, client, text_limit, text: OnceCell::new() }
    }
}

impl Facts for RequestFacts<'_> {
    fn header(&self, name: &str) -> Option<&str> {
        self.client.header(name)
    }

    fn path(&self) -> &str {
        self.client.path
    }

    fn has_tools(&self) -> bool {
        self.request.needs.capabilities.has(Capability::Tools)
    }

    fn has_images(&self) -> bool {
        self.request.needs.capabilities.has(Capability::Images)
    }

    fn tokens(&self) -> u64 {
        self.request.prompt_tokens
    }

    fn text(&self) -> &str {
        self.text.get_or_init(|| self.request.text_to_classify(self.text_limit).to_prompt())
    }
}
