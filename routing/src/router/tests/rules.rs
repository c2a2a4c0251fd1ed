//! Rules, with and without predictions.

use super::*;
use crate::context::{Attribute, RequestContext, Scalar};
use crate::request::Resource;

#[test]
fn the_first_rule_that_matches_chooses_before_the_default_policy() {
    let router = router(|config| {
        config["rules"] = json!([
            {"when": {"header": {"x-tenant": "acme"}}, "policy": "topic_router"},
            {"when": {"has_tools": true, "text_matches": "(?i)\\bsql\\b"}, "model": "large"},
            {"when": {"min_tokens": 1000}, "model": "large"},
            {"when": {"path_prefix": "/team-b/"}, "model": "small"},
            {"when": {"has_images": true}, "model": "small"},
        ]);
    });
    let run = |path: &str, tenant: &str, body: Value| {
        plan_with(&router, &body, [(":path", path), ("x-tenant", tenant)])
    };
    let say = |text: &str| json!({"model": "auto", "messages": [{"role": "user", "content": text}]});
    let ruled = |name: &str| (name.to_owned(), Reason::Rule);
    assert_eq!(policy_of(run("/v1/chat/completions", "acme", say("hi"))), "topic_router");
    assert_eq!(policy_of(run("/v1/chat/completions", "other", say("write SQL"))), "task_router");
    let mut with_tools = say("write SQL");
    with_tools["tools"] = json!([{"type": "function"}]);
    assert_eq!(route_of(run("/v1/chat/completions", "", with_tools)), ruled("large"));
    assert_eq!(route_of(run("/v1/chat/completions", "", say(&"x".repeat(4000)))), ruled("large"));
    for path in [
        "/team-b/v1/chat/completions",
        "//team-b/v1/chat/completions",
        "/x/%2e%2e/TEAM-%62/v1/chat/completions",
    ] {
        assert_eq!(route_of(run(path, "", say("hi"))), ruled("small"), "{path}");
    }
    let image = json!({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]});
    assert_eq!(route_of(run("/v1/chat/completions", "", image)), ruled("small"));
    let named = json!({"model": "task_router", "messages": [{"role": "user", "content": "x".repeat(4000)}]});
    assert_eq!(policy_of(run("/v1/chat/completions", "", named)), "task_router");
}

fn guarded(config: &mut Value) {
    config["rules"] = json!([
        {"when": {"safety": {"above": 0.9, "of": ["harmful", "jailbreak"]}}, "reject": {"status": 403, "message": "no"}},
        {"when": {"all": [{"domain": ["law", "health"]}, {"complexity": {"above": 0.6}}]}, "model": "large"},
        {"when": {"not": {"domain": "law"}, "header": {"x-tenant": "acme"}}, "policy": "topic_router"},
    ]);
}

/// Predictions of all heads that are asked, and which those are.
struct Heads {
    harmful: f32,
    domain: &'static str,
    complexity: f32,
    asked: Vec<Vec<String>>,
}

impl Heads {
    fn new(harmful: f32, domain: &'static str, complexity: f32) -> Self {
        Self { harmful, domain, complexity, asked: Vec::new() }
    }

    fn answer(&self, head: &str) -> Known {
        match head {
            "safety" => {
                let label = Classification::Label(Label::new("benign", 1.0 - self.harmful).unwrap());
                let numbers = [
                    ("harmful".to_owned(), self.harmful / 2.0),
                    ("jailbreak".to_owned(), self.harmful / 2.0),
                ];
                Known::Fresh(Prediction::new(label, numbers))
            }
            "domain" => label(self.domain, 0.9),
            "complexity" => fresh(Classification::Score(Score::new(self.complexity, []).unwrap())),
            _ => label("Chatbot", 0.9),
        }
    }

    fn decide(&mut self, mut pending: Pending) -> Result<Decision, Rejection> {
        loop {
            match pending.progress(&mut |_| ()) {
                Progress::Done(Ok(Outcome::Route(decision))) => return Ok(decision),
                Progress::Done(Ok(Outcome::Passthrough)) => panic!("not routed"),
                Progress::Done(Err(rejection)) => return Err(rejection),
                Progress::Wants(wanted) => {
                    let names = wanted.classifiers.iter().map(ToString::to_string).collect();
                    self.asked.push(names);
                    for classifier in &wanted.classifiers {
                        pending.learn(&wanted, classifier, self.answer(classifier.as_str()));
                    }
                }
            }
        }
    }
}

#[test]
fn conditions_on_several_heads_ask_once() {
    let router = router(guarded);
    let run = |harmful, domain, complexity, tenant: &str| {
        let body = json!({"model": "auto", "messages": [{"role": "user", "content": "hi"}]});
        let headers = [(":path", "/v1/chat/completions"), ("x-tenant", tenant)];
        let mut heads = Heads::new(harmful, domain, complexity);
        let decision = heads.decide(plan_with(&router, &body, headers).unwrap());
        let names = decision.map(|decision| (decision.model.name.to_string(), decision.reason));
        (names.map_err(|rejection| (rejection.status(), rejection.code())), heads.asked.len())
    };
    let rejected = Err((403, "rejected_by_policy"));
    let by = |name: &str, reason| Ok((name.to_owned(), reason));
    assert_eq!(run(0.95, "math", 0.1, ""), (rejected, 1));
    assert_eq!(run(0.1, "law", 0.7, ""), (by("large", Reason::Rule), 1));
    assert_eq!(run(0.1, "law", 0.5, ""), (by("small", Reason::Classified), 1));
    assert_eq!(run(0.1, "math", 0.7, ""), (by("small", Reason::Classified), 1));
    // The topic router's default.
    assert_eq!(run(0.1, "math", 0.7, "acme").0, by("large", Reason::Default));
    assert_eq!(run(0.1, "law", 0.1, "acme").0, by("small", Reason::Classified));
}

#[test]
fn rules_that_reject_hold_whatever_the_client_names_and_others_only_if_they_say_so() {
    for (always, expected) in [(None, "small"), (Some(true), "large")] {
        let router = router(|config| {
            guarded(config);
            config["rules"][1]["always"] = json!(always);
        });
        for name in ["small", "task_router", "auto", "unknown"] {
            let decide = |harmful| {
                Heads::new(harmful, "law", 0.9).decide(plan(&router, name, Value::Null, None).unwrap())
            };
            assert_eq!(decide(0.95).unwrap_err().status(), 403, "{name}");
            let model = decide(0.1).unwrap().model.name.to_string();
            let expected = if ["auto", "unknown"].contains(&name) { "large" } else { expected };
            assert_eq!(model, expected, "{name}");
        }
    }
    // Without a guard, a request that names a model needs no prediction.
    let mut heads = Heads::new(0.0, "law", 0.0);
    heads.decide(plan(&router(|_| {}), "small", Value::Null, None).unwrap()).unwrap();
    assert!(heads.asked.is_empty());
}

#[test]
fn a_condition_without_its_prediction_does_not_hold() {
    let tenant = [(":path", "/v1/chat/completions"), ("x-tenant", "acme")];
    let body = json!({"model": "auto", "messages": [{"role": "user", "content": "hi"}]});
    let only_task =
        |name: &str| if name == "task" { label("Code Generation", 0.9) } else { Known::Unavailable };
    let open = router(guarded);
    let decision = with(plan_with(&open, &body, tenant).unwrap(), &mut { only_task }).unwrap();
    assert_eq!((decision.model.name.as_str(), decision.reason), ("large", Reason::Classified));
    let closed = router(|config| {
        guarded(config);
        config["sidecar"]["on_failure"] = json!("reject");
    });
    assert_eq!(
        with(plan_with(&closed, &body, tenant).unwrap(), &mut { only_task }).unwrap_err().status(),
        503
    );
    // A request without text to classify is not a failure.
    let silent = json!({"model": "auto", "messages": [{"role": "user", "content": ""}]});
    assert_eq!(route_of(plan_with(&closed, &silent, tenant)), ("small".to_owned(), Reason::Default));
}

#[test]
fn a_request_that_names_its_model_passes_with_a_prompt_that_cannot_be_read() {
    let body = |model: &str| json!({"model": model, "messages": "hi"});
    let open = router(|_| {});
    assert_eq!(route_of(plan_body(&open, &body("small"), None)).0, "small");
    assert_eq!(plan_body(&open, &body("auto"), None).unwrap_err().status(), 400);
    // But a guard still applies, whatever it reads.
    let by_text = router_with_text_guard();
    for messages in [
        json!([{"role": "user", "content": "bomb"}, {"content": "x"}]),
        json!([{"role": "user", "content": "bomb"}, 7]),
    ] {
        let body = json!({"model": "small", "messages": messages});
        assert_eq!(plan_body(&by_text, &body, None).unwrap_err().status(), 400);
    }
    assert_eq!(plan_body(&router(guarded), &body("small"), None).unwrap_err().status(), 400);
}

fn router_with_text_guard() -> Router {
    router(|config| {
        config["rules"] = json!([{"when": {"text_matches": "bomb"}, "reject": {"message": "no"}}]);
    })
}

/// The model of a request of which Envoy knows this.
fn model_in(router: &Router, attributes: &[(Attribute, Scalar)], metadata: &Value) -> String {
    let mut context = RequestContext::default();
    for (attribute, value) in attributes {
        context.set_attribute(*attribute, value.clone());
    }
    for key in &router.config().context_keys.metadata {
        context.set_metadata(key, key.in_json(&metadata[&key.namespace]));
    }
    let head = RequestHead::new([(":path", "/v1/chat/completions")]).with_context(context);
    let body = json!({"model": "small", "messages": [{"role": "user", "content": "hi"}]}).to_string();
    let request = Request::parse(Endpoint::ChatCompletions, body.as_bytes()).unwrap();
    let pending = router.plan(&request, &head, &|_| None, &mut |_| ()).unwrap();
    match with(pending, &mut |wanted| panic!("asks {wanted}")) {
        Ok(decision) => decision.model.name.to_string(),
        Err(rejection) => rejection.status().to_string(),
    }
}

fn text(text: &str) -> Scalar {
    Scalar::Text(text.to_owned())
}

#[test]
fn rules_match_what_envoy_knows_of_a_request() {
    use Attribute::{Mtls, PeerUri, RouteName, SourceAddress, SourcePort};
    let matches = |when: Value, attribute: Attribute, value: Scalar| {
        let router = router(|config| {
            config["rules"] = json!([{"when": {"attribute": when}, "model": "large", "always": true}]);
        });
        assert_eq!(model_in(&router, &[], &Value::Null), "small", "unknown");
        model_in(&router, &[(attribute, value)], &Value::Null) == "large"
    };
    for (when, attribute, holds, other) in [
        (json!({"xds.route_name": "llms"}), RouteName, text("llms"), text("llms2")),
        (json!({"xds.route_name": ["a", "b"]}), RouteName, text("b"), text("c")),
        (
            json!({"connection.uri_san_peer_certificate": {"prefix": "spiffe://corp/ns/a/"}}),
            PeerUri,
            text("spiffe://corp/ns/a/sa/x"),
            text("spiffe://corp/ns/ab/sa/x"),
        ),
        (
            json!({"source.address": "10.1.2.3"}),
            SourceAddress,
            text("10.1.2.3:40000"),
            text("10.1.2.30:40000"),
        ),
        (
            json!({"source.address": ["10.0.0.0/8", "fd00::/8"]}),
            SourceAddress,
            text("[fd01::1]:1"),
            text("11.0.0.1:1"),
        ),
        (
            json!({"source.address": "::ffff:10.1.2.3"}),
            SourceAddress,
            text("10.1.2.3"),
            text("/run/envoy.sock"),
        ),
        (
            json!({"source.address": "::ffff:10.0.0.0/104"}),
            SourceAddress,
            text("10.1.2.3:40000"),
            text("11.0.0.1:1"),
        ),
        (
            json!({"source.address": "fe80::/10"}),
            SourceAddress,
            text("[fe80::1%eth0]:80"),
            text("[fd00::1%eth0]:80"),
        ),
        (json!({"source.port": [443, 8443]}), SourcePort, Scalar::Number(8443.0), Scalar::Number(80.0)),
        (json!({"connection.mtls": true}), Mtls, Scalar::Flag(true), Scalar::Flag(false)),
    ] {
        assert!(matches(when.clone(), attribute, holds), "{when}");
        assert!(!matches(when.clone(), attribute, other), "{when}");
    }
}

#[test]
fn rules_match_metadata_with_its_type_and_one_of_a_list() {
    let matches = |when: Value, metadata: Value| {
        let router = router(|config| {
            config["rules"] =
                json!([{"when": {"metadata": {"jwt": when}}, "model": "large", "always": true}]);
        });
        model_in(&router, &[], &json!({"jwt": metadata})) == "large"
    };
    for (when, metadata, expected) in [
        (json!({"payload": {"tenant": "acme"}}), json!({"payload": {"tenant": "acme"}}), true),
        (json!({"payload": {"prefix": ["a"]}}), json!({"payload": {"prefix": "a"}}), true),
        (json!({"payload": {"prefix": "a", "x": 1}}), json!({"payload": {"prefix": "a", "x": 1}}), true),
        (json!({"payload": {"tenant": "acme"}}), json!({"payload": {"tenant": "Acme"}}), false),
        (json!({"payload": {"tenant": "acme"}}), json!({"tenant": "acme"}), false),
        (json!({"payload": {"tenant": ["a", "b"]}}), json!({"payload": {"tenant": "b"}}), true),
        (json!({"payload": {"groups": "b"}}), json!({"payload": {"groups": ["a", "b"]}}), true),
        (json!({"payload": {"groups": ["x", "b"]}}), json!({"payload": {"groups": ["a", "b"]}}), true),
        (json!({"payload": {"groups": "c"}}), json!({"payload": {"groups": ["a", "b"]}}), false),
        (json!({"payload": {"groups": "a"}}), json!({"payload": {"groups": []}}), false),
        (json!({"level": 3}), json!({"level": 3.0}), true),
        (json!({"level": 3}), json!({"level": "3"}), false),
        (json!({"admin": true}), json!({"admin": "true"}), false),
        (json!({"a": "1", "b": "2"}), json!({"a": "1", "b": "2"}), true),
        (json!({"a": "1", "b": "2"}), json!({"a": "1"}), false),
    ] {
        assert_eq!(matches(when.clone(), metadata.clone()), expected, "{when} {metadata}");
    }
}

#[test]
fn a_guard_that_says_what_must_be_known_rejects_what_is_not() {
    let router = router(|config| {
        config["rules"] = json!([{
            "when": {"not": {"metadata": {"jwt": {"payload": {"tenant": ["acme", "corp"]}}}}},
            "reject": {"message": "no"},
        }]);
    });
    let run = |metadata: Value| model_in(&router, &[], &metadata);
    assert_eq!(run(json!({"jwt": {"payload": {"tenant": "corp"}}})), "small");
    for metadata in [json!({"jwt": {"payload": {"tenant": "other"}}}), json!({"jwt": {}}), Value::Null] {
        assert_eq!(run(metadata), "403");
    }
}

/// The plan for a request with this body at this path.
fn plan_at(router: &Router, path: &str, body: &Value) -> Result<Pending, Rejection> {
    let head = RequestHead::new([(":path", path)]);
    let Resource::Target(target) = head.resource() else { panic!("{path} is not routed") };
    let body = body.to_string();
    let request = Request::parse(target.endpoint, body.as_bytes()).unwrap();
    router.plan(&request, &head, &|_| None, &mut |_| ())
}

/// The status of a decision that needs no prediction.
fn status_of(plan: Result<Pending, Rejection>) -> u16 {
    let decision = plan.and_then(|pending| with(pending, &mut |wanted| panic!("asks {wanted}")));
    decision.map_or_else(|rejection| rejection.status(), |_| 200)
}

#[test]
fn a_guard_reads_whatever_a_server_takes_for_the_users_text() {
    let router = router_with_text_guard();
    let benign = json!({"role": "user", "content": "hi"});
    let bomb = "bomb";
    for message in [
        json!({"role": "user", "content": bomb}),
        json!({"role": "User", "content": bomb}),
        json!({"role": " USER\n", "content": bomb}),
        json!({"role": "user", "content": [{"type": "refusal", "refusal": bomb}]}),
        json!({"role": "user", "content": [{"type": "thinking", "thinking": bomb}]}),
        json!({"role": "user", "Content": bomb}),
    ] {
        let body = json!({"model": "small", "messages": [benign, message]});
        assert_eq!(status_of(plan_body(&router, &body, None)), 403, "{message}");
    }
    for role in ["human", "assistant", "tool"] {
        let body = json!({"model": "small", "messages": [{"role": role, "content": bomb}]});
        assert_eq!(status_of(plan_body(&router, &body, None)), 403, "{role}");
    }
}

#[test]
fn a_guard_rejects_a_prompt_that_it_cannot_read_if_failures_reject() {
    let router = |on_failure: &str, rule: Value| {
        router(|config| {
            config["sidecar"]["on_failure"] = json!(on_failure);
            config["rules"] = json!([rule]);
        })
    };
    let by_text = json!({"when": {"text_matches": "bomb"}, "reject": {"message": "no"}});
    let by_head = json!({"when": {"safety": "harmful"}, "reject": {"message": "no"}});
    let either = json!({
        "when": {"any": [{"header": {"x-a": "b"}}, {"not": {"safety": "benign"}}]}, "reject": {"message": "no"},
    });
    let image = json!([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:"}}]}]);
    let unreadable = [
        ("/v1/completions", json!({"model": "small", "prompt": [17, 5, 3]})),
        ("/v1/completions", json!({"model": "small", "prompt": [[17, 5], [3]]})),
        ("/v1/completions", json!({"model": "small", "prompt_embeds": "AAAA"})),
        ("/v1/chat/completions", json!({"model": "small", "messages": image})),
    ];
    for (path, body) in &unreadable {
        for rule in [&by_text, &by_head, &either] {
            let rejection = plan_at(&router("reject", rule.clone()), path, body).unwrap_err();
            assert_eq!((rejection.status(), rejection.code()), (400, "invalid_request"), "{rule} {body}");
            assert_eq!(
                status_of(plan_at(&router("default", rule.clone()), path, body)),
                200,
                "{rule} {body}"
            );
        }
        // The text decides nothing here.
        for rule in [
            json!({"when": {"safety": "harmful"}, "reject": {"message": "no"}, "mode": "shadow"}),
            json!({"when": {"safety": "harmful"}, "model": "large", "always": true}),
            json!({"when": {"header": {"x-a": "b"}, "text_matches": "bomb"}, "reject": {"message": "no"}}),
            json!({"when": {"header": {"x-a": "b"}}, "reject": {"message": "no"}}),
        ] {
            assert_eq!(status_of(plan_at(&router("reject", rule.clone()), path, body)), 200, "{rule} {body}");
        }
    }
    // Only one of two prompts can be read.
    for body in [json!({"prompt": "hi", "prompt_embeds": "AAAA"}), json!({"prompt": ["hi", [17]]})] {
        assert_eq!(
            status_of(plan_at(&router("reject", by_text.clone()), "/v1/completions", &body)),
            400,
            "{body}"
        );
    }
    for (path, body) in [
        ("/v1/completions", json!({"model": "small", "prompt": ""})),
        ("/v1/completions", json!({"model": "small", "prompt": "hi"})),
        ("/v1/embeddings", json!({"model": "small", "input": [17, 5, 3]})),
        (
            "/v1/responses",
            json!({"model": "small", "previous_response_id": "r",
            "input": [{"type": "function_call_output", "call_id": "1", "output": "x"}]}),
        ),
    ] {
        assert_eq!(status_of(plan_at(&router("reject", by_text.clone()), path, &body)), 200, "{body}");
    }
}

#[test]
fn a_path_matches_as_the_client_sends_it_and_as_the_llm_gets_it() {
    let rejecting = |prefix: &str| {
        router(|config| {
            config["rules"] = json!([{"when": {"path_prefix": prefix}, "reject": {"message": "no"}}]);
        })
    };
    let body = json!({"model": "small", "prompt": "hi", "messages": [{"role": "user", "content": "hi"}]});
    for (prefix, path, expected) in [
        ("/v1/completions", "/v1/completions", 403),
        ("/v1/completions", "/V1//Completions/", 403),
        ("/v1/completions", "/completions", 403),
        ("/v1/completions", "/openai/completions", 403),
        ("/v1/completions", "/v1/engines/NAME/completions", 403),
        ("/v1/completions", "/openai/deployments/NAME/completions?api-version=1", 403),
        ("/V1/Comp", "/openai/completions", 403),
        ("/v1/chat/", "/api/paas/v4/chat/completions", 403),
        ("/v1", "/chat/completions", 403),
        ("/v", "/chat/completions", 403),
        ("/openai/", "/openai/completions", 403),
        ("/v1/engines/", "/v1/engines/NAME/completions", 403),
        ("/team-a/v1/completions", "/team-a/v1/completions", 403),
        ("/v1/completions", "/team-a/v1/completions", 200),
        ("/v1/completions", "/v1/chat/completions", 200),
        ("/v1/completions/x", "/completions", 200),
        ("/v1x", "/completions", 200),
    ] {
        assert_eq!(status_of(plan_at(&rejecting(prefix), path, &body)), expected, "{prefix} {path}");
    }
}
