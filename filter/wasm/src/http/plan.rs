//! A request whose body is complete: whether its model is known, or the sidecar must be asked.

use llm_router_routing::rejection::Rejection;
use llm_router_routing::request::Request;
use llm_router_routing::router::{Answer, Client, Plan};
use proxy_wasm::types::Action;

use super::head::Head;
use super::waiting::Waiting;
use super::{Http, Phase};
use crate::access_log;
use crate::classifier::ExamplesPayload;
use crate::host;

impl Http {
    /// Plans the request, now that all of its body is there.
    pub(super) fn plan(&mut self, mut head: Head) -> Result<Action, Rejection> {
        let now = host::now();
        let body = head.body.read();
        let request = Request::parse(head.endpoint, body.bytes())?;
        if self.shared.config.filter_state {
            access_log::tell_estimate(request.needs.tokens);
        }
        let client = Client { path: &head.path, headers: &head.headers };
        let plan = self.shared.router.borrow_mut().plan(&request, &client, now)?;
        let (decision, rewrite) = match plan {
            Plan::Passthrough => {
                body.restore();
                return Ok(Action::Continue);
            }
            Plan::Route(decision) => {
                // Without a call to the sidecar, only the cache knows what it says.
                if decision.classification.is_some() {
                    self.shared.stats.cache_hit();
                }
                (decision, request.into_rewrite())
            }
            Plan::Classify(pending) => {
                let rewrite = request.into_rewrite();
                if self.shared.config.cache.is_some() {
                    self.shared.stats.cache_miss();
                }
                let sent = ExamplesPayload::Digest;
                match self.classify(&pending, &head, sent, self.shared.config.sidecar.timeout) {
                    Ok(call) => {
                        head.body.make_room();
                        let body = body.if_small();
                        let since = now;
                        self.phase =
                            Phase::Waiting(Waiting { head, call, sent, since, pending, rewrite, body });
                        return Ok(Action::Pause);
                    }
                    Err(status) => {
                        let problem = format_args!("the sidecar cannot be called: {status:?}");
                        self.shared.warnings.warn(now, problem);
                        let decision = self.shared.router.borrow_mut().decide(&pending, Answer::None, now)?;
                        (decision, rewrite)
                    }
                }
            }
        };
        self.route(decision, &head, &rewrite, body.bytes(), now);
        Ok(Action::Continue)
    }
}
