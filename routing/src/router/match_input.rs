//! A request as the conditions of rules see it.

use std::cell::OnceCell;

use crate::config::MatchInput;
use crate::context::RequestContext;
use crate::request::{Prompt, PromptSettings, Request, RequestHead};
use crate::requirements::Capability;

/// The prompt is assembled at most once, and only if a condition reads it.
pub(super) struct RequestInput<'a> {
    request: &'a Request<'a>,
    head: &'a RequestHead,
    settings: &'a PromptSettings,
    prompt: OnceCell<Prompt>,
    text: OnceCell<String>,
}

impl<'a> RequestInput<'a> {
    pub(super) fn new(request: &'a Request<'a>, head: &'a RequestHead, settings: &'a PromptSettings) -> Self {
        Self { request, head, settings, prompt: OnceCell::new(), text: OnceCell::new() }
    }

    /// The human's last message.
    pub(super) fn prompt(&self) -> &Prompt {
        self.prompt.get_or_init(|| self.request.prompt(self.settings))
    }

    /// The same prompt, taken out of the input.
    pub(super) fn into_prompt(self) -> Prompt {
        self.prompt.into_inner().unwrap_or_else(|| self.request.prompt(self.settings))
    }
}

impl MatchInput for RequestInput<'_> {
    fn header(&self, name: &str) -> Option<&str> {
        self.head.header(name)
    }

    fn context(&self) -> &RequestContext {
        self.head.context()
    }

    fn path_starts_with(&self, prefix: &str) -> bool {
        self.head.path_starts_with(prefix)
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
        self.text.get_or_init(|| self.prompt().text())
    }
}
