//! The lines for Envoy's debug log.

use llm_router_routing::exchange::Event;
use llm_router_routing::router::Step;

/// The line about an event, if it has one.
#[must_use]
pub fn line(event: &Event<'_>) -> Option<String> {
    match event {
        Event::Routed(decision) => Some(format!("routed to {}: {}", decision.model.name, decision.reason)),
        Event::Rejected(rejection) => Some(format!("rejected: {}", rejection.code())),
        Event::Step(Step::NoFailover { model, max_bytes }) => {
            Some(format!("no failover from {}: its edits change more than {max_bytes} bytes", model.name))
        }
        _ => None,
    }
}
