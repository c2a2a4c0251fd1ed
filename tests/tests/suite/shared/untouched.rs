//! What is not a completion request passes as it is, on the fallback route.

use hyper::Method;
use llm_router_tests::client::Request;

use crate::{received, shared_gateway};

#[tokio::test]
async fn other_paths_and_methods_pass_as_they_are() {
    let gateway = shared_gateway().await;
    for (method, path, body) in [
        (Method::GET, "/v1/files", ""),
        (Method::GET, "/v1/chat/completions", ""),
        (Method::POST, "/v1/chat/completions", ""),
        (Method::DELETE, "/v1/chat/completions/abc", ""),
        (Method::POST, "/v1/moderations?x=1", "{ \"model\": \"auto\",  \"nim-llm-router\": {} }"),
        (Method::POST, "/v1/files", "not JSON"),
    ] {
        let answer = gateway.send(Request::new(method.clone(), path, body)).await;
        let received = received(&answer);
        assert_eq!((received.method, received.path.as_str()), (method, path));
        assert_eq!((received.body.as_ref(), received.cluster.as_str()), (body.as_bytes(), "llama-8b"));
        assert_eq!(answer.header("x-llm-router-model"), "", "{path}");
    }
}

#[tokio::test]
async fn a_prefix_and_a_query_are_no_other_path() {
    let body = r#"{"model":"llama-70b","messages":[{"role":"user","content":"Hi"}]}"#;
    let request = Request::new(Method::POST, "/openai/v1/chat/completions?api-version=1", body);
    crate::assert_routed(&shared_gateway().await.send(request).await, "llama-70b", "manual");
}
