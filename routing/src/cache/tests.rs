use std::time::Duration;

use serde_json::{Value, json};

use super::CachingRouter;
use crate::classification::{Classification, Label};
use crate::config::Config;
use crate::decision::Reason;
use crate::headers::Headers;
use crate::request::{Endpoint, Request, RequestHead};
use crate::router::{ClassifierResult, Pending, Plan};

fn router(more: Value) -> CachingRouter {
    let mut config = json!({
        "sidecar": {"cluster": "sidecar"},
        "default_policy": "task_router",
        "models": {
            "small": {"cluster": "s", "model": "s", "capabilities": []},
            "large": {"cluster": "l", "model": "l"},
        },
        "policies": {"task_router": {
            "classifier": "task", "routes": {"Code Generation": "large", "Chatbot": "small"}, "default": "small",
        }},
    });
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    CachingRouter::new(Config::from_json(config.to_string().as_bytes()).unwrap())
}

fn plan_at(router: &CachingRouter, seconds: u64, body: &Value, header: Option<&str>) -> Plan {
    let headers: Headers = header.map(|value| ("x-session", value)).into_iter().collect();
    let body = body.to_string();
    let request = Request::parse(Endpoint::ChatCompletions, body.as_bytes()).unwrap();
    let head = RequestHead::new(headers);
    router.plan(&request, &head, Duration::from_secs(seconds), &mut |_| ()).unwrap()
}

fn say(texts: &[&str]) -> Value {
    let turns: Vec<_> = texts.iter().map(|text| json!({"role": "user", "content": text})).collect();
    json!({"model": "auto", "messages": turns})
}

fn asked(plan: Plan) -> Pending {
    match plan {
        Plan::Classify(pending) => pending,
        other => panic!("not asked: {other:?}"),
    }
}

fn routed(plan: Plan) -> (String, Reason) {
    match plan {
        Plan::Route(decision) => (decision.model.name.to_string(), decision.reason),
        other => panic!("not routed: {other:?}"),
    }
}

fn answer(router: &CachingRouter, seconds: u64, pending: &Pending, label: &str) {
    let label = Classification::Label(Label::new(label, 0.9).unwrap());
    router
        .decide(pending, ClassifierResult::Fresh(label), Duration::from_secs(seconds), &mut |_| ())
        .unwrap();
}

#[test]
fn the_same_text_is_not_classified_twice() {
    let router = router(json!({"cache": {"ttl": "60s"}}));
    let pending = asked(plan_at(&router, 0, &say(&["write code"]), None));
    answer(&router, 0, &pending, "Code Generation");
    let again = plan_at(&router, 60, &say(&["write code"]), None);
    assert_eq!(routed(again), ("large".to_owned(), Reason::Cached));
    asked(plan_at(&router, 0, &say(&["write prose"]), None));
    asked(plan_at(&router, 61, &say(&["write code"]), None));
}

#[test]
fn the_cache_is_bounded_and_can_be_turned_off() {
    let small = router(json!({"cache": {"entries": 2}}));
    for text in ["a", "b", "c"] {
        let pending = asked(plan_at(&small, 0, &say(&[text]), None));
        answer(&small, 0, &pending, "Chatbot");
    }
    asked(plan_at(&small, 0, &say(&["a"]), None));
    routed(plan_at(&small, 0, &say(&["b"]), None));
    let off = router(json!({"cache": {"entries": 0}}));
    let pending = asked(plan_at(&off, 0, &say(&["a"]), None));
    answer(&off, 0, &pending, "Chatbot");
    asked(plan_at(&off, 0, &say(&["a"]), None));
}

#[test]
fn a_failure_is_not_remembered() {
    let router = router(json!({"stickiness": {}}));
    let pending = asked(plan_at(&router, 0, &say(&["a"]), None));
    router.decide(&pending, ClassifierResult::Unavailable, Duration::ZERO, &mut |_| ()).unwrap();
    asked(plan_at(&router, 0, &say(&["a"]), None));
}

#[test]
fn a_conversation_keeps_its_model_while_it_goes_on() {
    let router = router(json!({"stickiness": {"ttl": "60s"}}));
    let pending = asked(plan_at(&router, 0, &say(&["write code"]), None));
    answer(&router, 0, &pending, "Code Generation");
    for seconds in [50, 100, 150] {
        let next = plan_at(&router, seconds, &say(&["write code", "thanks"]), None);
        assert_eq!(routed(next), ("large".to_owned(), Reason::Sticky));
    }
    asked(plan_at(&router, 300, &say(&["write code", "thanks"]), None));
}

#[test]
fn a_header_names_the_conversation() {
    let router = router(json!({"stickiness": {"header": "x-session"}}));
    let pending = asked(plan_at(&router, 0, &say(&["a"]), Some("1")));
    answer(&router, 0, &pending, "Code Generation");
    assert_eq!(routed(plan_at(&router, 0, &say(&["b"]), Some("1"))), ("large".to_owned(), Reason::Sticky));
    asked(plan_at(&router, 0, &say(&["b"]), Some("2")));
}

#[test]
fn only_a_need_breaks_a_conversation() {
    let router = router(json!({"stickiness": {}}));
    let pending = asked(plan_at(&router, 0, &say(&["hi"]), None));
    answer(&router, 0, &pending, "Chatbot");
    let mut with_tools = say(&["hi", "now use a tool"]);
    with_tools["tools"] = json!([{}]);
    let pending = asked(plan_at(&router, 0, &with_tools, None));
    answer(&router, 0, &pending, "Chatbot");
    let next = plan_at(&router, 0, &say(&["hi", "thanks"]), None);
    assert_eq!(routed(next), ("large".to_owned(), Reason::Sticky));
}

#[test]
fn policies_with_other_examples_do_not_share_answers() {
    let support = |example: &str| {
        let route = json!({"model": "large", "examples": [example]});
        json!({"classifier": "examples", "routes": {"billing": route}, "default": "small"})
    };
    let router = router(json!({
        "default_policy": "a", "cache": {},
        "policies": {"a": support("refund please"), "b": support("refund please"), "c": support("it crashed")},
    }));
    let ask = |policy: &str| json!({"model": policy, "messages": [{"role": "user", "content": "Hi"}]});
    let pending = asked(plan_at(&router, 0, &ask("a"), None));
    answer(&router, 0, &pending, "billing");
    assert_eq!(routed(plan_at(&router, 1, &ask("b"), None)), ("large".to_owned(), Reason::Cached));
    asked(plan_at(&router, 1, &ask("c"), None));
}
