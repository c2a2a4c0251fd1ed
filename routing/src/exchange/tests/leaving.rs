//! Clients that leave, and Envoy that responds by itself, in each phase.

use super::*;

/// Requests in each phase, with whether a call to the classifier is under way.
fn phases() -> Vec<(&'static str, Run, bool)> {
    let mut responded = Run::held(enforce());
    responded.body("not JSON");
    let mut responding = Run::forwarded(enforce());
    responding.response_headers("application/json");
    responding.chunk(RESPONSE, 1);
    vec![
        ("before its headers", Run::new(enforce()), false),
        ("awaiting its body", Run::held(enforce()), false),
        ("classifying", Run::classifying(enforce()), true),
        ("forwarded", Run::forwarded(enforce()), false),
        ("responding", responding, false),
        ("responded", responded, false),
    ]
}

#[test]
fn a_client_that_leaves_cancels_the_call_and_nothing_happens_any_more() {
    for (phase, mut run, has_call) in phases() {
        assert_eq!(run.exchange.finish(&mut run.log), has_call, "{phase}");
        assert!(run.exchange.is_over(), "{phase}");
        let recorded = run.log.0.len();
        assert!(!run.exchange.finish(&mut run.log), "{phase}: a second time");
        assert_eq!(run.classified(chatbot(), 1), OnBody::Continue, "{phase}");
        assert_eq!(run.body(AUTO), OnBody::Continue, "{phase}");
        assert_eq!(run.response_headers("application/json"), OnResponse::Continue, "{phase}");
        run.chunk(RESPONSE, 2);
        run.exchange.response_end(&mut run.log);
        assert_eq!(run.log.0.len(), recorded, "{phase}: {:?}", run.log);
    }
}

#[test]
fn usage_counts_when_the_client_leaves_before_the_end() {
    let mut run = Run::forwarded(enforce());
    run.response_headers("application/json");
    run.chunk(RESPONSE, 1);
    run.exchange.finish(&mut run.log);
    assert_eq!(run.log.count("used big 12 3"), 1);
}

#[test]
fn envoys_own_response_to_a_held_request_ends_it() {
    let mut waiting = Run::held(enforce());
    assert_eq!(waiting.response_headers("text/plain"), OnResponse::Continue);
    assert_eq!(waiting.body(AUTO), OnBody::Continue);

    let mut classifying = Run::classifying(enforce());
    assert_eq!(classifying.response_headers("text/plain"), OnResponse::CancelCall);
    assert_eq!(classifying.classified(chatbot(), 1), OnBody::Continue);
    assert!(!classifying.exchange.finish(&mut classifying.log));
}
