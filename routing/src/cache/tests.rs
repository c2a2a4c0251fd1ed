mod candidates;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use super::{CachingRouter, Plan, SharedResponses};
use crate::classification::{Classification, Label, Prediction, Score};
use crate::config::Config;
use crate::decision::Reason;
use crate::digest::Digest;
use crate::headers::Headers;
use crate::request::{Endpoint, Request, RequestHead};
use crate::router::{Outcome, Pending, Wanted};

fn router(more: Value) -> CachingRouter {
    CachingRouter::new(config(more))
}

fn config(more: Value) -> Config {
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
    Config::from_json(config.to_string().as_bytes()).unwrap()
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

fn asked(plan: Plan) -> (Pending, Wanted) {
    match plan {
        Plan::Classify(pending, wanted) => (*pending, wanted),
        other => panic!("not asked: {other:?}"),
    }
}

fn routed(plan: Plan) -> (String, Reason) {
    match plan {
        Plan::Done(Outcome::Route(decision)) => (decision.model.name.to_string(), decision.reason),
        other => panic!("not routed: {other:?}"),
    }
}

/// The decision with this label as each requested prediction.
fn answer(router: &CachingRouter, seconds: u64, asked: (Pending, Wanted), label: Option<&str>) -> Plan {
    let (mut pending, wanted) = asked;
    let now = Duration::from_secs(seconds);
    for classifier in &wanted.classifiers {
        let label = label.map(|label| Classification::Label(Label::new(label, 0.9).unwrap()));
        router.learn(&mut pending, &wanted, classifier, label.map(Prediction::from), now);
    }
    router.decide(pending, now, &mut |_| ()).unwrap()
}

fn large(reason: Reason) -> (String, Reason) {
    ("large".to_owned(), reason)
}

#[test]
fn the_same_prompt_is_not_classified_twice() {
    let router = router(json!({"cache": {"ttl": "60s"}}));
    let first = asked(plan_at(&router, 0, &say(&["write code"]), None));
    assert_eq!(routed(answer(&router, 0, first, Some("Code Generation"))), large(Reason::Classified));
    let again = plan_at(&router, 60, &say(&["write code"]), None);
    assert_eq!(routed(again), large(Reason::Cached));
    asked(plan_at(&router, 0, &say(&["write prose"]), None));
    asked(plan_at(&router, 61, &say(&["write code"]), None));
}

#[test]
fn the_cache_is_bounded_and_can_be_turned_off() {
    let small = router(json!({"cache": {"entries": 2}}));
    for text in ["a", "b", "c"] {
        let first = asked(plan_at(&small, 0, &say(&[text]), None));
        answer(&small, 0, first, Some("Chatbot"));
    }
    asked(plan_at(&small, 0, &say(&["a"]), None));
    routed(plan_at(&small, 0, &say(&["b"]), None));
    let off = router(json!({"cache": {"entries": 0}}));
    let first = asked(plan_at(&off, 0, &say(&["a"]), None));
    answer(&off, 0, first, Some("Chatbot"));
    asked(plan_at(&off, 0, &say(&["a"]), None));
}

#[test]
fn a_failure_is_not_remembered() {
    let router = router(json!({"stickiness": {}}));
    let first = asked(plan_at(&router, 0, &say(&["a"]), None));
    answer(&router, 0, first, None);
    asked(plan_at(&router, 0, &say(&["a"]), None));
}

#[test]
fn the_prediction_for_a_conversations_first_message_is_remembered_while_it_goes_on() {
    for cache in [json!({"entries": 0}), json!({"ttl": "1s"})] {
        let router = router(json!({"stickiness": {"ttl": "60s"}, "cache": cache}));
        let first = asked(plan_at(&router, 0, &say(&["write code"]), None));
        answer(&router, 0, first, Some("Code Generation"));
        for seconds in [50, 100, 150] {
            let next = plan_at(&router, seconds, &say(&["write code", "thanks"]), None);
            assert_eq!(routed(next), large(Reason::Sticky));
        }
        asked(plan_at(&router, 300, &say(&["write code", "thanks"]), None));
    }
}

#[test]
fn what_is_not_remembered_is_decided_alike() {
    for mode in ["first", "strongest"] {
        let config = json!({"stickiness": {"mode": mode}, "models": {
            "small": {"cluster": "s", "model": "s", "cost": {"input": 1, "output": 1}},
            "large": {"cluster": "l", "model": "l", "cost": {"input": 9, "output": 9}},
        }});
        let texts = ["hi", "write code", "thanks", "more code"];
        let label = |text: &str| if text.contains("code") { "Code Generation" } else { "Chatbot" };
        let (warm, mut models) = (router(config.clone()), Vec::new());
        for turns in 1..=texts.len() {
            let run = |router: &CachingRouter| {
                let mut plan = plan_at(router, 0, &say(&texts[..turns]), None);
                while let Plan::Classify(pending, wanted) = plan {
                    let text = pending.prompt(&wanted).unwrap().text();
                    plan = answer(router, 0, (*pending, wanted), Some(label(&text)));
                }
                routed(plan).0
            };
            let model = run(&warm);
            assert_eq!(model, run(&router(config.clone())), "{mode}, {turns} turns");
            models.push(model);
        }
        let expected = match mode {
            "first" => ["small", "small", "small", "small"],
            _ => ["small", "large", "large", "large"],
        };
        assert_eq!(models, expected, "{mode}");
    }
}

#[test]
fn only_a_need_changes_a_conversations_model() {
    let router = router(json!({"stickiness": {}}));
    let first = asked(plan_at(&router, 0, &say(&["hi"]), None));
    answer(&router, 0, first, Some("Chatbot"));
    let mut with_tools = say(&["hi", "now use a tool"]);
    with_tools["tools"] = json!([{}]);
    assert_eq!(routed(plan_at(&router, 0, &with_tools, None)), large(Reason::Capability));
    let next = plan_at(&router, 0, &say(&["hi", "thanks"]), None);
    assert_eq!(routed(next), ("small".to_owned(), Reason::Sticky));
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
    let first = asked(plan_at(&router, 0, &ask("a"), None));
    answer(&router, 0, first, Some("billing"));
    assert_eq!(routed(plan_at(&router, 1, &ask("b"), None)), ("large".to_owned(), Reason::Cached));
    asked(plan_at(&router, 1, &ask("c"), None));
}

#[test]
fn a_message_that_is_not_classified_in_time_does_not_decide_beside_others() {
    let bands =
        json!({"classifier": "complexity", "bands": [{"up_to": 0.5, "model": "small"}, {"model": "large"}]});
    let router = router(json!({"stickiness": {"mode": "strongest"}, "policies": {"task_router": bands}}));
    let (mut pending, wanted) = asked(plan_at(&router, 0, &say(&["an earlier one", "hi"]), None));
    assert_eq!(pending.prompt(&wanted).unwrap().text(), "hi", "what the user says now is asked first");
    let low = Classification::Score(Score::new(0.1, []).unwrap());
    router.learn(&mut pending, &wanted, &wanted.classifiers[0], Some(Prediction::from(low)), Duration::ZERO);
    let rest = asked(router.decide(pending, Duration::ZERO, &mut |_| ()).unwrap());
    assert_eq!(routed(answer(&router, 0, rest, None)), ("small".to_owned(), Reason::Classified));
}

#[test]
fn what_a_switch_would_have_got_is_known_where_it_is_compared() {
    let alternative = |compare: bool| {
        let router = router(json!({"stickiness": {"compare": compare}}));
        let mut plan = plan_at(&router, 0, &say(&["write code", "hi"]), None);
        while let Plan::Classify(pending, wanted) = plan {
            let is_code = pending.prompt(&wanted).unwrap().text().contains("code");
            plan = answer(
                &router,
                0,
                (*pending, wanted),
                Some(if is_code { "Code Generation" } else { "Chatbot" }),
            );
        }
        let Plan::Done(Outcome::Route(decision)) = plan else { panic!("not routed") };
        assert_eq!(decision.model.name.as_str(), "large");
        decision.alternative.map(|model| model.name.to_string())
    };
    assert_eq!((alternative(false), alternative(true)), (None, Some("small".to_owned())));
}

/// Responses that several routers share.
#[derive(Clone, Debug, Default)]
struct Shared(Arc<Mutex<HashMap<Digest, String>>>);

impl SharedResponses for Shared {
    fn get(&self, response: Digest) -> Option<String> {
        self.0.lock().unwrap().get(&response).cloned()
    }

    fn put(&self, response: Digest, model: &str) {
        self.0.lock().unwrap().insert(response, model.to_owned());
    }
}

const DAY: u64 = 24 * 3600;

/// A model of the router responds with this id.
fn respond(router: &CachingRouter, model: &str, seconds: u64) {
    let model = router.config().model(model).unwrap();
    router.remember_response("resp_1", model, Duration::from_secs(seconds));
}

/// The model that a request which continues the response goes to.
fn continues(router: &CachingRouter, seconds: u64) -> String {
    let body = r#"{"model": "auto", "input": "hi", "previous_response_id": "resp_1"}"#;
    let request = Request::parse(Endpoint::Responses, body.as_bytes()).unwrap();
    let head = RequestHead::default();
    routed(router.plan(&request, &head, Duration::from_secs(seconds), &mut |_| ()).unwrap()).0
}

#[test]
fn a_response_keeps_its_model_when_another_model_uses_its_id() {
    let router = router(json!({}));
    respond(&router, "large", 0);
    respond(&router, "small", 1);
    assert_eq!(continues(&router, 2), "large");
    respond(&router, "large", 20 * DAY);
    respond(&router, "small", 40 * DAY);
    assert_eq!(continues(&router, 41 * DAY), "large", "its own model renews it");
    respond(&router, "small", 51 * DAY);
    assert_eq!(continues(&router, 51 * DAY), "small", "30 days later, it is forgotten");
}

#[test]
fn a_response_of_another_worker_keeps_its_model_when_another_model_uses_its_id() {
    let shared = Shared::default();
    let worker = || CachingRouter::with_shared_responses(config(json!({})), Some(Box::new(shared.clone())));
    let (first, second, third) = (worker(), worker(), worker());
    respond(&first, "large", 0);
    respond(&second, "small", 1);
    for worker in [&first, &second, &third] {
        assert_eq!(continues(worker, 2), "large");
    }
}

#[test]
fn a_response_of_a_model_that_is_gone_can_get_another_one() {
    let shared = Shared::default();
    shared.put(Digest::of(&["resp_1"]), "removed");
    let router = CachingRouter::with_shared_responses(config(json!({})), Some(Box::new(shared)));
    respond(&router, "small", 0);
    assert_eq!(continues(&router, 1), "small");
}
