//! The answer of an LLM on its way back: told what was decided, and read for usage without being held.

use std::mem;
use std::sync::Arc;
use std::time::Duration;

use llm_router_routing::decision::{Decision, Reason};
use llm_router_routing::usage::UsageReader;

use crate::access_log;
use crate::host;
use crate::root::Shared;
use crate::stats::Stats;

/// A request that went on, and its answer.
pub(crate) struct Routed {
    decision: Decision,
    /// When it went on.
    since: Duration,
    /// None if the answer is not read.
    usage: Option<UsageReader>,
    has_begun: bool,
    /// Whether the first token's time is still to be taken.
    awaits_content: bool,
}

impl Routed {
    /// `now`: when the request goes on.
    pub(crate) fn new(decision: Decision, now: Duration) -> Self {
        Self { decision, since: now, usage: None, has_begun: false, awaits_content: false }
    }

    /// In the response headers' callback.
    pub(crate) fn headers(&mut self, shared: &Shared) {
        self.find_who_answered(shared);
        for (name, value) in self.decision.response_headers() {
            host::set_response_header(name, &value);
        }
        let content_type = host::response_header("content-type").and_then(|it| String::from_utf8(it).ok());
        // An answer in one piece begins with its last token. In shadow another model answers: its tokens tell what the
        // chosen one would cost, its speed tells nothing.
        self.awaits_content = content_type.as_deref().is_some_and(|it| it.starts_with("text/event-stream"))
            && self.decision.reason != Reason::Shadow;
        self.usage = Some(UsageReader::new(content_type.as_deref()));
    }

    /// Perhaps Envoy's retries went to another model.
    fn find_who_answered(&mut self, shared: &Shared) {
        if self.decision.next.is_empty() {
            return;
        }
        let model = Arc::clone(self.decision.at_attempt(host::attempt()));
        // Envoy's routes may retry without changing the cluster.
        if model.name == self.decision.model.name || host::cluster().as_ref() != Some(&model.cluster) {
            return;
        }
        shared.stats.failed_over(&self.decision.model);
        self.decision.model = model;
        self.decision.reason = Reason::Failover;
        if shared.config.filter_state {
            access_log::tell_decision(&self.decision);
        }
    }

    /// In the response body's callback, for each chunk.
    pub(crate) fn body(&mut self, size: usize, stats: &Stats) {
        let Some(usage) = self.usage.as_mut().filter(|_| size > 0) else { return };
        let chunk = host::response_chunk(size);
        let is_first = !mem::replace(&mut self.has_begun, true);
        if is_first && !chunk.first().copied().is_some_and(begins_answer) {
            self.usage = None;
            return;
        }
        usage.read(&chunk);
        if self.awaits_content && usage.has_content() {
            self.awaits_content = false;
            stats.first_token(&self.decision.model, host::now().saturating_sub(self.since));
        }
    }

    /// At the body's end: in time for rate limits that count what a request took.
    pub(crate) fn tell_usage(&self) {
        if let Some(usage) = self.usage.as_ref().and_then(UsageReader::usage) {
            access_log::tell_usage(&usage);
        }
    }

    /// When all is over.
    pub(crate) fn done(self, shared: &Shared) {
        if let Some(usage) = self.usage.as_ref().and_then(UsageReader::usage) {
            shared.stats.used(&shared.config.prices, &self.decision.model, &usage);
        }
    }
}

/// Whether an answer in JSON or events can begin so: with a brace, a comment, an event's `data`, `event`, `id` or
/// `retry`, a byte order mark, or white space. Compressed ones, which cannot be read without holding them back, begin
/// otherwise; to look costs less than to ask Envoy for `content-encoding`.
fn begins_answer(first: u8) -> bool {
    matches!(first, b'{' | b':' | b'd' | b'e' | b'i' | b'r' | 0xef | b' ' | b'\t' | b'\n' | b'\r')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compressed_answers_are_told_by_their_first_byte() {
        let [gzip, zlib, zstd] = [0x1f, 0x78, 0x28];
        // Brotli's depends on the size of its window and of the first block.
        let brotli = [0x0b, 0x1b, 0x5b, 0x8b, 0xcb, 0x0f, 0x8f, 0x21, 0xa1];
        assert!(!brotli.into_iter().chain([gzip, zlib, zstd]).any(begins_answer));
        for answer in
            ["{}", "\n{}", ": ping\n\n", "data: {}", "event: a", "id: 1", "retry: 1", "\u{feff}data: {}"]
        {
            assert!(begins_answer(answer.as_bytes()[0]), "{answer}");
        }
    }
}
