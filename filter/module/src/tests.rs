//! Requests through the filter, with a fake Envoy.
#![allow(unsafe_code)]

use std::ptr;

use llm_router_proto::contract::{CONTRACT_VERSION, ClassifyResponse, HeadPrediction};
use llm_router_proto::envoy::service::ext_proc::v3::ProcessingResponse;
use proptest::prelude::*;
use prost::Message;
use serde_json::{Value, json};

use crate::abi::{BodyStatus, HeadersStatus};
use crate::configuration::FilterConfig;
use crate::fake_envoy::FakeEnvoy;
use crate::{grpc, guard};

const CHAT: [(&str, &str); 4] = [
    (":method", "POST"),
    (":path", "/v1/chat/completions"),
    (":authority", "gateway"),
    ("content-type", "application/json"),
];
const NAMED: &str = r#"{"model":"large","messages":[{"role":"user","content":"hi"}]}"#;
const AUTO: &str = r#"{"model":"auto","messages":[{"role":"user","content":"write code"}]}"#;
const CODE: &str = r#"{"model":"up/large","messages":[{"role":"user","content":"write code"}]}"#;
const FALLBACK: &str = r#"{"model":"up/small","messages":[{"role":"user","content":"write code"}]}"#;

fn config(change: impl FnOnce(&mut Value)) -> FilterConfig {
    let mut policy = json!({
        "sidecar": {"cluster": "sidecar"}, "default_policy": "p", "limits": {"max_body": "1MiB"},
        "models": {"small": {"cluster": "s", "model": "up/small"}, "large": {"cluster": "l", "model": "up/large"}},
        "policies": {"p": {"classifier": "task", "routes": {"Code": "large"}, "default": "small"}},
    });
    change(&mut policy);
    // SAFETY: the tests' Envoy does not look at the pointer.
    unsafe { FilterConfig::new(ptr::null_mut(), "llm_router", policy.to_string().as_bytes()) }.unwrap()
}

/// The sidecar's response with this label.
fn labelled(label: &str) -> Vec<u8> {
    let prediction = HeadPrediction::Label { label: label.to_owned(), confidence: 0.9, scores: Vec::new() };
    let predictions = vec![("task".to_owned(), prediction)];
    let metadata =
        ClassifyResponse { version: CONTRACT_VERSION, predictions, coverage: None }.into_metadata();
    let response = ProcessingResponse { dynamic_metadata: Some(metadata), ..ProcessingResponse::default() };
    grpc::frame(&response.encode_to_vec())
}

fn forwarded(envoy: &FakeEnvoy) -> String {
    String::from_utf8(envoy.forwarded.borrow().clone()).unwrap()
}

#[test]
fn a_named_model_gets_the_request_with_its_own_name() {
    let config = config(|_| {});
    let envoy = FakeEnvoy::new(
        &config,
        &[&CHAT[..], &[("x-llm-cluster", "mine"), ("content-length", "63")]].concat(),
    );
    assert_eq!(envoy.headers(false), HeadersStatus::StopIteration);
    assert_eq!(envoy.body(NAMED.as_bytes(), true), Some(BodyStatus::Continue));
    let expected = NAMED.replace("large", "up/large");
    assert_eq!(forwarded(&envoy), expected);
    assert_eq!(envoy.request_header("x-llm-cluster").as_deref(), Some("l"));
    assert_eq!(envoy.request_header("content-length"), Some(expected.len().to_string()));
    envoy.respond(&[b"{}"]);
    let headers = envoy.response_headers.borrow();
    assert!(headers.contains(&("x-llm-router-model".to_owned(), b"large".to_vec())), "{headers:?}");
}

#[test]
fn a_request_that_is_not_for_an_llm_passes_untouched() {
    let config = config(|_| {});
    let envoy = FakeEnvoy::new(&config, &[(":method", "POST"), (":path", "/upload"), (":authority", "g")]);
    assert_eq!(envoy.headers(false), HeadersStatus::Continue);
    assert_eq!(envoy.body(b"anything", false), Some(BodyStatus::Continue));
    assert_eq!(envoy.body(b" at all", true), Some(BodyStatus::Continue));
    assert_eq!(forwarded(&envoy), "anything at all");
}

#[test]
fn the_sidecars_prediction_decides() {
    let config = config(|_| {});
    let envoy = FakeEnvoy::new(&config, &CHAT);
    envoy.headers(false);
    assert_eq!(envoy.body(AUTO.as_bytes(), true), Some(BodyStatus::StopIterationNoBuffer));
    assert_eq!(envoy.streams.borrow()[0].0, "sidecar");
    assert!(!envoy.has_continued.get());
    envoy.answer_call(7, "0", &labelled("Other"));
    assert!(!envoy.has_continued.get(), "a stream that is not ours");
    envoy.answer_call(1, "0", &labelled("Code"));
    assert!(envoy.has_continued.get());
    assert_eq!(forwarded(&envoy), CODE);
    envoy.answer_call(1, "0", &labelled("Other"));
    assert_eq!(forwarded(&envoy), CODE, "it ended already");
}

#[test]
fn the_default_decides_if_the_sidecar_fails() {
    let fails: [fn(&FakeEnvoy); 5] = [
        |envoy| envoy.answer_call(1, "14", b""),
        |envoy| envoy.answer_call(1, "0", b"garbage"),
        |envoy| envoy.filter().unwrap().call_ended(1, true),
        |envoy| envoy.ends_stream_at_once.set(true),
        |envoy| envoy.stream_error.set(2),
    ];
    for (index, fail) in fails.into_iter().enumerate() {
        let config = config(|_| {});
        let envoy = FakeEnvoy::new(&config, &CHAT);
        if index >= 3 {
            fail(&envoy);
        }
        envoy.headers(false);
        envoy.body(AUTO.as_bytes(), true);
        if index < 3 {
            fail(&envoy);
        }
        assert_eq!(forwarded(&envoy), FALLBACK, "{index}");
    }
}

#[test]
fn a_status_after_the_message_counts() {
    let config = config(|policy| policy["sidecar"]["on_failure"] = json!("reject"));
    let envoy = FakeEnvoy::new(&config, &CHAT);
    envoy.headers(false);
    envoy.body(AUTO.as_bytes(), true);
    envoy.answer_call(1, "13", &labelled("Code"));
    assert_eq!(envoy.response.borrow().as_ref().unwrap().0, 503);
    assert!(!envoy.has_continued.get());
}

#[test]
fn a_body_with_trailers_is_decided_when_they_arrive() {
    let config = config(|_| {});
    let envoy = FakeEnvoy::new(&config, &CHAT);
    envoy.headers(false);
    envoy.body(NAMED.as_bytes(), false);
    assert_eq!(envoy.trailers(), Some(HeadersStatus::Continue));
    assert_eq!(forwarded(&envoy), NAMED.replace("large", "up/large"));
}

#[test]
fn a_body_over_the_limit_is_rejected_before_it_ends_and_no_longer_held() {
    let config = config(|policy| policy["limits"]["max_body"] = json!("1KiB"));
    let envoy = FakeEnvoy::new(&config, &CHAT);
    envoy.headers(false);
    for _ in 0..5 {
        assert_eq!(envoy.body(&[b' '; 600], false), Some(BodyStatus::StopIterationNoBuffer));
    }
    let (status, body) = envoy.response.borrow().clone().unwrap();
    assert_eq!(status, 413);
    assert!(String::from_utf8(body).unwrap().contains("request_too_large"));
    assert_eq!(forwarded(&envoy), "");
}

#[test]
fn an_envoy_that_gives_up_within_a_callback_harms_nothing() {
    for model in [NAMED, AUTO] {
        let config = config(|_| {});
        let envoy = FakeEnvoy::new(&config, &CHAT);
        envoy.headers(false);
        envoy.gives_up_on_append.set(true);
        envoy.body(model.as_bytes(), true);
        envoy.answer_call(1, "0", &labelled("Code"));
        assert!(envoy.filter().is_none());
        assert_eq!(forwarded(&envoy), "");
    }
}

#[test]
fn a_response_by_envoy_itself_cancels_the_call() {
    let config = config(|_| {});
    let envoy = FakeEnvoy::new(&config, &CHAT);
    envoy.headers(false);
    envoy.body(AUTO.as_bytes(), true);
    envoy.respond(&[b"timeout"]);
    assert_eq!(*envoy.resets.borrow(), [1]);
    assert!(!envoy.has_continued.get());
}

#[test]
fn a_large_body_may_be_forwarded_whatever_envoys_limit_is() {
    let config = config(|_| {});
    let envoy = FakeEnvoy::new(&config, &CHAT);
    envoy.buffer_limit.set(1000);
    envoy.headers(false);
    let body = NAMED.replace("hi", &"x".repeat(100_000));
    envoy.body(body.as_bytes(), true);
    assert_eq!(forwarded(&envoy), body.replace("large", "up/large"));
    assert!(envoy.buffer_limit.get() >= 100_000);
}

#[test]
fn in_shadow_mode_the_body_is_forwarded_unchanged() {
    let config = config(|policy| policy["mode"] = json!("shadow"));
    for body in [NAMED, AUTO, "not JSON"] {
        let envoy = FakeEnvoy::new(&config, &CHAT);
        envoy.headers(false);
        envoy.body(body.as_bytes(), true);
        envoy.answer_call(1, "0", &labelled("Code"));
        assert_eq!((forwarded(&envoy).as_str(), envoy.has_continued.get()), (body, true));
    }
}

#[test]
fn a_bad_configuration_is_rejected_with_its_path_and_an_unknown_name_with_the_known_ones() {
    // SAFETY: the tests' Envoy does not look at the pointer.
    let error =
        |name, json: &str| unsafe { FilterConfig::new(ptr::null_mut(), name, json.as_bytes()) }.unwrap_err();
    let problem = error(
        "llm_router",
        r#"{"sidecar": {"cluster": "c"}, "default_policy": "p", "models": {}, "policies": {}}"#,
    );
    assert!(problem.contains("default_policy"), "{problem}");
    assert!(error("router", "{}").contains("llm_router"));
    assert!(error("llm_router", "").contains("filter_config"));
}

/// A request that panics in these hooks, with the sidecar's response and an LLM's.
fn panicking(places: &str, on_failure: &str, body: &str) -> Box<FakeEnvoy> {
    let config = config(|policy| policy["sidecar"]["on_failure"] = json!(on_failure));
    let envoy = FakeEnvoy::new(&config, &[&CHAT[..], &[("x-panic", places)]].concat());
    if envoy.headers(false) == HeadersStatus::StopIteration && envoy.response.borrow().is_none() {
        envoy.body(body.as_bytes(), true);
        envoy.answer_call(1, "0", &labelled("Code"));
    }
    envoy
}

#[test]
fn after_a_panic_the_policys_on_failure_applies() {
    for (places, body, expected) in [
        // The call was made, and its result could not be used.
        ("call_ended", AUTO, FALLBACK),
        ("call_data", AUTO, FALLBACK),
        ("call_headers", AUTO, FALLBACK),
        ("deciding", AUTO, FALLBACK),
        ("classified", AUTO, FALLBACK),
    ] {
        let envoy = panicking(places, "default", body);
        assert_eq!(forwarded(&envoy), expected, "{places}");
        assert!(guard::take_panics() > 0);
        let envoy = panicking(places, "reject", body);
        assert_eq!(envoy.response.borrow().as_ref().unwrap().0, 503, "{places}");
        assert!(!envoy.has_continued.get());
    }
    guard::take_panics();
}

#[test]
fn a_panic_that_cannot_be_recovered_from_is_a_500() {
    for (places, body) in [("request_headers", NAMED), ("request_body", NAMED), ("call_ended,recovery", AUTO)]
    {
        for on_failure in ["default", "reject"] {
            let envoy = panicking(places, on_failure, body);
            let (status, body) = envoy.response.borrow().clone().unwrap();
            assert_eq!(status, 500, "{places}");
            assert!(String::from_utf8(body).unwrap().contains("internal_error"));
            assert_eq!((forwarded(&envoy).as_str(), envoy.has_continued.get()), ("", false));
        }
    }
    guard::take_panics();
}

#[test]
fn a_panic_about_the_response_leaves_the_response_alone() {
    for places in ["response_headers", "response_body", "response_trailers", "finish"] {
        let envoy = panicking(places, "default", NAMED);
        envoy.respond(&[b"a", b"b"]);
        envoy.destroy();
        assert_eq!(forwarded(&envoy), NAMED.replace("large", "up/large"), "{places}");
        assert!(envoy.response.borrow().is_none());
    }
    guard::take_panics();
}

/// What may happen to a request, in any order.
#[derive(Clone, Debug)]
enum Event {
    Chunk(Vec<u8>, bool),
    Trailers,
    Respond(Vec<u8>),
    Answer(u64, bool),
    Reset(u64),
    Destroy,
}

fn event() -> impl Strategy<Value = Event> {
    let text = prop_oneof![Just(AUTO.as_bytes().to_vec()), Just(NAMED.as_bytes().to_vec()), any::<Vec<u8>>()];
    prop_oneof![
        (text, any::<bool>()).prop_map(|(chunk, end)| Event::Chunk(chunk, end)),
        Just(Event::Trailers),
        any::<Vec<u8>>().prop_map(Event::Respond),
        (1_u64..3, any::<bool>()).prop_map(|(stream, good)| Event::Answer(stream, good)),
        (1_u64..3).prop_map(Event::Reset),
        Just(Event::Destroy),
    ]
}

proptest! {
    #[test]
    fn whatever_happens_in_whatever_order_the_filter_survives(
        events in proptest::collection::vec(event(), 0..12),
        at_once: bool,
        gives_up: bool,
        shadow: bool,
    ) {
        let config = config(|policy| if shadow { policy["mode"] = json!("shadow") });
        let envoy = FakeEnvoy::new(&config, &CHAT);
        envoy.ends_stream_at_once.set(at_once);
        envoy.gives_up_on_append.set(gives_up);
        envoy.headers(false);
        let mut has_ended = false;
        for event in events {
            match event {
                Event::Chunk(chunk, end) if !has_ended => {
                    has_ended = end;
                    envoy.body(&chunk, end);
                }
                Event::Trailers if !has_ended => {
                    has_ended = true;
                    envoy.trailers();
                }
                Event::Chunk(..) | Event::Trailers => {}
                Event::Respond(chunk) => envoy.respond(&[&chunk]),
                Event::Answer(stream, good) => envoy.answer_call(stream, if good { "0" } else { "2" }, &labelled("Code")),
                Event::Reset(stream) => {
                    if let Some(filter) = envoy.filter() {
                        filter.call_ended(stream, true);
                    }
                }
                Event::Destroy => envoy.destroy(),
            }
        }
        prop_assert_eq!(guard::take_panics(), 0);
    }

    #[test]
    fn the_body_is_the_same_in_whatever_chunks_it_comes(cuts in proptest::collection::vec(0_usize..70, 0..6), auto: bool) {
        let config = config(|_| {});
        let envoy = FakeEnvoy::new(&config, &CHAT);
        envoy.headers(false);
        let body = if auto { AUTO } else { NAMED };
        let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(body.len())).collect();
        cuts.sort_unstable();
        let mut start = 0;
        for cut in cuts {
            envoy.body(&body.as_bytes()[start..cut], false);
            start = cut;
        }
        envoy.body(&body.as_bytes()[start..], true);
        envoy.answer_call(1, "0", &labelled("Code"));
        let expected = if auto { CODE.to_owned() } else { NAMED.replace("large", "up/large") };
        prop_assert_eq!(forwarded(&envoy), expected);
    }
}

#[test]
fn rules_see_what_envoy_knows_of_the_request() {
    let when = |when: Value| {
        config(|policy| {
            policy["rules"] = json!([{"when": when, "model": "small", "always": true}]);
        })
    };
    let attributes = [
        (24, json!("10.0.0.7:40000")),
        (25, json!(40000)),
        (26, json!("10.0.0.1:443")),
        (27, json!(443)),
        (29, json!(true)),
        (30, json!("llm.example")),
        (31, json!("TLSv1.3")),
        (33, json!("CN=a")),
        (35, json!("a.example")),
        (37, json!("spiffe://corp/a")),
        (38, json!("abc")),
        (61, json!("llms")),
    ];
    let jwt = json!({"tenant": "acme", "level": 3, "admin": true, "groups": ["a", "b"], "ids": [1, 2], "payload": {"sub": "x"}});
    let state = json!({"payload": {"sub": "x", "groups": ["a", "b"]}, "tenant": "acme"}).to_string();
    let run = |condition: Value, knows: bool, state: &str| {
        let config = when(condition);
        let envoy = FakeEnvoy::new(&config, &CHAT);
        if knows {
            envoy.attributes.replace(attributes.iter().cloned().collect());
            envoy.metadata.replace(json!({"jwt": jwt}));
        }
        if !state.is_empty() {
            envoy.filter_state.borrow_mut().insert("llm_router.metadata.jwt".to_owned(), state.into());
        }
        envoy.headers(false);
        envoy.body(NAMED.as_bytes(), true);
        envoy.request_header("x-llm-cluster").as_deref() == Some("s")
    };
    for condition in [
        json!({"attribute": {"source.address": "10.0.0.0/24", "source.port": 40000}}),
        json!({"attribute": {"destination.address": "10.0.0.1", "destination.port": 443}}),
        json!({"attribute": {"connection.mtls": true, "connection.requested_server_name": "llm.example"}}),
        json!({"attribute": {"connection.tls_version": "TLSv1.3", "connection.subject_peer_certificate": "CN=a"}}),
        json!({"attribute": {"connection.dns_san_peer_certificate": "a.example"}}),
        json!({"attribute": {"connection.uri_san_peer_certificate": {"prefix": "spiffe://corp/"}}}),
        json!({"attribute": {"connection.sha256_peer_certificate_digest": "abc", "xds.route_name": "llms"}}),
        json!({"metadata": {"jwt": {"tenant": "acme", "level": 3, "admin": true}}}),
        json!({"metadata": {"jwt": {"groups": "b", "ids": 2}}}),
    ] {
        assert!(run(condition.clone(), true, ""), "{condition}");
        assert!(!run(condition.clone(), false, ""), "{condition}");
    }
    assert!(run(json!({"attribute": {"connection.mtls": false}}), false, ""), "no TLS");
    let nested = json!({"metadata": {"jwt": {"payload": {"sub": "x", "groups": "b"}, "tenant": "acme"}}});
    assert!(run(nested.clone(), false, &state));
    assert!(!run(nested.clone(), true, ""), "Envoy shows modules no members of members");
    for broken in ["-", "{", "null", "[]", &state.replace("acme", "other")] {
        assert!(!run(nested.clone(), true, broken), "{broken}");
    }
}

#[test]
fn a_recovered_request_is_decided_by_what_envoy_knew_at_its_arrival() {
    let config = config(|policy| {
        policy["rules"] =
            json!([{"when": {"attribute": {"xds.route_name": "llms"}}, "model": "small", "always": true}]);
    });
    let envoy = FakeEnvoy::new(&config, &[&CHAT[..], &[("x-panic", "deciding")]].concat());
    envoy.attributes.borrow_mut().insert(61, json!("llms"));
    envoy.headers(false);
    envoy.attributes.take();
    envoy.body(NAMED.as_bytes(), true);
    assert!(guard::take_panics() > 0);
    assert_eq!(envoy.request_header("x-llm-cluster").as_deref(), Some("s"));
}

#[test]
fn a_panic_does_not_bring_back_a_route_that_the_client_may_have_chosen() {
    let config = config(|policy| {
        policy["mode"] = json!("shadow");
        policy["filter_state"] = json!(true);
        let restricted = json!({"attribute": {"xds.route_name": "restricted"}});
        policy["rules"] = json!([{"when": restricted, "reject": {"message": "no"}}]);
    });
    let is_rejected = |panics: &str, own: &str| {
        let envoy = FakeEnvoy::new(&config, &[&CHAT[..], &[("x-panic", panics), (own, "1")]].concat());
        envoy.attributes.borrow_mut().insert(61, json!("restricted"));
        envoy.headers(false);
        envoy.body(NAMED.as_bytes(), true);
        assert_eq!(forwarded(&envoy), NAMED);
        guard::take_panics();
        envoy.filter_state.borrow().contains_key("llm_router.rejected")
    };
    for panics in ["", "deciding"] {
        assert!(is_rejected(panics, "x-other"), "{panics:?}");
        assert!(!is_rejected(panics, "x-llm-z"), "{panics:?}");
    }
}
