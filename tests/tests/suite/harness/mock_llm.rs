//! The mock LLM.

use hyper::Method;
use llm_router_tests::client::{Request, chat};
use llm_router_tests::mock_llms::MOCK_LLMS;
use serde_json::json;

#[tokio::test]
async fn it_responds_as_openai_does_over_both_protocols() {
    let address = MOCK_LLMS.address("llama-70b");
    for request in [Request::chat(chat("some-model", "Hi")), Request::chat(chat("some-model", "Hi")).http2()]
    {
        let response = request.send(address).await;
        assert_eq!((response.status.as_u16(), response.header("x-served-by")), (200, "llama-70b"));
        let body = response.json();
        assert_eq!((&body["object"], &body["model"]), (&json!("chat.completion"), &json!("some-model")));
        assert_eq!(body["choices"][0]["message"]["content"], "This is llama-70b.");
        assert_eq!(body["usage"]["completion_tokens"], 4);
    }
}

#[tokio::test]
async fn it_records_a_request_byte_for_byte() {
    let body = "{ \"prompt\" : \"Hi\",\"model\":1.0 }";
    let request =
        Request::new(Method::POST, "/v1/completions?a=b", body).in_pieces(5).trailer("x-checksum", "abc");
    let response = request.send(MOCK_LLMS.address("nemotron")).await;
    let received = response.received();
    assert_eq!((received.path.as_str(), received.body.as_ref()), ("/v1/completions?a=b", body.as_bytes()));
    assert_eq!(received.trailers["x-checksum"], "abc");
}
