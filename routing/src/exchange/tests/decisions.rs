//! What a decision changes, and how the classifier takes part in it.

use super::*;

fn pairs(headers: &[(&str, &str)]) -> Vec<(String, String)> {
    headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn a_decision_sets_the_cluster_and_the_body_with_its_length() {
    let mut run = Run::new(enforce());
    run.headers(&[("content-length", "67")]);
    let length = REWRITTEN.len().to_string();
    let forward = forward(run.body(NAMED));
    assert_eq!(forward.headers, pairs(&[("x-target", "big-cluster"), ("content-length", &length)]));
    assert_eq!(forward.body.apply(NAMED.as_bytes()), REWRITTEN.as_bytes());
    assert_eq!(forward.failover, None);
    assert_eq!(run.log.0, ["routed big manual"]);
    let OnResponse::Explain(explanation) = run.response_headers("application/json") else { panic!() };
    let explained: Vec<_> = explanation.headers().collect();
    assert_eq!(explained, [("x-llm-router-model", "big".into()), ("x-llm-router-reason", "manual".into())]);
}

#[test]
fn a_request_that_is_not_routed_goes_on_without_routing_metadata() {
    let pass = |mode: &str| {
        config(|it| {
            it["on_unknown_model"] = json!("passthrough");
            it["mode"] = json!(mode);
        })
    };
    let bodies = [
        (
            PATH,
            r#"{"nim-llm-router": {}, "model": "gpt-5", "messages": [{"role": "user", "content": "Hi"}]}"#,
        ),
        (
            PATH,
            r#"{"model": "gpt-5", "messages": [{"role": "user", "content": "Hi"}], "nim\u002dllm-router": {}}"#,
        ),
        ("/v1/embeddings", r#"{"model": "e", "nim-llm-router": {}, "input": "Hi", "nim-llm-router": {}}"#),
    ];
    for (path, body) in bodies {
        for content_length in [None, Some("100")] {
            let headers = [(":method", "POST"), (":path", path)];
            let headers: Vec<_> =
                headers.into_iter().chain(content_length.map(|it| ("content-length", it))).collect();
            let run = |config: Config| {
                let mut run = Run::new(config);
                run.exchange.request_headers(
                    headers.iter().copied().collect(),
                    RequestContext::default(),
                    true,
                    &mut run.log,
                );
                let action = run.body(body);
                assert!(run.log.0.is_empty() && !run.exchange.is_held(), "{:?}", run.log);
                action
            };
            assert_eq!(run(pass("shadow")), OnBody::Continue);
            let forward = forward(run(pass("enforce")));
            let length = forward.body.len().to_string();
            let expected = content_length.map(|_| ("content-length", length.as_str()));
            assert_eq!(forward.headers, pairs(&Vec::from_iter(expected)));
            let mut expected: Value = serde_json::from_str(body).unwrap();
            expected.as_object_mut().unwrap().remove("nim-llm-router");
            assert_eq!(
                serde_json::from_slice::<Value>(&forward.body.apply(body.as_bytes())).unwrap(),
                expected,
                "{body}"
            );
            assert_eq!(forward.failover, None);
        }
    }
    let mut without = Run::held(pass("enforce"));
    assert_eq!(without.body(&NAMED.replace("big", "gpt-5")), OnBody::Continue);
}

#[test]
fn a_body_of_unknown_length_gets_none() {
    assert_eq!(forward(Run::held(enforce()).body(NAMED)).headers, pairs(&[("x-target", "big-cluster")]));
}

#[test]
fn a_model_elsewhere_gets_its_path_and_host() {
    let elsewhere = config(|it| {
        it["models"]["big"]["base_path"] = json!("/openai/v1");
        it["models"]["big"]["host"] = json!("api.example.com");
    });
    let expected = [
        ("x-target", "big-cluster"),
        (":path", "/openai/v1/chat/completions?x=1"),
        (":authority", "api.example.com"),
    ];
    assert_eq!(forward(Run::held(elsewhere).body(NAMED)).headers, pairs(&expected));
}

#[test]
fn a_path_in_another_spelling_is_routed_and_goes_on_in_the_usual_one() {
    for path in
        ["/v1/%63hat/completions?x=1", "//v1/./chat/y/../completions/?x=1", "/V1/Chat/Completions;a=b?x=1"]
    {
        let mut run = Run::new(enforce());
        assert_eq!(run.headers_of("POST", path).1, OnHeaders::Hold, "{path}");
        let expected = [("x-target", "big-cluster"), (":path", "/v1/chat/completions?x=1")];
        assert_eq!(forward(run.body(NAMED)).headers, pairs(&expected), "{path}");
    }
}

#[test]
fn a_path_that_could_be_another_spelling_is_rejected() {
    let path = "/v1/chat/completions/a%2Fb/..";
    let OnHeaders::Respond(response) = Run::new(enforce()).headers_of("POST", path).1 else { panic!() };
    assert_eq!(response.status, 400);
    assert_eq!(Run::new(enforce()).headers_of("GET", path).1, OnHeaders::Continue);
    assert_eq!(Run::new(shadow()).headers_of("POST", path).1, OnHeaders::Continue);
}

#[test]
fn in_shadow_mode_a_decision_changes_nothing_and_is_recorded() {
    let mut run = Run::held(shadow());
    assert_eq!(run.body(NAMED), OnBody::Continue);
    assert_eq!(run.log.0, ["routed big shadow"]);
    let OnResponse::Explain(explanation) = run.response_headers("text/event-stream") else { panic!() };
    assert!(
        explanation.headers().any(|it| it == ("x-llm-router-reason", "shadow".into())),
        "{explanation:?}"
    );
    run.chunk(b"data: {\"choices\": [{\"delta\": {\"content\": \"a\"}}]}\n\n", 5);
    assert_eq!(run.log.count("first token"), 0, "another model's speed");
}

#[test]
fn a_rejection_is_a_response_unless_in_shadow_mode() {
    assert_eq!(status(Run::held(enforce()).body("not JSON")), 400);
    let mut run = Run::held(shadow());
    assert_eq!(run.body("not JSON"), OnBody::Continue);
    assert_eq!(run.log.0, ["rejected invalid_request"]);
}

#[test]
fn the_classifier_decides_and_its_call_is_recorded() {
    let mut run = Run::classifying(enforce());
    let query = run.exchange.query().unwrap();
    assert_eq!((query.classifiers[0].as_str(), query.timeout), ("task", Duration::from_millis(200)));
    assert_eq!(query.prompt.text(), "Hi");
    assert_eq!(forward(run.classified(chatbot(), 30)).body.apply(AUTO.as_bytes()), REWRITTEN.as_bytes());
    assert_eq!(run.log.0, ["cache miss", "classified task true 30ms", "routed big classified"]);
    assert!(run.exchange.query().is_none());
}

#[test]
fn without_a_prediction_the_configuration_decides() {
    let mut run = Run::classifying(enforce());
    let headers = forward(run.classified(CallResult::Unavailable, 200)).headers;
    assert_eq!(headers, pairs(&[("x-target", "small-cluster")]));
    assert_eq!(run.log.0[1..], ["classified task false 200ms", "routed small classifier_unavailable"]);
    let mut run = Run::classifying(config(|it| it["sidecar"]["on_failure"] = json!("reject")));
    assert_eq!(status(run.classified(CallResult::Unavailable, 200)), 503);
}

#[test]
fn the_second_request_of_a_prompt_needs_no_call() {
    let router = Arc::new(CachingRouter::new(enforce()));
    let mut first = Run { exchange: Exchange::new(Arc::clone(&router)), log: Log::default() };
    first.headers(&[]);
    first.body(AUTO);
    first.classified(chatbot(), 1);
    let mut second = Run { exchange: Exchange::new(router), log: Log::default() };
    second.headers(&[]);
    forward(second.body(AUTO));
    assert_eq!(second.log.0, ["cache hit", "routed big cached"]);
}

fn by_examples() -> Config {
    config(|it| {
        it["policies"]["p"] = json!({
            "classifier": "examples", "default": "small",
            "routes": {"Chatbot": {"model": "big", "examples": ["hello"]}},
        });
    })
}

#[test]
fn examples_are_sent_once_when_they_are_asked_for_in_what_is_left_of_the_time() {
    let mut run = Run::classifying(by_examples());
    assert_eq!(run.exchange.query().unwrap().payload, ExamplesPayload::Digest);
    assert_eq!(run.classified(CallResult::UnknownExamples, 50), OnBody::Classify);
    let query = run.exchange.query().unwrap();
    assert_eq!((query.payload, query.timeout), (ExamplesPayload::Full, Duration::from_millis(150)));
    forward(run.classified(CallResult::UnknownExamples, 60));
    assert_eq!(run.log.0[1..], ["classified examples false 60ms", "routed small classifier_unavailable"]);

    let mut late = Run::classifying(by_examples());
    forward(late.classified(CallResult::UnknownExamples, 200));
    let mut no_examples = Run::classifying(enforce());
    forward(no_examples.classified(CallResult::UnknownExamples, 1));
}
