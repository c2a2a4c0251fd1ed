//! The outcome of requests, phase by phase.

use std::sync::Mutex;

use super::*;
use crate::cache::SharedResponses;
use crate::digest::Digest;
use crate::failover::Failover;

fn pairs(headers: &[(&str, &str)]) -> Vec<(String, String)> {
    headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn the_routers_own_headers_are_removed_from_every_request() {
    let own = [("x-llm-task", "a"), ("x-target", "b"), ("x-llm-policy", "p"), ("x-request-id", "c")];
    for config in [enforce(), shadow()] {
        let (remove, then) = Run::new(config.clone()).headers(&own);
        assert_eq!((remove.len(), then), (3, OnHeaders::Hold));
        let mut other = Run::new(config);
        let headers: Headers = [(":method", "GET"), (":path", "/")].iter().chain(&own).copied().collect();
        let (remove, then) =
            other.exchange.request_headers(headers, RequestContext::default(), false, &mut other.log);
        assert_eq!(remove, ["x-llm-task", "x-target", "x-llm-policy"]);
        assert_eq!(then, OnHeaders::Continue);
    }
}

#[test]
fn the_model_header_has_the_name_that_the_llm_is_asked_for_and_never_the_clients() {
    let with_header = |mode: &str| {
        config(|it| {
            it["mode"] = json!(mode);
            it["model_header"] = json!("x-gateway-model-name");
            it["aliases"] = json!({"gpt-4o": "big"});
            it["on_unknown_model"] = json!("passthrough");
        })
    };
    let spoofed = ("x-gateway-model-name", "premium");
    for mode in ["enforce", "shadow"] {
        let mut run = Run::new(with_header(mode));
        assert_eq!(run.headers(&[spoofed]), (vec!["x-gateway-model-name".to_owned()], OnHeaders::Hold));
        let mut other = Run::new(with_header(mode));
        let headers = Headers::from([(":method", "GET"), (":path", "/"), spoofed]);
        let (remove, then) =
            other.exchange.request_headers(headers, RequestContext::default(), false, &mut other.log);
        assert_eq!((remove, then), (vec!["x-gateway-model-name".to_owned()], OnHeaders::Continue));
    }
    let model_header = |forward: &Forward| {
        let mut values = forward.headers.iter().filter(|(name, _)| name == "x-gateway-model-name");
        let value = values.next().map(|(_, value)| value.clone());
        assert_eq!(values.next(), None, "twice");
        value
    };
    for model in ["big", "gpt-4o"] {
        let forward = forward(Run::held(with_header("enforce")).body(&NAMED.replace("big", model)));
        assert_eq!(model_header(&forward).as_deref(), Some("vendor/big"));
        assert_eq!(forward.body.apply(NAMED.replace("big", model).as_bytes()), REWRITTEN.as_bytes());
    }
    let classified = forward(Run::classifying(with_header("enforce")).classified(chatbot(), 5));
    assert_eq!(model_header(&classified).as_deref(), Some("vendor/big"));
    let unavailable =
        forward(Run::classifying(with_header("enforce")).classified(CallResult::Unavailable, 5));
    assert_eq!(model_header(&unavailable).as_deref(), Some("vendor/small"));
    let mut embeddings = Run::new(with_header("enforce"));
    embeddings.headers_of("POST", "/v1/embeddings");
    let embeddings = forward(embeddings.body(r#"{"model": "small", "input": "Hi"}"#));
    assert_eq!(model_header(&embeddings).as_deref(), Some("vendor/small"));
    let body = r#"{"nim-llm-router": {}, "model": "gpt-5", "messages": []}"#;
    let passed = forward(Run::held(with_header("enforce")).body(body));
    assert_eq!(model_header(&passed), None, "not routed");
    assert_eq!(Run::held(with_header("shadow")).body(NAMED), OnBody::Continue);
}

/// A request that came by the route `restricted`, which the policy's guard rejects, with this header.
fn by_a_guarded_route(mode: &str, path: &str, header: (&str, &str)) -> (Run, OnHeaders) {
    let mut run = Run::new(config(|it| {
        it["mode"] = json!(mode);
        it["model_header"] = json!("x-model");
        let restricted = json!({"attribute": {"xds.route_name": "restricted"}});
        it["rules"] = json!([{"when": restricted, "reject": {"message": "no"}}]);
    }));
    let mut context = RequestContext::default();
    context.set_attribute(Attribute::RouteName, Scalar::Text("restricted".to_owned()));
    let headers = Headers::from([(":method", "POST"), (":path", path), header]);
    let then = run.exchange.request_headers(headers, context, true, &mut run.log).1;
    (run, then)
}

const MAY_CHOOSE_ROUTES: [(&str, &str); 4] =
    [("x-target", "big-cluster"), ("x-model", "vendor/big"), ("x-llm-task", "Chatbot"), ("x-llm-z", "1")];

#[test]
fn the_routers_headers_do_not_switch_off_a_guard_on_routes() {
    for header in [("x-request-id", "1"), ("x-llm-policy", "p")] {
        let (mut run, then) = by_a_guarded_route("enforce", PATH, header);
        assert_eq!(then, OnHeaders::Hold, "{header:?}");
        assert_eq!(status(run.body(NAMED)), 403, "{header:?}");
    }
    for header in MAY_CHOOSE_ROUTES {
        let OnHeaders::Respond(response) = by_a_guarded_route("enforce", PATH, header).1 else {
            panic!("{header:?} passes")
        };
        let body: Value = serde_json::from_slice(&response.body).unwrap();
        let error = &body["error"];
        assert_eq!((response.status, &error["code"]), (400, &json!("invalid_request")));
        assert_eq!(error["param"], header.0);
        assert!(error["message"].as_str().unwrap().contains(header.0), "{error}");
    }
}

#[test]
fn the_routers_headers_are_only_removed_where_no_guard_on_routes_decides() {
    for header in MAY_CHOOSE_ROUTES {
        assert_eq!(by_a_guarded_route("enforce", "/v1/files", header).1, OnHeaders::Continue, "no LLM's");
        assert_eq!(Run::new(enforce()).headers(&[header]).1, OnHeaders::Hold, "no rule on routes");
        let (mut run, then) = by_a_guarded_route("shadow", PATH, header);
        assert_eq!((then, run.body(NAMED)), (OnHeaders::Hold, OnBody::Continue));
        assert_eq!(run.log.0, ["routed big shadow"], "{header:?}");
    }
    let (mut run, _) = by_a_guarded_route("shadow", PATH, ("x-request-id", "1"));
    assert_eq!(run.body(NAMED), OnBody::Continue);
    assert_eq!(run.log.0, ["rejected rejected_by_policy"]);
}

#[test]
fn a_request_that_is_not_for_an_llm_is_not_held() {
    for (headers, has_body) in [
        (Headers::from([(":method", "POST"), (":path", PATH)]), false),
        (Headers::from([(":method", "GET"), (":path", PATH)]), true),
        (Headers::from([(":method", "POST"), (":path", "/v1/files")]), true),
        (Headers::default(), true),
    ] {
        let mut run = Run::new(enforce());
        assert_eq!(
            run.exchange.request_headers(headers, RequestContext::default(), has_body, &mut run.log).1,
            OnHeaders::Continue
        );
        assert!(!run.exchange.is_held());
        assert_eq!(run.body(NAMED), OnBody::Continue);
        assert_eq!(run.response_headers("application/json"), OnResponse::Continue);
        assert!(run.log.0.is_empty());
    }
}

#[test]
fn the_list_of_models_is_the_routers_unless_in_shadow_mode() {
    let list = |config| {
        let mut run = Run::new(config);
        let headers = Headers::from([(":method", "GET"), (":path", "/v1/models")]);
        run.exchange.request_headers(headers, RequestContext::default(), false, &mut run.log).1
    };
    let OnHeaders::Respond(response) = list(enforce()) else { panic!("no response") };
    let body: Value = serde_json::from_slice(&response.body).unwrap();
    assert_eq!((response.status, &body["data"][0]["id"]), (200, &json!("auto")));
    assert_eq!(list(shadow()), OnHeaders::Continue);
}

#[test]
fn a_model_of_the_list_is_found_by_its_name_in_the_shape_of_the_clients_api() {
    let ask = |config, method: &str, path: &str, more: &[(&str, &str)]| {
        let mut run = Run::new(config);
        let headers: Headers = [(":method", method), (":path", path)].iter().chain(more).copied().collect();
        match run.exchange.request_headers(headers, RequestContext::default(), false, &mut run.log).1 {
            OnHeaders::Respond(response) => {
                (response.status, serde_json::from_slice(&response.body).unwrap())
            }
            other => (0, json!(format!("{other:?}"))),
        }
    };
    let anthropic = [("anthropic-version", "2023-06-01")];
    for method in ["GET", "HEAD"] {
        for path in ["/v1/models/big", "/models/big", "/v1/models/%62ig?x"] {
            let (status, model): (u16, Value) = ask(enforce(), method, path, &[]);
            assert_eq!((status, &model["object"], &model["id"]), (200, &json!("model"), &json!("big")));
            let (status, model) = ask(enforce(), method, path, &anthropic);
            assert_eq!((status, &model["type"], &model["id"]), (200, &json!("model"), &json!("big")));
        }
        let (status, error) = ask(enforce(), method, "/v1/models/none", &[]);
        assert_eq!((status, &error["error"]["code"]), (404, &json!("model_not_found")));
        let (status, error) = ask(enforce(), method, "/v1/models/none", &anthropic);
        assert_eq!((status, &error["error"]["type"]), (404, &json!("not_found_error")));
        assert_eq!(ask(enforce(), method, "/v1/models", &anthropic).1["has_more"], false);
        assert_eq!(ask(shadow(), method, "/v1/models/none", &[]).0, 0);
    }
    assert_eq!(ask(enforce(), "DELETE", "/v1/models/big", &[]).0, 0);
}

#[test]
fn anthropics_clients_get_its_errors_whenever_a_request_is_rejected() {
    let is_anthropics = |response: &LocalResponse| {
        let body: Value = serde_json::from_slice(&response.body).unwrap();
        assert_eq!(body["type"], "error", "{body}");
    };
    for path in ["/v1/messages", "/v1/messages/count_tokens"] {
        let head = |more: (&str, &str)| {
            let mut run = Run::new(config(|it| it["sidecar"]["on_failure"] = json!("reject")));
            let headers = Headers::from([(":method", "POST"), (":path", path), more]);
            let then = run.exchange.request_headers(headers, RequestContext::default(), true, &mut run.log).1;
            (run, then)
        };
        for header in [("content-length", "1025"), ("content-encoding", "gzip")] {
            let OnHeaders::Respond(response) = head(header).1 else { panic!("no response") };
            is_anthropics(&response);
        }
        let none = ("x-none", "");
        let Some(OnBody::Respond(response)) = head(none).0.exchange.request_progress(1025, &mut ()) else {
            panic!()
        };
        is_anthropics(&response);
        let OnBody::Respond(response) = head(none).0.body("not JSON") else { panic!() };
        is_anthropics(&response);
    }
}

#[test]
fn counting_a_messages_tokens_is_decided_as_the_message_and_takes_none() {
    let anthropic = || config(|it| it["models"]["big"]["api"] = json!("anthropic"));
    let run = |path: &str| {
        let mut run = Run::new(anthropic());
        assert_eq!(run.headers_of("POST", path).1, OnHeaders::Hold);
        forward(run.body(NAMED));
        run.response_headers("application/json");
        run.chunk(RESPONSE, 1);
        run.exchange.finish(&mut run.log);
        (run.log.count("routed big manual"), run.log.1, run.log.count("used"))
    };
    assert_eq!(run("/v1/messages"), (1, 1, 1));
    assert_eq!(run("/v1/messages/count_tokens"), (1, 0, 0));
}

#[test]
fn a_body_that_cannot_be_read_is_rejected_before_it_comes_unless_in_shadow_mode() {
    for (header, status) in [
        (("content-length", "1025"), 413),
        (("content-encoding", "gzip"), 415),
        (("content-type", "application/json; charset=utf-7"), 415),
        (("content-type", "application/json; Charset=\"UTF-16\""), 415),
    ] {
        let mut run = Run::new(enforce());
        let OnHeaders::Respond(response) = run.headers(&[header]).1 else { panic!("no response") };
        assert_eq!(response.status, status);
        assert!(run.exchange.is_over());
        let mut run = Run::new(shadow());
        assert_eq!(run.headers(&[header]).1, OnHeaders::Continue);
        assert_eq!((run.log.count("rejected"), run.exchange.is_held()), (1, false));
    }
    for plain in ["Identity", "", "identity, identity"] {
        assert_eq!(
            Run::new(enforce()).headers(&[("content-encoding", plain)]).1,
            OnHeaders::Hold,
            "{plain:?}"
        );
    }
    for content_type in ["application/json", "application/json; charset=\"UTF-8\""] {
        let then = Run::new(enforce()).headers(&[("content-type", content_type)]).1;
        assert_eq!(then, OnHeaders::Hold, "{content_type}");
    }
}

/// Some servers, such as those on Werkzeug, ignore the case.
#[test]
fn a_method_in_another_case_is_the_same_method() {
    for method in ["post", "Post", "pOST"] {
        assert_eq!(Run::new(enforce()).headers_of(method, PATH).1, OnHeaders::Hold, "{method}");
    }
    for method in ["get", "Head"] {
        let then = Run::new(enforce()).headers_of(method, "/v1/models").1;
        assert!(matches!(then, OnHeaders::Respond(_)), "{method}: {then:?}");
    }
}

#[test]
fn a_body_of_unknown_length_is_rejected_once_it_is_too_large() {
    let mut run = Run::held(enforce());
    assert_eq!(run.exchange.request_progress(1024, &mut run.log), None);
    let action = run.exchange.request_progress(1025, &mut run.log).unwrap();
    assert_eq!(status(action), 413);
    assert_eq!(run.exchange.request_progress(2000, &mut run.log), None, "once");
    assert_eq!(run.log.0, ["rejected request_too_large"]);
    assert_eq!(status(Run::held(enforce()).body(&" ".repeat(1025))), 413);
}

#[test]
fn a_body_that_does_not_arrive_in_time_is_rejected() {
    let mut run = Run::held(enforce());
    let action = run.exchange.request_timeout(&mut run.log);
    assert_eq!(status(action), 408);
    assert_eq!(run.exchange.request_timeout(&mut run.log), OnBody::Continue, "once");
    assert_eq!(run.log.0, ["rejected request_timeout"]);
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
