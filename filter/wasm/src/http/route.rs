//! What becomes of a request whose model is chosen, or that cannot have one.

use std::time::Duration;

use llm_router_routing::config::Mode;
use llm_router_routing::decision::{Decision, Reason};
use llm_router_routing::rejection::Rejection;
use llm_router_routing::rewrite::Rewrite;
use log::debug;
use proxy_wasm::types::Action;

use super::head::Head;
use super::response::Routed;
use super::{Http, Phase};
use crate::access_log;
use crate::failover;
use crate::host::{self, RequestHeaders};

impl Http {
    /// Makes of the held request the one that the chosen LLM gets; in shadow, only tells of it.
    pub(super) fn route(
        &mut self,
        mut decision: Decision,
        head: &Head,
        rewrite: &Rewrite,
        body: &[u8],
        now: Duration,
    ) {
        if self.in_shadow() {
            decision.reason = Reason::Shadow;
            decision.next.clear();
        } else {
            self.rewrite(&decision, head, rewrite, body);
        }
        debug!("routed to {}: {}", decision.model.name, decision.reason);
        self.shared.stats.routed(&decision);
        if self.shared.config.filter_state {
            access_log::tell_decision(&decision);
        }
        self.phase = Phase::Routed(Routed::new(decision, now));
    }

    fn rewrite(&self, decision: &Decision, head: &Head, rewrite: &Rewrite, body: &[u8]) {
        let model = &decision.model;
        let rewritten = rewrite.apply(body, &model.upstream);
        host::set_request_body(&rewritten);
        if head.has_content_length {
            RequestHeaders.set("content-length", &rewritten.len().to_string());
        }
        if let Some(base_path) = &model.base_path {
            RequestHeaders.set(":path", &head.endpoint.path_at(&head.path, base_path));
        }
        if let Some(host) = &model.host {
            RequestHeaders.set(":authority", host);
        }
        RequestHeaders.set(&self.shared.config.cluster_header, &model.cluster);
        failover::prepare(&self.shared.config, decision, head);
    }

    /// Answers in place of an LLM; in shadow, lets the request go on as it was sent.
    pub(super) fn refuse(&mut self, refusal: &Rejection) -> Action {
        debug!("refused: {}", refusal.code());
        self.shared.stats.refused(refusal);
        if self.shared.config.filter_state {
            access_log::tell_refusal(refusal);
        }
        if self.in_shadow() {
            self.phase = Phase::Untouched;
            return Action::Continue;
        }
        self.phase = Phase::Refused;
        host::respond(refusal.status(), refusal.headers(), &refusal.body());
        Action::Pause
    }

    fn in_shadow(&self) -> bool {
        self.shared.config.mode == Mode::Shadow
    }
}
