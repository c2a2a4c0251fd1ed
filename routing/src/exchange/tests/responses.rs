//! What is recorded of responses, and what each attempt after a failure gets.

use std::sync::Mutex;

use super::*;
use crate::cache::SharedResponses;
use crate::digest::Digest;
use crate::failover::Failover;

#[test]
fn usage_and_the_first_token_are_recorded_as_the_response_passes() {
    let mut run = Run::forwarded(enforce());
    run.response_headers("application/json");
    assert!(run.exchange.reads_response());
    let (start, end) = RESPONSE.split_at(20);
    run.chunk(start, 10);
    run.chunk(end, 20);
    run.exchange.response_end(&mut run.log);
    run.exchange.finish(&mut run.log);
    assert_eq!(run.log.0[1..], ["used big 12 3"], "once, and without a first token");

    let mut streamed = Run::forwarded(enforce());
    streamed.response_headers("text/event-stream; charset=utf-8");
    streamed.chunk(b": ping\n\n", 10);
    for at in [30, 40] {
        streamed.chunk(b"data: {\"choices\": [{\"delta\": {\"content\": \"a\"}}]}\n\n", at);
    }
    assert_eq!(streamed.log.0[1..], ["first token big 30ms"]);
}

#[test]
fn encoded_responses_are_not_read() {
    for (is_encoded, chunk) in [(true, RESPONSE), (false, b"\x1f\x8b\x08")] {
        let mut run = Run::forwarded(enforce());
        let head = ResponseHead { content_type: Some("application/json"), is_encoded };
        run.exchange.response_headers(head, || panic!("nobody asked"), &mut run.log);
        run.chunk(chunk, 1);
        assert!(!run.exchange.reads_response());
        run.exchange.finish(&mut run.log);
        assert_eq!(run.log.count("used"), 0);
    }
}

#[test]
fn the_model_of_the_attempt_that_responded_is_recorded() {
    let failover = || {
        config(|it| {
            it["failover"] = json!(true);
            it["policies"]["p"]["fallback"] = json!(["small"]);
        })
    };
    let respond = |number, cluster: &str| {
        let mut run = Run::classifying(failover());
        let changes = forward(run.classified(chatbot(), 1));
        assert!(changes.failover.is_some());
        let attempt = Attempt { number, cluster: Some(cluster.to_owned()) };
        run.exchange.response_headers(ResponseHead::default(), || attempt, &mut run.log);
        run.log.0.pop().unwrap()
    };
    assert_eq!(respond(1, "big-cluster"), "routed big classified");
    assert_eq!(respond(2, "small-cluster"), "failed over big small");
    assert_eq!(respond(2, "big-cluster"), "routed big classified", "a retry of the same cluster");
}

#[test]
fn each_attempt_has_the_edits_of_its_own_model() {
    let config = config(|it| {
        it["failover"] = json!(true);
        it["policies"]["p"]["fallback"] = json!(["small", "plain"]);
        it["models"]["plain"] = json!({"cluster": "plain-cluster", "model": "vendor/plain"});
        it["models"]["big"]["body"] = json!({
            "set": {"reasoning_effort": "high", "kwargs.thinking": true}, "default": {"max_tokens": 9}, "remove": ["seed"],
        });
        it["models"]["small"]["body"] = json!({"set": {"reasoning_effort": "low"}, "remove": ["kwargs"]});
    });
    let mut run = Run::new(config);
    run.headers(&[("content-length", "100")]);
    let body = r#"{"model": "auto", "messages": [{"role": "user", "content": "Hi"}], "seed": 7, "kwargs": {"a": 1}}"#;
    assert_eq!(run.body(body), OnBody::Classify);
    let now = Duration::from_millis(1001);
    let first = forward(run.exchange.classified(chatbot(), || body, now, &mut run.log));
    assert!(first.headers.contains(&("content-length".to_owned(), first.body.len().to_string())));
    let first_body = first.body.apply(body.as_bytes());
    let failover = Failover::from_json(first.failover.unwrap().to_json().as_bytes()).unwrap();
    let attempt = |number| -> Value {
        let body = failover.body(failover.at_attempt(number).unwrap(), &first_body).unwrap();
        serde_json::from_slice(&body).unwrap()
    };
    let messages = json!([{"role": "user", "content": "Hi"}]);
    let expected = json!({
        "model": "vendor/big", "messages": messages, "reasoning_effort": "high", "max_tokens": 9,
        "kwargs": {"a": 1, "thinking": true},
    });
    assert_eq!(serde_json::from_slice::<Value>(&first_body).unwrap(), expected);
    let small = json!({"model": "vendor/small", "messages": messages, "reasoning_effort": "low", "seed": 7});
    assert_eq!(attempt(2), small);
    let plain = json!({"model": "vendor/plain", "messages": messages, "seed": 7, "kwargs": {"a": 1}});
    assert_eq!(attempt(3), plain);
}

#[test]
fn members_that_are_too_large_to_keep_rule_out_a_failover() {
    let config = config(|it| {
        it["failover"] = json!(true);
        it["limits"]["max_body"] = json!("8MiB");
        it["policies"]["p"]["fallback"] = json!(["small"]);
        it["models"]["big"]["body"] = json!({"remove": ["seed"]});
    });
    let run = |seed: &str| {
        let mut run = Run::held(config.clone());
        let body = format!(
            r#"{{"model": "auto", "messages": [{{"role": "user", "content": "Hi"}}], "seed": "{seed}"}}"#
        );
        assert_eq!(run.body(&body), OnBody::Classify);
        let now = Duration::from_millis(1001);
        let forward = forward(run.exchange.classified(chatbot(), || &body, now, &mut run.log));
        (forward.failover, run)
    };
    let (failover, small) = run("x");
    assert!(failover.is_some());
    assert_eq!(small.log.count("no failover"), 0);

    let (failover, mut large) = run(&r"\u0001".repeat(1 << 20));
    assert!(failover.is_none());
    assert_eq!(large.log.0[2..], ["no failover big", "routed big classified"]);
    // Envoy's retries cannot have gone to another model, so nobody asks which attempt responded.
    large.response_headers("application/json");
}

/// Whether the router records the model of a response.
#[derive(Debug, Default)]
struct Remembered(Arc<Mutex<Vec<(Digest, String)>>>);

impl SharedResponses for Remembered {
    fn get(&self, _: Digest) -> Option<String> {
        None
    }

    fn put(&self, response: Digest, model: &str) {
        self.0.lock().unwrap().push((response, model.to_owned()));
    }
}

/// Requests cannot refer to other responses by id.
#[test]
fn only_the_responses_of_the_responses_api_are_remembered() {
    let input = r#"{"model": "big", "input": "Hi"}"#;
    for (path, body, expected) in [(PATH, NAMED, None), ("/v1/responses", input, Some("big"))] {
        let remembered = Remembered::default();
        let all = Arc::clone(&remembered.0);
        let router = CachingRouter::with_shared_responses(enforce(), Some(Box::new(remembered)));
        let mut run = Run { exchange: Exchange::new(Arc::new(router)), log: Log::default() };
        assert_eq!(run.headers_of("POST", path).1, OnHeaders::Hold);
        forward(run.body(body));
        run.response_headers("application/json");
        run.chunk(br#"{"id": "resp_1", "usage": {}}"#, 0);
        let expected: Vec<_> =
            expected.map(|model| (Digest::of(&["resp_1"]), model.to_owned())).into_iter().collect();
        assert_eq!(*all.lock().unwrap(), expected, "{path}");
    }
}
