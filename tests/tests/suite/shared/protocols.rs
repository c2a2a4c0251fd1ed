//! APIs other than chat completions, and providers that serve them at another host and path.

use hyper::Method;
use llm_router_tests::client::{Request, Response, chat};
use llm_router_tests::fakes::scripted_gateway::ScriptedGateway;
use llm_router_tests::fakes::scripted_sidecar::labelled;
use llm_router_tests::for_each_host;
use llm_router_tests::host::Host;
use macro_rules_attribute::apply;
use serde_json::{Value, json};

use crate::support::{assert_rejected, assert_rejected_as_anthropic, assert_routed};

#[apply(for_each_host!)]
async fn responses_are_routed_by_their_input(host: Host) {
    let text = labelled("Code Generation");
    let parts = json!([{ "type": "input_text", "text": text }]);
    for input in [json!(text), json!([{ "role": "user", "content": parts }])] {
        let body = json!({ "model": "auto", "input": input, "instructions": "Be brief." });
        let response = post(host, "/v1/responses", &body).await;
        assert_routed(&response, "nemotron", "classified");
        assert_eq!(response.json()["object"], "response");
        assert_eq!(response.json()["output"][0]["content"][0]["text"], "This is nemotron.");
        assert_sent(&response, &body, "nvidia/llama-3.3-nemotron-super-49b-v1");
    }
}

#[apply(for_each_host!)]
async fn messages_are_routed_among_models_that_speak_anthropics_api(host: Host) {
    let body = json!({
        "model": "claude_only", "max_tokens": 100, "system": "Be brief.",
        "messages": [{ "role": "user", "content": labelled("Chatbot") }],
    });
    let request = Request::post("/v1/messages", &body).header("anthropic-version", "2023-06-01");
    let response = ScriptedGateway::with_every_policy(host).await.send(request).await;
    assert_eq!(response.header("x-llm-router-model"), "claude");
    assert_eq!(
        (&response.json()["type"], &response.json()["model"]),
        (&json!("message"), &json!("claude-sonnet"))
    );
    assert_sent(&response, &body, "claude-sonnet");
    let received = response.received();
    assert_eq!(
        (&received.headers["anthropic-version"], received.path.as_str()),
        (&"2023-06-01".parse().expect("a header value"), "/v1/messages")
    );
}

#[apply(for_each_host!)]
async fn streams_of_both_apis_arrive_event_by_event(host: Host) {
    for (path, model, field, last) in [
        ("/v1/responses", "nemotron", "input", "response.completed"),
        ("/v1/messages", "claude", "messages", "message_stop"),
    ] {
        let turns = json!([{ "role": "user", "content": "Hi" }]);
        let request = Request::post(path, json!({ "model": model, "stream": true, field: turns }));
        request.hold().open();
        let response = ScriptedGateway::with_every_policy(host).await.envoy.open(request).await;
        assert_eq!(response.headers["content-type"], "text/event-stream");
        let events = response.events().await;
        let event: Value = serde_json::from_str(events.last().expect("an event")).expect("JSON");
        assert_eq!(event["type"], last, "{events:?}");
    }
}

#[apply(for_each_host!)]
async fn requests_are_not_translated_from_one_api_to_another(host: Host) {
    let body = chat("claude", "Hi");
    assert_rejected(&post(host, "/v1/chat/completions", &body).await, 400, "model", "OpenAI");
    let kind = "invalid_request_error";
    let by_name = post(host, "/v1/messages", &chat("llama-70b", "Hi")).await;
    assert_rejected_as_anthropic(&by_name, 400, kind, "Anthropic");
    let by_policy = chat("cheapest", &labelled("Chatbot"));
    assert_rejected_as_anthropic(&post(host, "/v1/messages", &by_policy).await, 400, kind, "Anthropic");
    let by_policy = chat("claude_only", &labelled("Chatbot"));
    assert_rejected(&post(host, "/v1/chat/completions", &by_policy).await, 400, Value::Null, "OpenAI");
}

#[apply(for_each_host!)]
async fn embeddings_go_to_the_model_or_alias_that_they_name(host: Host) {
    for (name, model, reason) in [("llama-70b", "llama-70b", "manual"), ("gpt-4o", "llama-70b", "alias")] {
        let body = json!({ "model": name, "input": ["a text", "another"] });
        let response = post(host, "/v1/embeddings", &body).await;
        assert_routed(&response, model, reason);
        assert_eq!(response.json()["data"].as_array().map(Vec::len), Some(2));
        assert_sent(&response, &body, "meta/llama-3.1-70b-instruct");
    }
}

#[apply(for_each_host!)]
async fn embeddings_are_not_routed_by_policies(host: Host) {
    for body in [
        json!({ "model": "auto", "input": "a text" }),
        json!({ "model": "cheapest", "input": "a text" }),
        json!({ "input": "a text" }),
    ] {
        assert_rejected(&post(host, "/v1/embeddings", &body).await, 400, "model", "name a model");
    }
}

#[apply(for_each_host!)]
async fn embeddings_of_a_model_that_is_not_configured_pass_as_they_are(host: Host) {
    let body = "{ \"model\" : \"text-embedding-3-small\",  \"input\": \"a text\" }";
    let response =
        ScriptedGateway::with_every_policy(host).await.send(Request::post("/v1/embeddings", body)).await;
    assert_eq!((response.status.as_u16(), response.header("x-llm-router-model")), (200, ""));
    assert_eq!(response.received().body, body);
}

#[apply(for_each_host!)]
async fn the_list_of_models_is_of_the_names_that_clients_may_send(host: Host) {
    for path in ["/v1/models", "/team-a/v1/models?limit=100"] {
        let response =
            ScriptedGateway::with_every_policy(host).await.send(Request::new(Method::GET, path, "")).await;
        assert_eq!((response.status.as_u16(), response.header("content-type")), (200, "application/json"));
        let list = response.json();
        assert_eq!(list["object"], "list");
        let data = list["data"].as_array().expect("a list");
        let names: Vec<_> = data.iter().filter_map(|model| model["id"].as_str()).collect();
        for name in ["auto", "task_router", "complexity", "llama-8b", "claude", "gpt-4o"] {
            assert!(names.contains(&name), "{name} is not in {names:?}");
        }
        assert!(data.iter().all(|model| model["object"] == "model" && model["owned_by"].is_string()));
        response.assert_not_forwarded();
    }
}

#[apply(for_each_host!)]
async fn a_model_is_found_by_its_name_and_head_has_the_headers_only(host: Host) {
    let gateway = ScriptedGateway::with_every_policy(host).await;
    for (path, status) in
        [("/v1/models", 200), ("/v1/models/gpt-4o", 200), ("/models/claude", 200), ("/v1/models/none", 404)]
    {
        let get = gateway.send(Request::new(Method::GET, path, "")).await;
        let head = gateway.send(Request::new(Method::HEAD, path, "")).await;
        assert_eq!((get.status.as_u16(), head.status.as_u16()), (status, status), "{path}");
        for name in ["content-type", "content-length"] {
            assert_eq!(get.header(name), head.header(name), "{path}");
        }
        assert!(head.body.is_empty());
        match (status, path.rsplit('/').next()) {
            (404, _) => assert_eq!(get.json()["error"]["code"], "model_not_found"),
            (_, Some("models")) => {}
            (_, name) => {
                assert_eq!((get.json()["id"].as_str(), &get.json()["object"]), (name, &json!("model")))
            }
        }
        get.assert_not_forwarded();
    }
}

#[apply(for_each_host!)]
async fn anthropics_clients_get_its_lists_and_errors(host: Host) {
    let gateway = ScriptedGateway::with_every_policy(host).await;
    let get = |path: &str| Request::new(Method::GET, path, "").header("anthropic-version", "2023-06-01");
    let list = gateway.send(get("/v1/models")).await.json();
    assert_eq!((&list["data"][0]["type"], &list["has_more"]), (&json!("model"), &json!(false)));
    assert_eq!(gateway.send(get("/v1/models/claude")).await.json()["display_name"], "claude");
    assert_rejected_as_anthropic(&gateway.send(get("/v1/models/none")).await, 404, "not_found_error", "none");
    for path in ["/v1/messages", "/v1/messages/count_tokens"] {
        let encoded = Request::post(path, "{}").header("content-encoding", "gzip");
        assert_rejected_as_anthropic(&gateway.send(encoded).await, 415, "invalid_request_error", "gzip");
        let unknown = Request::post(path, chat("auto", "Hi")).header("x-llm-policy", "nope");
        assert_rejected_as_anthropic(&gateway.send(unknown).await, 404, "not_found_error", "nope");
    }
}

#[apply(for_each_host!)]
async fn a_messages_tokens_are_counted_by_the_model_that_would_get_it(host: Host) {
    let body = json!({ "model": "claude", "messages": [{ "role": "user", "content": "Hi" }] });
    let response = post(host, "/v1/messages/count_tokens", &body).await;
    assert_eq!(response.header("x-llm-router-model"), "claude", "{response:?}");
    assert!(response.json()["input_tokens"].is_u64());
    assert_sent(&response, &body, "claude-sonnet");
}

#[apply(for_each_host!)]
async fn a_path_keeps_its_prefix_and_query(host: Host) {
    let request = Request::post("/team-a/v1/chat/completions?api-version=1", chat("llama-70b", "Hi"));
    let response = ScriptedGateway::with_every_policy(host).await.send(request).await;
    assert_routed(&response, "llama-70b", "manual");
    let received = response.received();
    assert_eq!(received.path, "/team-a/v1/chat/completions?api-version=1");
    assert_eq!(received.headers["host"], "gateway");
}

#[apply(for_each_host!)]
async fn a_model_at_another_host_and_path_is_asked_there(host: Host) {
    let hosted = |path: &str, body: Value| {
        let request = Request::post(path, body);
        async { ScriptedGateway::with_every_policy(host).await.send(request).await }
    };
    for (response, path) in [
        (
            hosted("/v1/chat/completions", chat("hosted", "Hi")).await,
            "/openai/deployments/x/chat/completions",
        ),
        (
            hosted("/team-a/v1/responses?x=1", json!({ "model": "hosted", "input": "Hi" })).await,
            "/openai/deployments/x/responses?x=1",
        ),
    ] {
        assert_eq!((response.status.as_u16(), response.header("x-llm-router-model")), (200, "hosted"));
        let received = response.received();
        assert_eq!(received.path, path);
        assert_eq!(received.headers["host"], "api.vendor.example");
    }
}

async fn post(host: Host, path: &str, body: &Value) -> Response {
    ScriptedGateway::with_every_policy(host).await.send(Request::post(path, body)).await
}

/// Checks that the LLM got the body with its own name in it, and otherwise unchanged.
#[track_caller]
fn assert_sent(response: &Response, body: &Value, model: &str) {
    let mut expected = body.clone();
    expected["model"] = json!(model);
    assert_eq!(serde_json::from_slice::<Value>(&response.received().body).expect("JSON"), expected);
}
