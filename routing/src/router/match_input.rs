//! A request as the conditions of rules see it.

use std::cell::OnceCell;

use crate::config::MatchInput;
use crate::request::{PromptSettings, Request, RequestHead};
use crate::requirements::Capability;

/// The text is only put together if a rule looks at it.
pub(super) struct RequestInput<'a> {
    request: &'a Request<'a>,
    head: &'a RequestHead,
    settings: &'a PromptSettings,
    text: OnceCell<String>,
}

impl<'a> RequestInput<'a> {
    pub(super) fn new(request: &'a Request<'a>, head: &'a RequestHead, settings: &'a PromptSettings) -> Self {
        Self { request, head, settings, text: OnceCell::new() }
    }
}

impl MatchInput for RequestInput<'_> {
    fn header(&self, name: &str) -> Option<&str> {
        self.head.header(name)
    }

    fn path(&self) -> &str {
        self.head.path()
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
        self.text.get_or_init(|| self.request.prompt(self.settings).text())
    }
}
