//! What happens before a decision: headers, guards on routes, the list of models, and rejections.

use super::*;

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
