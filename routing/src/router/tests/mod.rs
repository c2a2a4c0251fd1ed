//! Plans and decisions, without a cache and without classifiers.

mod choice;
mod fallbacks;
mod policies;
mod rules;
mod state;

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

fn passes(plan: Result<Pending, Rejection>) -> bool {
    matches!(plan.unwrap().progress(&mut |_| ()), Progress::Done(Ok(Outcome::Passthrough)))
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
