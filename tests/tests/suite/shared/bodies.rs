//! Bodies: of every size and framing they are read whole, and only what must change of them is changed.

use llm_router_tests::client::{Request, chat};
use llm_router_tests::envoy::Envoy;
use serde_json::json;

use crate::{CODE, assert_routed, bootstrap, code_of, received, shared_gateway};

const UPSTREAM: &str = "\"nvidia/llama-3.3-nemotron-super-49b-v1\"";

#[tokio::test]
async fn large_bodies_reach_the_llm_whole() {
    let gateway = shared_gateway().await;
    // Around Envoy's default limit of 1 MiB, and far over it.
    for bytes in [(1 << 20) - 1, 1 << 20, (1 << 20) + 1, 4 << 20] {
        let body = code_of(bytes);
        for request in [Request::chat(&body), Request::chat(&body).http2()] {
            let answer = gateway.send(request).await;
            assert_routed(&answer, "nemotron", "classified");
            assert!(received(&answer).body == with_upstream_name(&body), "{bytes} bytes arrived changed");
        }
    }
}

#[tokio::test]
async fn a_body_in_pieces_reaches_the_llm_whole() {
    let gateway = shared_gateway().await;
    for (bytes, piece) in [(300, 1), (100_000, 1000), (4 << 20, 64 << 10)] {
        let body = code_of(bytes);
        let in_pieces = Request::chat(&body).in_pieces(piece);
        for request in [in_pieces.clone(), in_pieces.http2()] {
            let answer = gateway.send(request).await;
            assert_routed(&answer, "nemotron", "classified");
            assert!(received(&answer).body == with_upstream_name(&body), "{bytes} bytes arrived changed");
        }
    }
}

#[tokio::test]
async fn a_request_with_trailers_is_routed_over_http2() {
    assert_routed_with_trailers(&shared_gateway().await, Request::http2).await;
}

#[tokio::test]
async fn a_request_with_trailers_is_routed_over_http1_where_envoy_drops_them() {
    assert_routed_with_trailers(&shared_gateway().await, |it| it).await;
}

#[tokio::test]
async fn a_request_with_trailers_is_routed_over_http1_where_envoy_keeps_them() {
    let gateway = Envoy::start(&bootstrap().await.http1_trailers()).await;
    assert_routed_with_trailers(&gateway, |it| it).await;
}

#[tokio::test]
async fn content_length_fits_the_rewritten_body() {
    let gateway = shared_gateway().await;
    let mut with_metadata = chat("auto", CODE);
    with_metadata["nim-llm-router"] = json!({ "policy": "task_router" });
    for body in [
        chat("auto", CODE),
        chat("a-model-name-longer-than-the-one-that-the-llm-gets-instead", CODE),
        with_metadata,
    ] {
        let answer = gateway.send(Request::chat(body)).await;
        assert_routed(&answer, "nemotron", "classified");
        let received = received(&answer);
        assert_eq!(received.headers["content-length"], received.body.len().to_string());
    }
}

#[tokio::test]
async fn only_the_models_name_changes_in_the_body() {
    let head =
        "\r\n {\t\"temperature\" : 1.0,\"top_p\":1e3 , \"seed\":12345678901234567890123,\n\n\"MODEL\" :null";
    let tail = r#"  , "user": "\u00e9\/\ud83d\ude00 é😀", "messages":[ {"content":"PROMPT",
        "role":"user" , "model":"auto"} ],"stop":[ ],"zz":{"model":"auto", "b":1.10, "a":-0}} "#;
    let body = |model: &str| format!("{head}, \"model\" :{model}{tail}").replace("PROMPT", CODE);
    assert_becomes(&body("\"auto\""), &body(UPSTREAM)).await;
}

#[tokio::test]
async fn of_duplicate_fields_all_stay_but_the_models_before_the_last() {
    let messages = format!("\"messages\":[{{\"role\":\"user\",\"content\":\"{CODE}\"}}]");
    let body = format!("{{\"model\":\"llama-8b\",\"seed\":1,\"seed\":2,{messages},\"model\":\"auto\"}}");
    assert_becomes(&body, &format!("{{\"seed\":1,\"seed\":2,{messages},\"model\":{UPSTREAM}}}")).await;
}

#[tokio::test]
async fn bytes_that_are_not_utf8_stay_as_they_are() {
    let body =
        [chat("auto", CODE).to_string().trim_end_matches('}').as_bytes(), b",\"user\":\"\xff\"}"].concat();
    let answer =
        shared_gateway().await.send(Request::new(hyper::Method::POST, "/v1/chat/completions", body)).await;
    // What the LLM makes of it is its own affair: the stand-in answers 400.
    assert_eq!(answer.header("x-served-by"), "nemotron", "{answer:?}");
    assert!(received(&answer).body.ends_with(b",\"user\":\"\xff\"}"));
}

/// Envoy dies if a filter makes a buffered body larger than its limit. A body of nothing but models would be made so if
/// each of them were replaced by a longer name.
#[tokio::test]
async fn a_body_full_of_models_shrinks() {
    let gateway = Envoy::start(&bootstrap().await).await;
    let models = "\"model\":\"auto\",".repeat(500_000);
    let body = format!("{{{models}\"messages\":[{{\"role\":\"user\",\"content\":\"{CODE}\"}}]}}");
    let answer = gateway.send(Request::chat(body)).await;
    assert_routed(&answer, "nemotron", "classified");
    assert!(received(&answer).body.len() < 1000);
}

#[tokio::test]
async fn metadata_goes_with_its_comma_wherever_it_stands() {
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
        assert_becomes(&body, &expected).await;
    }
}

#[tokio::test]
async fn a_body_over_envoys_own_limit_is_refused_by_envoy_and_harms_nobody() {
    const LIMIT: usize = 64 << 10;
    let gateway = Envoy::start(&bootstrap().await.body_limit(LIMIT)).await;
    // Far over the limit, just over it, and so that only the model's longer name goes over it.
    for bytes in [2 * LIMIT, LIMIT + 1, LIMIT, LIMIT - 1] {
        for model in ["auto", "llama-70b"] {
            let body = code_of(bytes).replace("\"auto\"", &format!("\"{model}\""));
            let request = Request::chat(body);
            for request in [request.clone(), request.in_pieces(1000)] {
                let status = gateway.send(request).await.status;
                assert!(
                    status == 413 || bytes <= LIMIT && status == 200,
                    "{status} for {bytes} bytes to {model}"
                );
                let answer = gateway.send(Request::chat(chat("auto", CODE))).await;
                assert_routed(&answer, "nemotron", "classified");
            }
        }
    }
}

fn with_upstream_name(body: &str) -> String {
    body.replacen("\"auto\"", UPSTREAM, 1)
}

async fn assert_becomes(body: &str, expected: &str) {
    let answer = shared_gateway().await.send(Request::chat(body)).await;
    assert_routed(&answer, "nemotron", "classified");
    assert_eq!(String::from_utf8_lossy(&received(&answer).body), expected, "from {body}");
}

async fn assert_routed_with_trailers(gateway: &Envoy, protocol: fn(Request) -> Request) {
    for bytes in [300, 100_000] {
        let body = code_of(bytes);
        let request = Request::chat(&body).in_pieces(1000).trailer("x-checksum", "abc");
        let answer = gateway.send(protocol(request)).await;
        assert_routed(&answer, "nemotron", "classified");
        assert_eq!(received(&answer).body, with_upstream_name(&body));
    }
}
