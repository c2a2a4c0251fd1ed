//! Clients that try to make the sidecar late, so that their requests bypass the policy.

use futures_util::future::join_all;
use llm_router_tests::bootstrap::Bootstrap;
use llm_router_tests::client::Request;
use llm_router_tests::envoy::Envoy;
use llm_router_tests::mock_llms::MOCK_LLMS;
use serde_json::json;

/// Many large bodies at once, each as costly to read as its size allows. None may reach an LLM: the policy rejects the model
/// that they name.
#[tokio::test]
async fn many_costly_bodies_at_once_pass_by_no_policy() {
    const BODIES: usize = 24;
    const SIZE: usize = 8_000_000;
    let costly = |fill: &str| {
        let items = fill.repeat(SIZE / fill.len());
        format!(r#"{{"model":"forbidden","tools":[{items}0],"messages":[{{"role":"user","content":"x"}}]}}"#)
    };
    let text = format!(
        r#"{{"model":"forbidden","messages":[{{"role":"user","content":"{}"}}]}}"#,
        r"\n<task ".repeat(SIZE / 8)
    );
    // As shipped, with its own timeouts.
    for (name, bootstrap) in [
        ("native", Bootstrap::native()),
        ("native-streamed", Bootstrap::native_streamed()),
        ("native-closed", Bootstrap::native_closed()),
    ] {
        let reject = MOCK_LLMS.behind(bootstrap).policy(|it| {
            it["on_unknown_model"] = json!("reject");
        });
        let gateway = Envoy::start(&reject).await;
        for body in [costly(r#""","#), costly("[],"), text.clone()] {
            let sent = (0..BODIES).map(|_| gateway.send(Request::chat(&body)));
            for response in join_all(sent).await {
                // Requests whose body was not read are rejected, too.
                assert!(matches!(response.status.as_u16(), 404 | 503), "{name}: {}", response.status);
                response.assert_not_forwarded();
            }
        }
    }
}
