//! The answer of an LLM on its way back: told what was decided, and read for usage without being held.

use std::time::Duration;

use llm_router_routing::decision::{Decision, Reason};
use llm_router_routing::usage::UsageReader;

use crate::host;
use crate::stats::Stats;

/// A request that went on, and its answer.
pub(crate) struct Routed {
    decision: Decision,
    /// When it went on.
    since: Duration,
    usage: Option<UsageReader>,
    /// Whether the first token's time is still to be taken.
    awaits_content: bool,
}

impl Routed {
    /// `now`: when the request goes on.
    pub(crate) fn new(decision: Decision, now: Duration) -> Self {
        Self { decision, since: now, usage: None, awaits_content: false }
    }

    /// In the response headers' callback.
    pub(crate) fn headers(&mut self) {
        for (name, value) in self.decision.response_headers() {
            host::set_response_header(name, &value);
        }
        let header = |name| host::response_header(name).and_then(|value| String::from_utf8(value).ok());
        // What is compressed cannot be read without holding it back.
        if header("content-encoding").is_none() {
            let content_type = header("content-type");
            // An answer in one piece begins with its last token. In shadow another model answers: its tokens tell what
            // the chosen one would cost, its speed tells nothing.
            self.awaits_content =
                content_type.as_deref().is_some_and(|it| it.starts_with("text/event-stream"))
                    && self.decision.reason != Reason::Shadow;
            self.usage = Some(UsageReader::new(content_type.as_deref()));
        }
    }

    /// In the response body's callback, for each chunk.
    pub(crate) fn body(&mut self, size: usize, stats: &Stats) {
        let Some(usage) = self.usage.as_mut().filter(|_| size > 0) else { return };
        usage.read(&host::response_chunk(size));
        if self.awaits_content && usage.has_content() {
            self.awaits_content = false;
            stats.first_token(&self.decision.model, host::now().saturating_sub(self.since));
        }
    }

    /// When all is over.
    pub(crate) fn done(self, stats: &Stats) {
        if let Some(usage) = self.usage.as_ref().and_then(UsageReader::usage) {
            stats.used(&self.decision.model, &usage);
        }
    }
}
