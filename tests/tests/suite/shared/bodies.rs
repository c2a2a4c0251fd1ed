//! Bodies of every size and framing: the router reads all of them, and changes only what it must change.

use llm_router_tests::client::{Request, chat};
use llm_router_tests::envoy::Envoy;
use llm_router_tests::for_each_host;
use llm_router_tests::host::Host;
use macro_rules_attribute::apply;
use serde_json::{Value, json};

use crate::support::{CODE, assert_routed, bootstrap, code_of, shared_gateway};

const UPSTREAM: &str = "\"nvidia/llama-3.3-nemotron-super-49b-v1\"";

#[apply(for_each_host!)]
async fn large_bodies_reach_the_llm_whole(host: Host) {
    let gateway = shared_gateway(host).await;
    // Around Envoy's default limit of 1 MiB, and far over it.
    for bytes in [(1 << 20) - 1, 1 << 20, (1 << 20) + 1, 4 << 20] {
        let body = code_of(bytes);
        for request in [Request::chat(&body), Request::chat(&body).http2()] {
            let response = gateway.send(request).await;
            assert_routed(&response, "nemotron", "classified");
            assert!(response.received().body == with_upstream_name(&body), "{bytes} bytes arrived changed");
        }
    }
}

#[apply(for_each_host!)]
async fn a_body_in_pieces_reaches_the_llm_whole(host: Host) {
    let gateway = shared_gateway(host).await;
    for (bytes, piece) in [(300, 1), (100_000, 1000), (4 << 20, 64 << 10)] {
        let body = code_of(bytes);
        let in_pieces = Request::chat(&body).in_pieces(piece);
        for request in [in_pieces.clone(), in_pieces.http2()] {
            let response = gateway.send(request).await;
            assert_routed(&response, "nemotron", "classified");
            assert!(response.received().body == with_upstream_name(&body), "{bytes} bytes arrived changed");
        }
    }
}

#[apply(for_each_host!)]
async fn a_request_with_trailers_is_routed_over_http2(host: Host) {
    assert_routed_with_trailers(&shared_gateway(host).await, Request::http2).await;
}

#[apply(for_each_host!)]
async fn a_request_with_trailers_is_routed_over_http1_where_envoy_drops_them(host: Host) {
    assert_routed_with_trailers(&shared_gateway(host).await, |it| it).await;
}

#[apply(for_each_host!)]
async fn a_request_with_trailers_is_routed_over_http1_where_envoy_keeps_them(host: Host) {
    let gateway = Envoy::start(&bootstrap(host).await.http1_trailers()).await;
    assert_routed_with_trailers(&gateway, |it| it).await;
}

#[apply(for_each_host!)]
async fn content_length_fits_the_rewritten_body(host: Host) {
    let gateway = shared_gateway(host).await;
    let mut with_metadata = chat("auto", CODE);
    with_metadata["nim-llm-router"] = json!({ "policy": "task_router" });
    for body in [
        chat("auto", CODE),
        chat("a-model-name-longer-than-the-one-that-the-llm-gets-instead", CODE),
        with_metadata,
    ] {
        let response = gateway.send(Request::chat(body)).await;
        assert_routed(&response, "nemotron", "classified");
        let received = response.received();
        assert_eq!(received.headers["content-length"], received.body.len().to_string());
    }
}

#[apply(for_each_host!)]
async fn a_models_body_edits_reach_the_llm(host: Host) {
    let edits = json!({
        "set": {"reasoning_effort": "high", "chat_template_kwargs.enable_thinking": true, "top_p": 0.95},
        "default": {"max_tokens": 8192, "temperature": 0.6},
        "remove": ["logprobs"],
    });
    let policy = |it: &mut Value| it["models"]["nemotron"]["body"] = edits;
    let gateway = Envoy::start(&bootstrap(host).await.policy(policy)).await;
    let mut body = chat("auto", CODE);
    let members = json!({"logprobs": true, "temperature": 1, "chat_template_kwargs": {"x": [1]}, "reasoning_effort": "low"});
    body.as_object_mut().expect("an object").extend(members.as_object().expect("an object").clone());
    let mut expected = body.clone();
    expected["model"] = UPSTREAM.trim_matches('"').into();
    expected.as_object_mut().expect("an object").remove("logprobs");
    expected["chat_template_kwargs"]["enable_thinking"] = json!(true);
    expected["reasoning_effort"] = json!("high");
    expected["top_p"] = json!(0.95);
    expected["max_tokens"] = json!(8192);
    for request in [Request::chat(&body), Request::chat(&body).http2(), Request::chat(&body).in_pieces(10)] {
        let response = gateway.send(request).await;
        assert_routed(&response, "nemotron", "classified");
        let received = response.received();
        assert_eq!(serde_json::from_slice::<Value>(&received.body).expect("JSON"), expected);
        if let Some(length) = received.headers.get("content-length") {
            assert_eq!(*length, received.body.len().to_string());
        }
    }
    let response = gateway.send(Request::chat(chat("llama-8b", CODE))).await;
    let received: Value = serde_json::from_slice(&response.received().body).expect("JSON");
    assert_eq!(received.as_object().expect("an object").len(), 2, "another model's edits: {received}");
}

#[apply(for_each_host!)]
async fn only_the_models_name_changes_in_the_body(host: Host) {
    let head =
        "\r\n {\t\"temperature\" : 1.0,\"top_p\":1e3 , \"seed\":12345678901234567890123,\n\n\"MODELS\" :null";
    let tail = r#"  , "user": "\u00e9\/\ud83d\ude00 é😀", "messages":[ {"content":"PROMPT",
        "role":"user" , "model":"auto"} ],"stop":[ ],"zz":{"model":"auto", "b":1.10, "a":-0}} "#;
    let body = |model: &str| format!("{head}, \"model\" :{model}{tail}").replace("PROMPT", CODE);
    assert_becomes(host, &body("\"auto\""), &body(UPSTREAM)).await;
}

#[apply(for_each_host!)]
async fn duplicate_fields_stay_except_for_models_before_the_last(host: Host) {
    let messages = format!("\"messages\":[{{\"role\":\"user\",\"content\":\"{CODE}\"}}]");
    let body = format!("{{\"model\":\"llama-8b\",\"seed\":1,\"seed\":2,{messages},\"model\":\"auto\"}}");
    assert_becomes(host, &body, &format!("{{\"seed\":1,\"seed\":2,{messages},\"model\":{UPSTREAM}}}")).await;
}

/// Go's JSON parser ignores the case of keys, and takes the last.
#[apply(for_each_host!)]
async fn fields_that_differ_from_known_ones_in_case_only_are_removed(host: Host) {
    let messages = format!("\"messages\":[{{\"role\":\"user\",\"content\":\"{CODE}\"}}]");
    let body = format!(
        "{{\"Model\":1,\"model\":\"auto\",{messages},\"MODEL\":\"x\",\"Messages\":[],\"User\":\"x\"}}"
    );
    assert_becomes(host, &body, &format!("{{\"model\":{UPSTREAM},{messages},\"User\":\"x\"}}")).await;
}

#[apply(for_each_host!)]
async fn bytes_that_are_not_utf8_stay_as_they_are(host: Host) {
    let body =
        [chat("auto", CODE).to_string().trim_end_matches('}').as_bytes(), b",\"user\":\"\xff\"}"].concat();
    let response = shared_gateway(host)
        .await
        .send(Request::new(hyper::Method::POST, "/v1/chat/completions", body))
        .await;
    // The mock LLM responds with 400. How an LLM treats such bytes is not the router's concern.
    assert_eq!(response.header("x-served-by"), "nemotron", "{response:?}");
    assert!(response.received().body.ends_with(b",\"user\":\"\xff\"}"));
}

/// Envoy crashes if a filter makes a buffered body larger than its limit. A body of nothing but models would become so if each
/// of them were replaced by a longer name.
#[apply(for_each_host!)]
async fn a_body_full_of_models_shrinks(host: Host) {
    let gateway = Envoy::start(&bootstrap(host).await).await;
    let models = "\"model\":\"auto\",".repeat(90_000);
    let body = format!("{{{models}\"messages\":[{{\"role\":\"user\",\"content\":\"{CODE}\"}}]}}");
    let response = gateway.send(Request::chat(body)).await;
    assert_routed(&response, "nemotron", "classified");
    assert!(response.received().body.len() < 1000);
}

#[apply(for_each_host!)]
async fn metadata_is_removed_with_its_comma_wherever_it_is(host: Host) {
    let messages = format!("\"messages\": [{{\"role\": \"user\", \"content\": \"{CODE}\"}}]");
    let metadata = "\"nim-llm-router\" : {\"policy\": \"task_router\", \"x\": [1, {\"}\": \",\"}]}";
    let model = format!("\"model\": {UPSTREAM}");
    for (body, expected) in [
        (format!("{{ {metadata} , \"model\": \"auto\", {messages} }}"), format!("{{ {model}, {messages} }}")),
        (
            format!("{{ \"model\": \"auto\" , {metadata} , {messages} }}"),
            format!("{{ {model}  , {messages} }}"),
        ),
        (
            format!("{{ \"model\": \"auto\", {messages} , {metadata} }}"),
            format!("{{ {model}, {messages}  }}"),
        ),
    ] {
        assert_becomes(host, &body, &expected).await;
    }
}

#[apply(for_each_host!)]
async fn a_body_over_envoys_own_limit_is_rejected_by_who_buffers_it_and_harms_nobody(host: Host) {
    const LIMIT: usize = 64 << 10;
    let mut bootstrap = bootstrap(host).await.body_limit(LIMIT);
    if host == Host::ExtProc {
        // With NONE, as shipped, the limit must be above the policy's.
        bootstrap = bootstrap.ext_proc(|it| it["processing_mode"]["request_body_mode"] = json!("BUFFERED"));
    }
    let gateway = Envoy::start(&bootstrap).await;
    // Far over the limit, just over it, and so that only the model's longer name goes over it.
    for bytes in [2 * LIMIT, LIMIT + 1, LIMIT, LIMIT - 1] {
        for model in ["auto", "llama-70b"] {
            let body = code_of(bytes).replace("\"auto\"", &format!("\"{model}\""));
            let request = Request::chat(body);
            for request in [request.clone(), request.in_pieces(1000)] {
                let status = gateway.send(request).await.status;
                // The module and a sidecar that bodies are streamed to hold them themselves.
                let is_buffered = !matches!(host, Host::Module | Host::ExtProcStreamed);
                // Envoy checks what it has buffered before the last bytes arrive. If no filter waits for these, they pass.
                let is_allowed = bytes <= LIMIT + 1 || !is_buffered;
                let is_rejected = status == 413 && is_buffered;
                assert!(is_rejected || is_allowed && status == 200, "{status} for {bytes} bytes to {model}");
                let response = gateway.send(Request::chat(chat("auto", CODE))).await;
                assert_routed(&response, "nemotron", "classified");
            }
        }
    }
}

fn with_upstream_name(body: &str) -> String {
    body.replacen("\"auto\"", UPSTREAM, 1)
}

async fn assert_becomes(host: Host, body: &str, expected: &str) {
    let response = shared_gateway(host).await.send(Request::chat(body)).await;
    assert_routed(&response, "nemotron", "classified");
    assert_eq!(String::from_utf8_lossy(&response.received().body), expected, "from {body}");
}

async fn assert_routed_with_trailers(gateway: &Envoy, protocol: fn(Request) -> Request) {
    for bytes in [300, 100_000] {
        let body = code_of(bytes);
        let request = Request::chat(&body).in_pieces(1000).trailer("x-checksum", "abc");
        let response = gateway.send(protocol(request)).await;
        assert_routed(&response, "nemotron", "classified");
        assert_eq!(response.received().body, with_upstream_name(&body));
    }
}
