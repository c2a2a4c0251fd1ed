//! Requests whose state a provider stores.

use super::*;

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
