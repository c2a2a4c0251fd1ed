//! Requests that are explained, and policies that are outlined.

use serde_json::{Value, json};

use super::*;
use crate::classification::{Classification, Label, Prediction, Score};
use crate::config::Config;
use crate::context::RequestContext;

fn config() -> Value {
    json!({
        "sidecar": {"cluster": "c"}, "default_policy": "tasks",
        "models": {
            "small": {"cluster": "a", "model": "vendor/small", "capabilities": [], "cost": {"input": 1, "output": 2}},
            "large": {"cluster": "b", "model": "vendor/large", "cost": {"input": 10, "output": 20},
                "body": {"set": {"metadata.key": "a secret"}}},
            "seldom": {"cluster": "c", "model": "x"},
            "other": {"cluster": "d", "model": "y", "context": "8k"},
        },
        "aliases": {"gpt-4o": "large"},
        "rules": [{"name": "mine", "when": {"header": {"x-tenant": "acme"}}, "model": "other"}],
        "policies": {
            "tasks": {
                "classifier": "task", "min_confidence": 0.5, "fallback": ["large"],
                "routes": {"Chatbot": "small", "Code": [{"model": "large", "weight": 1}, {"model": "seldom", "weight": 0}]},
                "default": "small",
            },
            "levels": {"classifier": "complexity", "bands": [{"up_to": 0.4, "model": "small"}, {"model": "large"}]},
        },
    })
}

fn read(config: &Value) -> Config {
    Config::from_json(config.to_string().as_bytes()).unwrap()
}

fn label(name: &str, confidence: f32) -> Prediction {
    Classification::Label(Label::new(name, confidence).unwrap()).into()
}

/// Explains a chat of one message with these members, if it needs predictions by these.
fn explain(
    config: &Value,
    headers: &[(&str, &str)],
    more: &Value,
    predictions: &[(&str, Prediction)],
) -> Explanation {
    let mut body = json!({"model": "auto", "messages": [{"role": "user", "content": "Sort a list"}]});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let body = body.to_string();
    let own = [(":method", "POST"), (":path", "/v1/chat/completions")];
    let headers = own.into_iter().chain(headers.iter().copied()).collect();
    let explainer = Explainer::new(read(config), BodyValues::Hidden);
    let mut request = explainer.start(headers, RequestContext::default(), body.as_bytes());
    while request.query().is_some() {
        request.predicted(predictions.iter().map(|(name, it)| ((*name).to_owned(), it.clone())).collect());
    }
    request.finish()
}

/// The standing of each model, and why.
fn considered(explanation: &Explanation) -> Vec<(String, Standing, String)> {
    let all = explanation.considered(1000, 500).into_iter();
    all.map(|model| (model.name, model.standing, model.why)).collect()
}

fn named(name: &str, standing: Standing, why: &str) -> (String, Standing, String) {
    (name.to_owned(), standing, why.to_owned())
}

#[test]
fn every_model_is_listed_with_why_it_was_chosen_or_not() {
    let explanation = explain(&config(), &[], &json!({}), &[("task", label("Code", 0.9))]);
    assert_eq!(
        considered(&explanation),
        [
            named("large", Standing::Chosen, "chosen by reason classified"),
            named(
                "seldom",
                Standing::PassedOver,
                "shares these requests by weight; this conversation draws large"
            ),
            named("small", Standing::PassedOver, "takes Chatbot"),
            named("other", Standing::NotConsidered, "tasks does not have it"),
        ]
    );
}

#[test]
fn a_model_that_cannot_take_the_request_is_listed_with_what_it_lacks() {
    let tools = json!({"tools": [{"type": "function"}]});
    let explanation = explain(&config(), &[], &tools, &[("task", label("Chatbot", 0.9))]);
    let all = considered(&explanation);
    assert_eq!(all[0], named("large", Standing::Chosen, "chosen by reason capability"));
    assert!(
        all.contains(&named("small", Standing::Unable, "does not support the capability tools")),
        "{all:?}"
    );
    let unable = explanation.steps().iter().find(|step| step.topic == "unable").unwrap();
    assert_eq!(
        serde_json::to_value(unable).unwrap(),
        json!({"topic": "unable", "text": "small does not support the capability tools", "kind": "unable",
            "model": "small", "unmet": "the capability tools"})
    );
}

#[test]
fn fallback_models_follow_the_chosen_one() {
    let mut config = config();
    config["failover"] = json!(true);
    let explanation = explain(&config, &[], &json!({}), &[("task", label("Chatbot", 0.9))]);
    let all = considered(&explanation);
    assert_eq!(all[1], named("large", Standing::Next, "takes the request if small fails"));
}

#[test]
fn a_named_model_and_a_rule_leave_no_policy_to_have_others() {
    let explanation = explain(&config(), &[], &json!({"model": "gpt-4o"}), &[]);
    let all = considered(&explanation);
    assert!(
        all.contains(&named("small", Standing::NotConsidered, "large was chosen by reason alias")),
        "{all:?}"
    );
    let explanation = explain(&config(), &[("x-tenant", "acme")], &json!({}), &[]);
    assert_eq!(considered(&explanation)[0], named("other", Standing::Chosen, "chosen by reason rule"));
    let rule = explanation.steps().iter().find(|step| step.topic == "rule").unwrap();
    assert_eq!(
        rule.detail,
        Detail::Rule {
            number: 1,
            name: "mine".to_owned(),
            condition: "x-tenant: acme".to_owned(),
            outcome: "other".to_owned(),
            matches: Some(true),
        }
    );
}

#[test]
fn a_rejected_request_has_no_chosen_model() {
    let explanation = explain(&config(), &[], &json!({"messages": 7}), &[]);
    assert_eq!(
        (&explanation.outcome()["action"], &explanation.outcome()["status"]),
        (&json!("respond"), &json!(400))
    );
    let all = considered(&explanation);
    assert_eq!(all.len(), 4);
    assert!(all.iter().all(|(_, standing, _)| *standing != Standing::Chosen), "{all:?}");
}

#[test]
fn a_score_is_compared_with_bands() {
    let score = Classification::Score(Score::new(0.25, []).unwrap());
    let explanation = explain(&config(), &[], &json!({"model": "levels"}), &[("complexity", score.into())]);
    let all = considered(&explanation);
    assert_eq!(all[0].0, "small");
    assert!(all.contains(&named("large", Standing::PassedOver, "takes scores above 0.4")), "{all:?}");
}

#[test]
fn a_request_costs_what_its_tokens_cost() {
    let explanation = explain(&config(), &[], &json!({}), &[("task", label("Chatbot", 0.9))]);
    let all = explanation.considered(1_000_000, 500_000);
    let cost = |name: &str| all.iter().find(|model| model.name == name).unwrap().estimated_cost;
    assert_eq!((cost("small"), cost("large"), cost("other")), (Some(2.0), Some(20.0), None));
}

#[test]
fn values_of_body_edits_are_hidden_and_their_names_are_not() {
    let config = config();
    let explanation = explain(&config, &[], &json!({"model": "large"}), &[]);
    let steps = serde_json::to_string(explanation.steps()).unwrap();
    let outline = serde_json::to_string(&PolicyOutline::from(&read(&config))).unwrap();
    for text in [steps, outline, explanation.to_string(), explanation.outcome().to_string()] {
        assert!(!text.contains("a secret"), "{text}");
    }
    assert!(explanation.to_string().contains("edits metadata.key"));
    assert_eq!(PolicyOutline::from(&read(&config)).models[0].edited_members, ["metadata.key"]);
}

#[test]
fn an_outline_has_labels_bands_and_rules_with_their_models() {
    let outline = serde_json::to_value(PolicyOutline::from(&read(&config()))).unwrap();
    assert_eq!(outline["aliases"], json!({"gpt-4o": "large"}));
    assert_eq!(outline["rules"][0]["models"], json!([{"model": "other", "weight": 1}]));
    let [levels, tasks] = [&outline["policies"][0], &outline["policies"][1]];
    assert_eq!((&levels["name"], &tasks["name"]), (&json!("levels"), &json!("tasks")));
    assert_eq!(levels["routes"][1]["models"], json!([{"model": "large", "weight": 1}]));
    assert!(levels["routes"][0]["up_to"].is_number() && levels["routes"][0]["above"].is_null());
    assert_eq!(tasks["routes"][0], json!({"label": "Chatbot", "models": [{"model": "small", "weight": 1}]}));
    assert_eq!(tasks["routes"][1]["models"][1], json!({"model": "seldom", "weight": 0}));
    assert_eq!(tasks["default"], json!([{"model": "small", "weight": 1}]));
}

#[test]
fn a_request_that_cannot_fail_over_says_why() {
    let mut config = config();
    config["failover"] = json!(true);
    config["policies"]["tasks"]["fallback"] = json!(["small"]);
    let retries = |metadata: &str| {
        let more = json!({"metadata": {"key": metadata}});
        let explanation = explain(&config, &[], &more, &[("task", label("Code", 0.9))]);
        let of_retries = explanation.steps().iter().filter(|step| step.topic == "retries");
        let texts: Vec<_> = of_retries.map(|step| step.text.clone()).collect();
        (texts, explanation.outcome()["fallbacks"].clone())
    };
    assert_eq!(retries("short"), (vec!["on failure: small".to_owned()], json!(["small"])));
    let why = "on failure: none, because the members that the body edits of large change have more than 65536 bytes";
    assert_eq!(retries(&"x".repeat(70_000)), (vec![why.to_owned()], json!([])));
}
