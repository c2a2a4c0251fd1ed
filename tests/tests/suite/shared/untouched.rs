//! Requests that do not ask for a completion pass as they are, on the fallback route.

use hyper::Method;
use llm_router_tests::client::Request;
use llm_router_tests::for_each_host;
use llm_router_tests::host::Host;
use macro_rules_attribute::apply;

use crate::support::{assert_routed, shared_gateway};

#[apply(for_each_host!)]
async fn other_paths_and_methods_pass_as_they_are(host: Host) {
    let gateway = shared_gateway(host).await;
    for (method, path, body) in [
        (Method::GET, "/v1/files", ""),
        (Method::GET, "/v1/chat/completions", ""),
        (Method::POST, "/v1/chat/completions", ""),
        (Method::DELETE, "/v1/chat/completions/abc", ""),
        (Method::POST, "/v1/moderations?x=1", "{ \"model\": \"auto\",  \"nim-llm-router\": {} }"),
        (Method::POST, "/v1/files", "not JSON"),
    ] {
        let response = gateway.send(Request::new(method.clone(), path, body)).await;
        let received = response.received();
        assert_eq!((received.method, received.path.as_str()), (method, path));
        assert_eq!((received.body.as_ref(), received.cluster.as_str()), (body.as_bytes(), "llama-8b"));
        assert_eq!(response.header("x-llm-router-model"), "", "{path}");
    }
}

#[apply(for_each_host!)]
async fn a_path_may_have_a_prefix_and_a_query(host: Host) {
    let body = r#"{"model":"llama-70b","messages":[{"role":"user","content":"Hi"}]}"#;
    let request = Request::new(Method::POST, "/openai/v1/chat/completions?api-version=1", body);
    assert_routed(&shared_gateway(host).await.send(request).await, "llama-70b", "manual");
}
