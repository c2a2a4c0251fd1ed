use serde_json::{Value, json};

use super::{NoClassification, Plan, Router};
use crate::classification::Classification;
use crate::config::Config;
use crate::decision::{Decision, Reason};
use crate::refusal::Refusal;
use crate::request::{Endpoint, Request};

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

fn plan(router: &Router, model: &str, metadata: Value, header: Option<&str>) -> Result<Plan, Refusal> {
    let mut body = json!({"model": model, "messages": [{"role": "user", "content": "hi"}]});
    if !metadata.is_null() {
        body["nim-llm-router"] = metadata;
    }
    router.plan(&Request::parse(Endpoint::ChatCompletions, body.to_string().as_bytes()).unwrap(), header)
}

fn policy_of(plan: Result<Plan, Refusal>) -> String {
    match plan.unwrap() {
        Plan::Classify { policy, .. } => policy.name.to_string(),
        other => panic!("not to classify: {other:?}"),
    }
}

fn route_of(plan: Result<Plan, Refusal>) -> (String, Reason) {
    match plan.unwrap() {
        Plan::Route(decision) => (decision.model.name.to_string(), decision.reason),
        other => panic!("not routed: {other:?}"),
    }
}

fn decide(router: &Router, label: &str, confidence: f32) -> Decision {
    let Plan::Classify { policy, .. } = plan(router, "auto", Value::Null, None).unwrap() else { panic!() };
    router.decide(policy, Ok(Classification::new(label, confidence).unwrap())).unwrap()
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
    assert!(matches!(plan(&passthrough, "gpt-5", Value::Null, None), Ok(Plan::Passthrough)));
}

#[test]
fn a_prompt_without_text_takes_the_default() {
    let router = router(|_| {});
    let body = br#"{"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}"#;
    let request = Request::parse(Endpoint::ChatCompletions, body).unwrap();
    assert_eq!(route_of(router.plan(&request, None)), ("small".to_owned(), Reason::Default));
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
    let Plan::Classify { policy, .. } = plan(&router(|_| {}), "auto", Value::Null, None).unwrap() else {
        panic!()
    };
    let decision = router(|_| {}).decide(policy.clone(), Err(NoClassification)).unwrap();
    assert_eq!((decision.model.name.as_str(), decision.reason), ("small", Reason::Fallback));
    let rejecting = router(|config| config["sidecar"]["on_failure"] = json!("reject"));
    assert_eq!(rejecting.decide(policy, Err(NoClassification)).unwrap_err().status(), 503);
}

#[test]
fn a_decision_explains_itself_in_headers() {
    let headers = decide(&router(|_| {}), "Code Generation", 0.91234).response_headers();
    let header = |name: &str| headers.iter().find(|(key, _)| *key == name).map(|(_, value)| value.as_str());
    assert_eq!(header("x-llm-router-model"), Some("large"));
    assert_eq!(header("x-llm-router-policy"), Some("task_router"));
    assert_eq!(header("x-llm-router-label"), Some("Code Generation"));
    assert_eq!(header("x-llm-router-confidence"), Some("0.912"));
    assert_eq!(header("x-llm-router-reason"), Some("classified"));
    assert_eq!(header("x-chosen-classifier"), Some("Code Generation"));
}
