//! How policies map classifications to models.

use super::*;

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
    assert_eq!((decision.model.name.as_str(), decision.reason), ("small", Reason::ClassifierUnavailable));
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

#[test]
fn a_score_falls_into_its_band() {
    let router = router(with_bands);
    for (number, name) in [(0.1, "small"), (0.5, "middle"), (0.9, "large")] {
        assert_eq!(score(&router, "complexity", number), (name.to_owned(), Reason::Classified));
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
