use serde_json::{Value, json};

use super::{Known, Outcome, Pending, Progress, Router};
use crate::classification::{Classification, Label, Prediction, Score};
use crate::config::Config;
use crate::decision::{Decision, Reason};
use crate::headers::Headers;
use crate::rejection::Rejection;
use crate::request::{Endpoint, Request, RequestHead};

fn router(change: impl FnOnce(&mut Value)) -> Router {
    let mut config = json!({
        "sidecar": {"cluster": "sidecar"},
        "default_policy": "task_router",
        "models": {
            "small": {"cluster": "c-small", "model": "vendor/small"},
            "large": {"cluster": "c-large", "model": "vendor/large"},
        },
        "aliases": {"gpt-4o": "large"},
        "policies": {
            "task_router": {
                "classifier": "task", "min_confidence": 0.5,
                "routes": {"Code Generation": "large", "Chatbot": "small"}, "default": "small",
            },
            "topic_router": {"classifier": "topic", "routes": {"Law": "large"}, "default": "large"},
        },
    });
    change(&mut config);
    Router::new(Config::from_json(config.to_string().as_bytes()).unwrap())
}

fn plan(router: &Router, model: &str, metadata: Value, header: Option<&str>) -> Result<Pending, Rejection> {
    let mut body = json!({"model": model, "messages": [{"role": "user", "content": "hi"}]});
    if !metadata.is_null() {
        body["nim-llm-router"] = metadata;
    }
    plan_body(router, &body, header)
}

fn plan_body(router: &Router, body: &Value, policy_header: Option<&str>) -> Result<Pending, Rejection> {
    let policy = policy_header.map(|value| ("x-llm-policy", value));
    let headers: Headers = [(":path", "/v1/chat/completions")].into_iter().chain(policy).collect();
    plan_with(router, body, headers)
}

fn plan_with(router: &Router, body: &Value, headers: impl Into<Headers>) -> Result<Pending, Rejection> {
    let body = body.to_string();
    let request = Request::parse(Endpoint::ChatCompletions, body.as_bytes()).unwrap();
    router.plan(&request, &RequestHead::new(headers), &|_| None, &mut |_| ())
}

/// The policy whose classifier is asked.
fn policy_of(plan: Result<Pending, Rejection>) -> String {
    match plan.unwrap().progress(&mut |_| ()) {
        Progress::Wants(wanted) => format!("{}_router", wanted.classifiers[0]),
        other => panic!("not to classify: {other:?}"),
    }
}

fn route_of(plan: Result<Pending, Rejection>) -> (String, Reason) {
    let decision = with(plan.unwrap(), &mut |wanted| panic!("asks {wanted}")).unwrap();
    (decision.model.name.to_string(), decision.reason)
}

fn pending(router: &Router, model: &str) -> Pending {
    plan(router, model, Value::Null, None).unwrap()
}

/// The decision with these predictions, by classifier.
fn with(mut pending: Pending, known: &mut dyn FnMut(&str) -> Known) -> Result<Decision, Rejection> {
    loop {
        match pending.progress(&mut |_| ()) {
            Progress::Done(outcome) => {
                return outcome.map(|outcome| match outcome {
                    Outcome::Route(decision) => decision,
                    Outcome::Passthrough => panic!("not routed"),
                });
            }
            Progress::Wants(wanted) => {
                for classifier in &wanted.classifiers {
                    pending.learn(&wanted, classifier, known(classifier.as_str()));
                }
            }
        }
    }
}

fn with_one(pending: Pending, known: &Known) -> Result<Decision, Rejection> {
    with(pending, &mut |_| known.clone())
}

fn fresh(classification: Classification) -> Known {
    Known::Fresh(Prediction::from(classification))
}

fn label(name: &str, confidence: f32) -> Known {
    fresh(Classification::Label(Label::new(name, confidence).unwrap()))
}

fn decide(router: &Router, name: &str, confidence: f32) -> Decision {
    with_one(pending(router, "auto"), &label(name, confidence)).unwrap()
}

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
        let refusal = plan(&router, "auto", metadata, header).unwrap_err();
        assert_eq!((refusal.status(), refusal.code()), (404, "policy_not_found"));
    }
}

#[test]
fn an_unknown_model_does_as_configured() {
    let reject = router(|config| config["on_unknown_model"] = json!("reject"));
    let refusal = plan(&reject, "gpt-5", Value::Null, None).unwrap_err();
    assert_eq!((refusal.status(), refusal.code()), (404, "model_not_found"));
    let passthrough = router(|config| config["on_unknown_model"] = json!("passthrough"));
    assert!(passes(plan(&passthrough, "gpt-5", Value::Null, None)));
}

fn passes(plan: Result<Pending, Rejection>) -> bool {
    matches!(plan.unwrap().progress(&mut |_| ()), Progress::Done(Ok(Outcome::Passthrough)))
}

#[test]
fn a_prompt_without_text_takes_the_default() {
    let router = router(|_| {});
    let body = json!({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]});
    assert_eq!(route_of(plan_body(&router, &body, None)), ("small".to_owned(), Reason::Default));
}

#[test]
fn the_label_decides_when_it_is_sure_enough_and_routed() {
    let router = router(|_| {});
    let outcome = |label, confidence| {
        let decision = decide(&router, label, confidence);
        (decision.model.name.to_string(), decision.reason)
    };
    assert_eq!(outcome("Code Generation", 0.5), ("large".to_owned(), Reason::Classified));
    assert_eq!(outcome("Code Generation", 0.49), ("small".to_owned(), Reason::Default));
    assert_eq!(outcome("Brainstorming", 0.99), ("small".to_owned(), Reason::Default));
}

#[test]
fn without_an_answer_the_default_model_or_a_503() {
    let decision = with_one(pending(&router(|_| {}), "auto"), &Known::Unavailable).unwrap();
    assert_eq!((decision.model.name.as_str(), decision.reason), ("small", Reason::Fallback));
    let rejecting = router(|config| config["sidecar"]["on_failure"] = json!("reject"));
    assert_eq!(with_one(pending(&rejecting, "auto"), &Known::Unavailable).unwrap_err().status(), 503);
}

#[test]
fn a_decision_explains_itself_in_headers() {
    let decision = decide(&router(|_| {}), "Code Generation", 0.91234);
    let headers: Vec<_> = decision.response_headers().collect();
    let expected = [
        ("x-llm-router-model", "large"),
        ("x-llm-router-reason", "classified"),
        ("x-llm-router-policy", "task_router"),
        ("x-llm-router-label", "Code Generation"),
        ("x-chosen-classifier", "Code Generation"),
        ("x-llm-router-confidence", "0.912"),
    ];
    assert_eq!(headers, expected.map(|(name, value)| (name, value.into())));
}

fn with_bands(config: &mut Value) {
    config["models"]["middle"] = json!({"cluster": "c-middle", "model": "vendor/middle"});
    config["policies"]["complexity"] = json!({
        "classifier": "complexity",
        "bands": [{"up_to": 0.3, "model": "small"}, {"up_to": 0.6, "model": "middle"}, {"model": "large"}],
    });
    config["policies"]["two"] = json!({
        "classifier": "complexity", "bands": [{"up_to": 0.5, "model": "small"}, {"model": "large"}],
    });
}

fn score(router: &Router, model: &str, score: f32) -> (String, Reason) {
    let dimensions = [("creativity", 0.1), ("reasoning", 0.9)];
    let answer = fresh(Classification::Score(Score::new(score, dimensions).unwrap()));
    let decision = with_one(pending(router, model), &answer).unwrap();
    (decision.model.name.to_string(), decision.reason)
}

#[test]
fn a_score_falls_into_its_band() {
    let router = router(with_bands);
    for (number, name) in [(0.1, "small"), (0.5, "middle"), (0.9, "large")] {
        assert_eq!(score(&router, "complexity", number), (name.to_owned(), Reason::Classified));
    }
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
fn labels_can_be_the_dimensions_of_a_score() {
    let router = router(|config| {
        config["policies"]["nvidia"] = json!({
            "classifier": "complexity", "routes": {"creativity": "small", "reasoning": "large"}, "default": "small",
        });
    });
    assert_eq!(score(&router, "nvidia", 0.2), ("large".to_owned(), Reason::Classified));
}

#[test]
fn a_label_where_a_score_was_expected_takes_the_default() {
    let router = router(with_bands);
    let decision = with_one(pending(&router, "complexity"), &label("Chatbot", 1.0)).unwrap();
    assert_eq!((decision.model.name.as_str(), decision.reason), ("large", Reason::Default));
}

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

#[test]
fn a_model_that_cannot_take_the_request_is_stood_in_for() {
    let router = router(|config| {
        config["models"]["small"]["capabilities"] = json!([]);
        config["models"]["small"]["context"] = json!("1k");
        config["models"]["large"]["capabilities"] = json!(["tools"]);
    });
    let outcome = |more: Value| {
        let mut body = json!({"model": "auto", "messages": [{"role": "user", "content": "hi"}]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let decision = with_one(plan_body(&router, &body, None).unwrap(), &label("Chatbot", 0.9));
        decision.map(|decision| (decision.model.name.to_string(), decision.reason))
    };
    assert_eq!(outcome(json!({})), Ok(("small".to_owned(), Reason::Classified)));
    assert_eq!(outcome(json!({"tools": [{}]})), Ok(("large".to_owned(), Reason::Capability)));
    assert_eq!(outcome(json!({"max_tokens": 5000})), Ok(("large".to_owned(), Reason::Capability)));
    let refusal = outcome(json!({"response_format": {"type": "json_object"}})).unwrap_err();
    assert_eq!(refusal.status(), 400);
    assert!(
        String::from_utf8(refusal.body(crate::requirements::Api::Openai))
            .unwrap()
            .contains("the capability json")
    );
}

#[test]
fn the_fallback_list_is_the_order_of_standing_in() {
    let router = router(|config| {
        config["models"]["small"]["capabilities"] = json!([]);
        config["models"]["other"] = json!({"cluster": "c", "model": "m"});
        config["policies"]["task_router"]["fallback"] = json!(["other", "large"]);
    });
    let body = json!({"model": "auto", "tools": [{}], "messages": [{"role": "user", "content": [{"type": "image_url"}]}]});
    assert_eq!(route_of(plan_body(&router, &body, None)), ("other".to_owned(), Reason::Capability));
}

#[test]
fn requests_in_another_apis_shape_are_refused_not_translated() {
    let router = router(|config| config["models"]["large"]["api"] = json!("anthropic"));
    let body = json!({"model": "large", "messages": [{"role": "user", "content": "hi"}]}).to_string();
    let request = |endpoint| Request::parse(endpoint, body.as_bytes()).unwrap();
    let plan = |endpoint| router.plan(&request(endpoint), &RequestHead::default(), &|_| None, &mut |_| ());
    let refusal = with_one(plan(Endpoint::ChatCompletions).unwrap(), &Known::Unavailable).unwrap_err();
    assert_eq!(refusal.status(), 400);
    assert_eq!(route_of(plan(Endpoint::Messages)), ("large".to_owned(), Reason::Manual));
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
fn embeddings_are_routed_by_name_only() {
    let router = router(|_| {});
    let run = |model: &str| {
        let body = json!({"model": model, "input": "a text"}).to_string();
        let request = Request::parse(Endpoint::Embeddings, body.as_bytes()).unwrap();
        router.plan(&request, &RequestHead::default(), &|_| None, &mut |_| ())
    };
    assert_eq!(route_of(run("small")), ("small".to_owned(), Reason::Manual));
    assert_eq!(route_of(run("gpt-4o")), ("large".to_owned(), Reason::Alias));
    assert!(passes(run("text-embedding-3-small")));
    for name in ["auto", "", "task_router", " auto", "auto:latest", "task_router:latest", "auto:0.4"] {
        assert_eq!(run(name).unwrap_err().status(), 400, "{name}");
    }
    let body = json!({"model": "small", "input": "a text"}).to_string();
    let request = Request::parse(Endpoint::Embeddings, body.as_bytes()).unwrap();
    let head = RequestHead::new([("x-llm-policy", "task_router")]);
    let named = router.plan(&request, &head, &|_| None, &mut |_| ());
    assert_eq!(route_of(named), ("small".to_owned(), Reason::Manual));
}

#[test]
fn weighted_models_share_conversations_and_keep_each() {
    let router = router(|config| {
        config["policies"]["task_router"]["default"] =
            json!([{"model": "small", "weight": 3}, {"model": "large", "weight": 1}]);
    });
    let model_of = |user: &str, more: bool| {
        let mut body = json!({"model": "auto", "messages": [{"role": "user", "content": user}]});
        if more {
            body["messages"].as_array_mut().unwrap().push(json!({"role": "user", "content": "and then?"}));
        }
        let decision = with_one(plan_body(&router, &body, None).unwrap(), &Known::Unavailable);
        decision.unwrap().model.name.to_string()
    };
    let large = (0..1000).filter(|i| model_of(&format!("question {i}"), false) == "large").count();
    assert!((200..300).contains(&large), "{large} of 1000");
    assert!((0..50).all(|i| model_of(&format!("q{i}"), false) == model_of(&format!("q{i}"), true)));
}

#[test]
fn with_failover_the_next_are_those_of_the_policy_that_can_take_the_request() {
    let router = router(|it| {
        it["failover"] = json!(true);
        it["models"]["blind"] = json!({"cluster": "c", "model": "m", "capabilities": ["json"]});
        it["models"]["other"] = json!({"cluster": "c", "model": "m", "api": "anthropic"});
        it["policies"]["task_router"]["fallback"] = json!(["other", "blind", "large", "small"]);
    });
    let names = |decision: &Decision| decision.next.iter().map(|it| it.name.to_string()).collect::<Vec<_>>();
    let decision = decide(&router, "Code Generation", 0.9);
    assert_eq!(
        (decision.model.name.as_str(), names(&decision)),
        ("large", vec!["blind".into(), "small".into()])
    );
    let attempts: Vec<_> = (0..5).map(|attempt| decision.at_attempt(attempt).name.as_str()).collect();
    assert_eq!(attempts, ["large", "large", "blind", "small", "small"]);

    let tools = json!({"model": "auto", "messages": [{"role": "user", "content": "hi"}], "tools": [{"type": "function"}]});
    let decision = with_one(plan_body(&router, &tools, None).unwrap(), &Known::Unavailable).unwrap();
    assert_eq!((decision.model.name.as_str(), names(&decision)), ("small", vec!["large".into()]));
}

#[test]
fn nobody_stands_in_for_a_model_that_fails_unless_a_policy_chose_it_with_failover() {
    let chosen =
        |router: &Router, model: &str| with_one(pending(router, model), &Known::Unavailable).unwrap();
    let on = router(|it| it["failover"] = json!(true));
    assert!(!chosen(&on, "auto").next.is_empty());
    assert!(chosen(&on, "small").next.is_empty());
    assert!(chosen(&router(|_| {}), "auto").next.is_empty());
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
    // Without a guard, a named model asks nobody.
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
    // Nothing to classify is no failure.
    let silent = json!({"model": "auto", "messages": [{"role": "user", "content": ""}]});
    assert_eq!(route_of(plan_with(&closed, &silent, tenant)), ("small".to_owned(), Reason::Default));
}

#[test]
fn a_request_that_names_its_model_passes_with_a_prompt_that_cannot_be_read() {
    let body = |model: &str| json!({"model": model, "messages": "hi"});
    let open = router(|_| {});
    assert_eq!(route_of(plan_body(&open, &body("small"), None)).0, "small");
    assert_eq!(plan_body(&open, &body("auto"), None).unwrap_err().status(), 400);
    // But not around a guard, whatever that reads.
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

fn continues(router: &Router, body: &Value, made_by: Option<&str>) -> Result<(String, Reason), u16> {
    let body = body.to_string();
    let request = Request::parse(Endpoint::Responses, body.as_bytes()).unwrap();
    let maker = |_: &str| router.config().model(made_by?).cloned();
    let pending = router.plan(&request, &RequestHead::default(), &maker, &mut |_| ()).unwrap();
    let decision = with_one(pending, &label("Chatbot", 0.9));
    decision.map(|it| (it.model.name.to_string(), it.reason)).map_err(|rejection| rejection.status())
}

#[test]
fn what_a_provider_keeps_goes_back_to_the_model_that_made_it() {
    let router = router(|config| config["models"]["large"]["capabilities"] = json!(["tools"]));
    let body = json!({"model": "auto", "input": "hi", "previous_response_id": "r"});
    let routed = |name: &str, reason| Ok((name.to_owned(), reason));
    assert_eq!(continues(&router, &body, Some("large")), routed("large", Reason::Sticky));
    assert_eq!(continues(&router, &body, None), Err(400));
    let mut with_image = body.clone();
    with_image["input"] =
        json!([{"role": "user", "content": [{"type": "input_image", "image_url": "data:"}]}]);
    assert_eq!(continues(&router, &with_image, Some("large")), Err(400));
    let named = json!({"model": "small", "input": "hi", "previous_response_id": "r"});
    assert_eq!(continues(&router, &named, Some("large")), routed("small", Reason::Manual));
    let silent = json!({"model": "auto", "previous_response_id": "r", "input": null});
    assert_eq!(continues(&router, &silent, None), routed("small", Reason::Default));
    let conversation = json!({"model": "auto", "input": "hi", "conversation": {"id": "c"}});
    assert_eq!(continues(&router, &conversation, None), routed("small", Reason::Default));
}

#[test]
fn one_provider_has_the_state_of_all_its_models() {
    let one_cluster = router(|config| config["models"]["large"]["cluster"] = json!("c-small"));
    let route = router(|config| config["on_unknown_response"] = json!("route"));
    let body = json!({"model": "auto", "input": "hi", "previous_response_id": "r"});
    for router in [one_cluster, route] {
        assert_eq!(continues(&router, &body, None), Ok(("small".to_owned(), Reason::Classified)));
    }
}
