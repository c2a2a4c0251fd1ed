//! A request that waits for the sidecar's answer.

use std::time::Duration;

use llm_router_routing::rewrite::Rewrite;
use llm_router_routing::router::{Answer, Pending};
use proxy_wasm::types::{Action, Status};

use super::head::Head;
use super::{Http, Phase};
use crate::body;
use crate::classifier::{self, ExamplesPayload};
use crate::host::{self, CallId};
use crate::trace;

/// The request, and the call to the sidecar.
pub(super) struct Waiting {
    pub(super) head: Head,
    pub(super) call: CallId,
    /// How the call carried the few-shot examples.
    pub(super) sent: ExamplesPayload,
    pub(super) since: Duration,
    pub(super) pending: Pending,
    pub(super) rewrite: Rewrite,
    /// The body, if it is small: reading it from Envoy again would cost more.
    pub(super) body: Option<body::Read>,
}

impl Http {
    /// Asks the sidecar to classify the request's text.
    pub(super) fn classify(
        &self,
        pending: &Pending,
        head: &Head,
        examples: ExamplesPayload,
        limit: Duration,
    ) -> Result<CallId, Status> {
        let trace = trace::headers(&head.headers);
        self.shared.sidecar.classify(&pending.policy.classifier, &pending.text, examples, trace, limit)
    }

    /// Asks once more, with the examples, in what is left of the time.
    fn send_examples(&self, waiting: &Waiting) -> Option<CallId> {
        let asked_for = host::now().saturating_sub(waiting.since);
        let left = self.shared.config.sidecar.timeout.saturating_sub(asked_for);
        // Envoy counts in milliseconds, and takes 0 for no limit.
        if left.as_millis() == 0 {
            return None;
        }
        self.classify(&waiting.pending, &waiting.head, ExamplesPayload::Full, left).ok()
    }

    /// Goes on with what the sidecar responded.
    pub(super) fn answered(&mut self, waiting: Waiting, status: u32, size: usize) {
        if waiting.sent == ExamplesPayload::Digest
            && classifier::wants_examples(status, &waiting.pending.policy.classifier)
            && let Some(call) = self.send_examples(&waiting)
        {
            self.phase = Phase::Waiting(Waiting { call, sent: ExamplesPayload::Full, ..waiting });
            return;
        }
        let classifier = &waiting.pending.policy.classifier;
        let now = host::now();
        let answer = match classifier::response(status, size, classifier) {
            Ok(classification) => Answer::Fresh(classification),
            Err(failure) => {
                self.shared.warnings.warn(now, failure);
                Answer::None
            }
        };
        let took = now.saturating_sub(waiting.since);
        self.shared.stats.classified(classifier, answer != Answer::None, took);
        let decided = self.shared.router.borrow_mut().decide(&waiting.pending, answer, now);
        match decided {
            Ok(decision) => {
                let body = waiting.body.unwrap_or_else(|| waiting.head.body.read());
                self.route(decision, &waiting.head, &waiting.rewrite, body.bytes(), now);
                host::resume_request();
            }
            Err(refusal) => {
                if self.refuse(&refusal) == Action::Continue {
                    host::resume_request();
                }
            }
        }
    }
}
