//! Dry runs: show where a request would go. They send, cache and count nothing.

use llm_router_routing::context::RequestContext;
use llm_router_routing::decision::Decision;
use llm_router_routing::exchange::{Event, EventSink, LocalResponse, OnBody, OnHeaders};
use llm_router_routing::headers::Headers;

use super::{PolicyRouter, Service};

/// The outcome of a dry run.
#[derive(Debug)]
pub(crate) enum DryRun {
    /// The request would be forwarded unchanged.
    Untouched,
    /// The request would be routed to this decision's model.
    Routed(Decision),
    /// The router would respond to the client.
    Responded(LocalResponse),
}

/// Keeps the decision.
#[derive(Default)]
struct DecisionSink(Option<Decision>);

impl EventSink for DecisionSink {
    fn record(&mut self, event: Event<'_>) {
        if let Event::Routed(decision) = event {
            self.0 = Some(decision.clone());
        }
    }
}

impl Service {
    /// Routes a request with these headers and this body without sending it. Calls the classifier if the
    /// policy needs it.
    pub(crate) async fn dry_run(&self, router: &PolicyRouter, headers: Headers, body: &[u8]) -> DryRun {
        let (mut exchange, mut sink) = (router.dry_run(), DecisionSink::default());
        match exchange.request_headers(headers, RequestContext::default(), true, &mut sink).1 {
            OnHeaders::Continue => return DryRun::Untouched,
            OnHeaders::Respond(response) => return DryRun::Responded(response),
            OnHeaders::Hold => {}
        }
        let mut action = exchange.request_body(body, router.now(), &mut sink);
        while let OnBody::Classify = action {
            let called = self.call(exchange.query()).await;
            action = exchange.classified(called.result, || body, router.now(), &mut sink);
        }
        match (action, sink.0) {
            (OnBody::Respond(response), _) => DryRun::Responded(response),
            (_, Some(decision)) => DryRun::Routed(decision),
            (_, None) => DryRun::Untouched,
        }
    }
}
