//! Fallback models.

use super::*;

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
    let rejection = outcome(json!({"response_format": {"type": "json_object"}})).unwrap_err();
    assert_eq!(rejection.status(), 400);
    assert!(
        String::from_utf8(rejection.body(crate::requirements::Api::Openai))
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
fn requests_in_another_apis_format_are_rejected_not_translated() {
    let router = router(|config| config["models"]["large"]["api"] = json!("anthropic"));
    let body = json!({"model": "large", "messages": [{"role": "user", "content": "hi"}]}).to_string();
    let request = |endpoint| Request::parse(endpoint, body.as_bytes()).unwrap();
    let plan = |endpoint| router.plan(&request(endpoint), &RequestHead::default(), &|_| None, &mut |_| ());
    let rejection = with_one(plan(Endpoint::ChatCompletions).unwrap(), &Known::Unavailable).unwrap_err();
    assert_eq!(rejection.status(), 400);
    assert_eq!(route_of(plan(Endpoint::Messages)), ("large".to_owned(), Reason::Manual));
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
