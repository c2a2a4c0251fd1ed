//! In shadow, requests stay as they are and go where they always went; what would have been is told.

use hyper::Method;
use llm_router_tests::bootstrap::{Bootstrap, Mode};
use llm_router_tests::client::{Answer, Request, chat};
use llm_router_tests::envoy::Envoy;
use llm_router_tests::fleet::FLEET;
use serde_json::json;
use tokio::sync::OnceCell;

use crate::gateway::Gateway;
use crate::obedient_sidecar::labelled;
use crate::{MODE, broken_sidecar, received};

/// The cluster of the bootstrap's own route.
const SERVED_BY: &str = match MODE {
    Mode::Wasm => "llama-70b",
    Mode::Native => "llama-8b",
};

/// More than the policy's limit. Our filter lets go of such a body even if it is over Envoy's limit too (9 MiB), but
/// Envoy's own filter never sends what Envoy refuses.
const TOO_BIG: usize = match MODE {
    Mode::Wasm => 10 << 20,
    Mode::Native => (8 << 20) + 1,
};

async fn gateway() -> &'static Gateway {
    static SHARED: OnceCell<Gateway> = OnceCell::const_new();
    SHARED.get_or_init(|| Gateway::start(bootstrap(), 2)).await
}

/// The mode's bootstrap in shadow with the stand-ins, without a sidecar.
pub(crate) fn bootstrap() -> Bootstrap {
    let shadow = match MODE {
        Mode::Wasm => Bootstrap::shadow().cluster("llm", FLEET.address(SERVED_BY)),
        Mode::Native => FLEET.behind(Bootstrap::native_shadow()),
    };
    shadow.patient()
}

#[tokio::test]
async fn a_request_goes_on_as_it_was_and_the_answer_tells_what_would_have_been() {
    let prompt = labelled("a shadow", "Code Generation");
    let content = serde_json::to_string(&prompt).expect("JSON");
    let body = format!(
        "{{ \"model\" : \"gpt-4.1\" ,\"nim-llm-router\":{{\"policy\":\"task_router\"}},\n \
         \"messages\":[{{\"role\":\"user\",\"content\":{content}}}],\"model\":\"gpt-4.1\"}} "
    );
    let request = Request::chat(&body);
    for request in [request.clone(), request.clone().in_pieces(7), request.http2()] {
        let answer = gateway().await.send(request).await;
        assert_untouched(&answer, &body);
        assert_eq!(answer.header("x-llm-router-model"), "large");
        assert_eq!(answer.header("x-llm-router-reason"), "shadow");
        assert_eq!(answer.header("x-llm-router-policy"), "task_router");
        assert_eq!(answer.header("x-llm-router-label"), "Code Generation");
        assert_eq!(answer.json()["model"], "gpt-4.1");
        assert!(!received(&answer).headers.contains_key("x-llm-cluster"));
    }
}

#[tokio::test]
async fn a_request_that_would_have_been_refused_goes_on() {
    let big = "x".repeat(TOO_BIG);
    let deep = format!("{}1{}", "[".repeat(1000), "]".repeat(1000));
    for body in ["not JSON", "{}", "{\"model\":7}", &deep, &chat("auto", &big).to_string()] {
        for request in [Request::chat(body), Request::chat(body).in_pieces(64 << 10)] {
            let answer = gateway().await.send(request).await;
            assert_eq!(received(&answer).body, body);
            assert_eq!(answer.header("x-served-by"), SERVED_BY);
            assert_eq!(answer.header("x-llm-router-model"), "");
        }
    }
    let unknown = chat("auto", "Hi").to_string();
    let answer = gateway().await.send(Request::chat(&unknown).header("x-llm-policy", "nope")).await;
    assert_untouched(&answer, &unknown);
    let answer = gateway().await.send(Request::chat(&unknown).header("content-encoding", "gzip")).await;
    assert_untouched(&answer, &unknown);
}

#[tokio::test]
async fn what_is_not_a_prompt_passes() {
    let answer = gateway().await.send(Request::new(Method::GET, "/v1/models", "")).await;
    assert_eq!(answer.json()["data"][0]["id"], SERVED_BY, "the LLM's own list");
    let body = json!({ "model": "any", "input": "a text" }).to_string();
    assert_untouched(&gateway().await.send(Request::post("/v1/embeddings", &body)).await, &body);
}

#[tokio::test]
async fn without_a_sidecar_requests_go_on_whatever_is_configured() {
    for on_failure in ["default", "reject"] {
        let bootstrap = bootstrap().policy(|it| it["sidecar"]["on_failure"] = json!(on_failure));
        let gateway = Envoy::start(&bootstrap.sidecar(broken_sidecar::absent())).await;
        let body = chat("gpt-4.1", "Hi").to_string();
        assert_untouched(&gateway.send(Request::chat(&body)).await, &body);
    }
}

#[track_caller]
fn assert_untouched(answer: &Answer, body: &str) {
    assert_eq!((answer.status.as_u16(), answer.header("x-served-by")), (200, SERVED_BY), "{answer:?}");
    assert!(received(answer).body == body, "the body arrived changed");
}
