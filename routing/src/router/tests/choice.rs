//! How clients can select a policy or a model.

use super::*;

#[test]
fn auto_an_empty_and_an_unknown_model_ask_the_default_policy() {
    let router = router(|_| {});
    for model in ["auto", "", "gpt-5"] {
        assert_eq!(policy_of(plan(&router, model, Value::Null, None)), "task_router");
    }
}

#[test]
fn the_metadata_beats_the_header_which_beats_the_model() {
    let router = router(|_| {});
    let metadata = json!({"policy": "topic_router", "routing_strategy": "triton"});
    assert_eq!(policy_of(plan(&router, "small", metadata, Some("task_router"))), "topic_router");
    assert_eq!(policy_of(plan(&router, "small", Value::Null, Some("topic_router"))), "topic_router");
    assert_eq!(policy_of(plan(&router, "topic_router", Value::Null, None)), "topic_router");
    let manual = json!({"routing_strategy": "manual", "model": "large"});
    assert_eq!(
        route_of(plan(&router, "auto", manual, Some("task_router"))),
        ("large".to_owned(), Reason::Manual)
    );
}

#[test]
fn a_configured_model_is_manual_and_an_alias_is_an_alias() {
    let router = router(|_| {});
    assert_eq!(route_of(plan(&router, "small", Value::Null, None)), ("small".to_owned(), Reason::Manual));
    assert_eq!(route_of(plan(&router, "gpt-4o", Value::Null, None)), ("large".to_owned(), Reason::Alias));
}

#[test]
fn manual_takes_the_blueprints_class_names_too() {
    let router = router(|_| {});
    let manual = |policy: Option<&str>, model: &str| {
        plan(&router, "", json!({"policy": policy, "routing_strategy": "manual", "model": model}), None)
    };
    assert_eq!(route_of(manual(None, "Code Generation")), ("large".to_owned(), Reason::Manual));
    assert_eq!(route_of(manual(Some("topic_router"), "Law")), ("large".to_owned(), Reason::Manual));
    assert_eq!(manual(Some("task_router"), "Law").unwrap_err().status(), 404);
}

#[test]
fn an_unknown_policy_is_a_404_even_beside_a_manual_model() {
    let router = router(|_| {});
    for (metadata, header) in [
        (json!({"policy": "nope", "routing_strategy": "triton"}), None),
        (json!({"policy": "nope", "routing_strategy": "manual", "model": "small"}), None),
        (Value::Null, Some("nope")),
    ] {
        let rejection = plan(&router, "auto", metadata, header).unwrap_err();
        assert_eq!((rejection.status(), rejection.code()), (404, "policy_not_found"));
    }
}

#[test]
fn an_unknown_model_does_as_configured() {
    let reject = router(|config| config["on_unknown_model"] = json!("reject"));
    let rejection = plan(&reject, "gpt-5", Value::Null, None).unwrap_err();
    assert_eq!((rejection.status(), rejection.code()), (404, "model_not_found"));
    let passthrough = router(|config| config["on_unknown_model"] = json!("passthrough"));
    assert!(passes(plan(&passthrough, "gpt-5", Value::Null, None)));
}

#[test]
fn a_threshold_in_the_models_name_or_the_metadata_replaces_the_bound() {
    let router = router(with_bands);
    assert_eq!(score(&router, "two", 0.6).0, "large");
    assert_eq!(score(&router, "two:0.7", 0.6).0, "small");
    let metadata = json!({"policy": "two", "routing_strategy": "triton", "threshold": 0.7});
    let answer = fresh(Classification::Score(Score::new(0.6, []).unwrap()));
    let decision = with_one(plan(&router, "", metadata, None).unwrap(), &answer).unwrap();
    assert_eq!(decision.model.name.as_str(), "small");
    let bar = pending(&router, "task_router:0.4");
    assert_eq!(with_one(bar, &label("Code Generation", 0.4)).unwrap().reason, Reason::Classified);
}

#[test]
fn a_threshold_that_has_no_bound_is_a_400() {
    let router = router(with_bands);
    for name in ["complexity:0.4", "two:1.4", "two:high"] {
        assert_eq!(plan(&router, name, Value::Null, None).unwrap_err().status(), 400, "{name}");
    }
}

#[test]
fn a_deployment_in_the_path_means_what_the_body_s_model_means_and_is_stronger() {
    let router = router(|_| {});
    let run = |deployment: &str, model: Value| {
        let mut body = json!({"messages": [{"role": "user", "content": "hi"}]});
        if !model.is_null() {
            body["model"] = model;
        }
        let path = format!("/openai/deployments/{deployment}/chat/completions?api-version=2024-10-21");
        plan_with(&router, &body, [(":path", path.as_str())])
    };
    for model in [Value::Null, json!("small")] {
        assert_eq!(route_of(run("large", model.clone())), ("large".to_owned(), Reason::Manual));
        assert_eq!(route_of(run("gpt-4%6F", model.clone())), ("large".to_owned(), Reason::Alias));
        assert_eq!(policy_of(run("topic_router", model.clone())), "topic_router");
        assert_eq!(policy_of(run("auto", model)), "task_router");
    }
}

#[test]
fn a_policy_whose_name_is_no_text_is_a_404() {
    let body = json!({"messages": [{"role": "user", "content": "hi"}]});
    let headers: Headers = Headers::from(vec![
        (":path".to_owned(), b"/v1/chat/completions".to_vec()),
        ("x-llm-policy".to_owned(), b"topic_router\xff".to_vec()),
    ]);
    let rejection = plan_with(&router(|_| {}), &body, headers).unwrap_err();
    assert_eq!((rejection.status(), rejection.code()), (404, "policy_not_found"));
}

#[test]
fn embeddings_are_routed_by_name_only() {
    let router = router(|_| {});
    let run = |model: &str| embeddings_by(&router, model, None, None);
    assert_eq!(route_of(run("small")), ("small".to_owned(), Reason::Manual));
    assert_eq!(route_of(run("gpt-4o")), ("large".to_owned(), Reason::Alias));
    assert!(passes(run("text-embedding-3-small")));
    for name in ["auto", "", "task_router", " auto", "auto:latest", "task_router:latest", "auto:0.4"] {
        assert_eq!(run(name).unwrap_err().status(), 400, "{name}");
    }
}

/// The plan for embeddings of a model, with a policy in the header or in the metadata.
fn embeddings_by(
    router: &Router,
    model: &str,
    header: Option<&str>,
    policy: Option<&str>,
) -> Result<Pending, Rejection> {
    let mut body = json!({"model": model, "input": "a text"});
    if let Some(policy) = policy {
        body["nim-llm-router"] = json!({"policy": policy});
    }
    let body = body.to_string();
    let request = Request::parse(Endpoint::Embeddings, body.as_bytes()).unwrap();
    let headers: Headers = header.map(|policy| ("x-llm-policy", policy)).into_iter().collect();
    router.plan(&request, &RequestHead::new(headers), &|_| None, &mut |_| ())
}

#[test]
fn a_policy_beside_the_model_of_embeddings_changes_nothing() {
    let named = [(None, None), (Some("task_router"), None), (None, Some("task_router"))];
    for on_unknown_model in ["route", "reject", "passthrough"] {
        let router = router(|config| config["on_unknown_model"] = json!(on_unknown_model));
        for (header, policy) in named {
            let plan = |model: &str| embeddings_by(&router, model, header, policy);
            assert_eq!(route_of(plan("small")), ("small".to_owned(), Reason::Manual));
            assert_eq!(plan("task_router").unwrap_err().status(), 400);
            assert_eq!(plan("").unwrap_err().status(), 400);
            match on_unknown_model {
                "reject" => {
                    let rejection = plan("text-embedding-3-small").unwrap_err();
                    assert_eq!((rejection.status(), rejection.code()), (404, "model_not_found"));
                }
                _ => assert!(passes(plan("text-embedding-3-small")), "{on_unknown_model}"),
            }
        }
    }
}

#[test]
fn names_are_read_as_clients_write_them() {
    let router = router(|_| {});
    for (name, expected) in
        [("small:latest", Reason::Manual), (" small ", Reason::Manual), ("gpt-4o:latest", Reason::Alias)]
    {
        assert_eq!(route_of(plan(&router, name, Value::Null, None)).1, expected, "{name}");
    }
    for (name, policy) in
        [("auto:latest", "task_router"), ("topic_router:latest", "topic_router"), (" auto", "task_router")]
    {
        assert_eq!(policy_of(plan(&router, name, Value::Null, None)), policy, "{name}");
    }
    let manual = |name: &str| json!({"routing_strategy": "manual", "model": name});
    for name in [" gpt-4o ", "gpt-4o:latest"] {
        assert_eq!(route_of(plan(&router, "", manual(name), None)).0, "large", "{name}");
    }
    let reject = self::router(|config| config["on_unknown_model"] = json!("reject"));
    for name in [" task_router:0.95 ", "task_router:0.95:latest", "   ", "auto:0.95 "] {
        assert_eq!(policy_of(plan(&reject, name, Value::Null, None)), "task_router", "{name}");
    }
    assert_eq!(policy_of(plan(&router, "small", Value::Null, Some("topic_router:latest"))), "topic_router");
    for empty in ["", "  "] {
        assert_eq!(route_of(plan(&router, "small", Value::Null, Some(empty))).0, "small");
    }
    let metadata = json!({"policy": " topic_router ", "routing_strategy": ""});
    assert_eq!(policy_of(plan(&router, "small", metadata, None)), "topic_router");
    let nothing = json!({"policy": null, "routing_strategy": null, "model": null, "threshold": null});
    assert_eq!(route_of(plan(&router, "small", nothing, None)).0, "small");
}

#[test]
fn a_class_that_the_client_names_is_the_chosen_classifier() {
    let router = router(|_| {});
    let manual = json!({"routing_strategy": "manual", "model": "Code Generation"});
    let decision = with(plan(&router, "", manual, None).unwrap(), &mut |_| panic!("asked")).unwrap();
    let headers: Vec<_> = decision.response_headers().collect();
    assert!(headers.contains(&("x-chosen-classifier", "Code Generation".into())), "{headers:?}");
    assert!(headers.iter().all(|(name, _)| *name != "x-llm-router-label"), "{headers:?}");
}
