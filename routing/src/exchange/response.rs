//! The response of a model: gets headers that explain the decision, and is read for usage while it is streamed.

use std::mem;
use std::sync::Arc;
use std::time::Duration;

use super::effects::Explanation;
use super::event::{Event, EventSink};
use crate::config::Model;
use crate::decision::{Decision, Reason};
use crate::request::Endpoint;
use crate::usage::UsageReader;

/// The properties of a response from its headers.
#[derive(Clone, Copy, Debug, Default)]
pub struct ResponseHead<'a> {
    /// `content-type`, if it is text.
    pub content_type: Option<&'a str>,
    /// Whether the body is encoded ([`Headers::is_encoded`](crate::headers::Headers::is_encoded)). A host may omit an expensive look-up: encoded bytes are
    /// recognized, too.
    pub is_encoded: bool,
}

/// Which attempt of Envoy's retries responded.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// The first is 1.
    pub number: u64,
    /// The cluster that it went to.
    pub cluster: Option<String>,
}

/// A forwarded request, and its response.
#[derive(Debug)]
pub(super) struct Forwarded {
    decision: Arc<Decision>,
    endpoint: Endpoint,
    /// When the request was forwarded.
    since: Duration,
    /// None if the response cannot be read.
    usage: Option<UsageReader>,
    has_begun: bool,
    has_given_id: bool,
    /// Whether the time of the first token is still unknown.
    awaits_content: bool,
}

impl Forwarded {
    pub(super) fn new(decision: Arc<Decision>, endpoint: Endpoint, now: Duration) -> Self {
        Self {
            decision,
            endpoint,
            since: now,
            usage: None,
            has_begun: false,
            has_given_id: false,
            awaits_content: false,
        }
    }

    /// Why the model responds.
    pub(super) fn headers(
        &mut self,
        head: ResponseHead<'_>,
        attempt: impl FnOnce() -> Attempt,
        events: &mut impl EventSink,
    ) -> Explanation {
        self.find_responder(attempt, events);
        // A response that is not streamed begins with its last token. In shadow mode another model responds: its tokens show what
        // the chosen one would cost, its speed shows nothing.
        self.awaits_content = head.content_type.is_some_and(|it| it.starts_with("text/event-stream"))
            && self.decision.reason != Reason::Shadow;
        // An encoded response could only be read by holding it back.
        let is_read = self.endpoint.takes_tokens() && !head.is_encoded;
        self.usage = is_read.then(|| match self.endpoint {
            Endpoint::Responses => UsageReader::with_response_id(head.content_type),
            _ => UsageReader::new(head.content_type),
        });
        Explanation::new(&self.decision)
    }

    /// Accounts for Envoy's retries, which may have gone to another model.
    fn find_responder(&mut self, attempt: impl FnOnce() -> Attempt, events: &mut impl EventSink) {
        if self.decision.next.is_empty() {
            return;
        }
        let attempt = attempt();
        let model = Arc::clone(self.decision.at_attempt(attempt.number));
        // Envoy's routes may retry without changing the cluster.
        if model.name == self.decision.model.name || attempt.cluster.as_ref() != Some(&model.cluster) {
            return;
        }
        let decision = Arc::make_mut(&mut self.decision);
        let failed = mem::replace(&mut decision.model, model);
        decision.reason = Reason::Failover;
        // The conversation's model did not respond, so nothing was gained or lost by keeping it.
        decision.alternative = None;
        events.record(Event::FailedOver { from: &failed, decision: &self.decision });
    }

    pub(super) fn chunk(
        &mut self,
        chunk: &[u8],
        now: impl FnOnce() -> Duration,
        events: &mut impl EventSink,
    ) {
        let Some(usage) = self.usage.as_mut().filter(|_| !chunk.is_empty()) else { return };
        let is_first = !mem::replace(&mut self.has_begun, true);
        if is_first && !chunk.first().copied().is_some_and(begins_response) {
            self.usage = None;
            return;
        }
        usage.read(chunk);
        if self.awaits_content && usage.has_content() {
            self.awaits_content = false;
            let after = now().saturating_sub(self.since);
            events.record(Event::FirstToken { model: &self.decision.model, after });
        }
    }

    /// Whether the chunks of the response are still needed.
    pub(super) fn reads_response(&self) -> bool {
        self.usage.is_some()
    }

    /// The id of a response that the chosen model made, once, as soon as it is known: the client may continue the response before
    /// its end is seen here. With that model, and the time when the request was forwarded.
    pub(super) fn new_response_id(&mut self) -> Option<(&str, &Arc<Model>, Duration)> {
        if self.has_given_id {
            return None;
        }
        let id = self.usage.as_ref()?.response_id()?;
        self.has_given_id = true;
        (self.decision.reason != Reason::Shadow).then_some((id, &self.decision.model, self.since))
    }

    /// Once, when the response has ended or the exchange is over.
    pub(super) fn end(&mut self, events: &mut impl EventSink) {
        if let Some(usage) = self.usage.take().as_ref().and_then(UsageReader::usage) {
            events.record(Event::Used { decision: &self.decision, usage: &usage });
        }
    }
}

/// Whether a response in JSON or events can begin with this byte: a brace, a comment, an event's `data`, `event`, `id` or
/// `retry`, a byte order mark, or white space. Compressed responses begin with other bytes.
fn begins_response(first: u8) -> bool {
    matches!(first, b'{' | b':' | b'd' | b'e' | b'i' | b'r' | 0xef | b' ' | b'\t' | b'\n' | b'\r')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compressed_responses_are_recognized_by_their_first_byte() {
        let [gzip, zlib, zstd] = [0x1f, 0x78, 0x28];
        // Brotli's first byte depends on the size of its window and of the first block.
        let brotli = [0x0b, 0x1b, 0x5b, 0x8b, 0xcb, 0x0f, 0x8f, 0x21, 0xa1];
        assert!(!brotli.into_iter().chain([gzip, zlib, zstd]).any(begins_response));
        for response in
            ["{}", "\n{}", ": ping\n\n", "data: {}", "event: a", "id: 1", "retry: 1", "\u{feff}data: {}"]
        {
            assert!(begins_response(response.as_bytes()[0]), "{response}");
        }
    }
}
