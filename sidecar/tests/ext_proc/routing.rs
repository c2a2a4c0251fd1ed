//! With a policy: requests from Envoy's own filter are routed, our filter's are still only classified.

use std::collections::BTreeMap;

use llm_router_classifier::engine::BackendFactory;
use llm_router_proto::envoy::service::ext_proc::v3::{
    BodyResponse, CommonResponse, HttpBody, HttpHeaders, HttpTrailers, ProcessingRequest, ProcessingResponse,
    body_mutation::Mutation, processing_request, processing_response::Response,
};
use llm_router_proto::limits::MAX_HEADERS;
use llm_router_routing::config::Config;
use llm_router_sidecar::ext_proc::PolicyRouter;
use serde_json::{Value, json};

use super::{
    CHAT, PROMPT, Running, Sure, begun, body, body_answer, exchange, gated, headers, message, metric,
    rejection, request_headers, serve_with, set_headers,
};

pub(super) fn policy(change: impl FnOnce(&mut Value)) -> PolicyRouter {
    let mut policy = json!({
        "sidecar": {"cluster": "c", "timeout": "60s"}, "default_policy": "p", "cache": {"entries": 0},
        "models": {
            "small": {"cluster": "small", "model": "vendor/small"},
            "coder": {"cluster": "coder", "model": "vendor/coder"},
        },
        "policies": {
            "p": {"classifier": "task", "routes": {"Code Generation": "coder"}, "default": "small"},
            "other": {"classifier": "mood", "routes": {}, "default": "small"},
        },
    });
    change(&mut policy);
    PolicyRouter::new(Config::from_json(policy.to_string().as_bytes()).unwrap())
}

async fn serve(change: impl FnOnce(&mut Value), backend: impl BackendFactory, queue: usize) -> Running {
    serve_with(Some(policy(change)), backend, queue).await
}

fn response_headers() -> ProcessingRequest {
    message(processing_request::Request::ResponseHeaders(HttpHeaders::default()))
}

/// A prompt's whole stream.
fn prompt(prompt: &str) -> Vec<ProcessingRequest> {
    vec![headers(CHAT), body(prompt), response_headers()]
}

fn explained(answer: &ProcessingResponse) -> BTreeMap<String, String> {
    let Some(Response::ResponseHeaders(headers)) = &answer.response else { panic!("{answer:?}") };
    let mutation = headers.response.iter().filter_map(|common| common.header_mutation.as_ref());
    mutation
        .flat_map(|mutation| &mutation.set_headers)
        .filter_map(|option| option.header.clone())
        .map(|header| (header.key, String::from_utf8(header.raw_value).unwrap()))
        .collect()
}

fn body_sent_on(answer: &ProcessingResponse) -> Value {
    let mutation = body_answer(answer).body_mutation.as_ref().and_then(|it| it.mutation.as_ref());
    let Some(Mutation::Body(body)) = mutation else { panic!("{answer:?}") };
    serde_json::from_slice(body).unwrap()
}

#[track_caller]
fn assert_falls_back(answers: &[ProcessingResponse]) {
    assert_eq!(set_headers(&answers[1])["x-llm-cluster"], "small");
    assert_eq!(explained(&answers[2])["x-llm-router-reason"], "classifier_unavailable");
}

#[tokio::test]
async fn a_prompt_goes_to_its_labels_model_with_scores_and_reasons() {
    let running = serve(|_| (), Sure, 8).await;
    let answers = exchange(running.client, prompt(PROMPT)).await.unwrap();
    let set = set_headers(&answers[1]);
    assert_eq!((set["x-llm-cluster"].as_str(), set["x-llm-task"].as_str()), ("coder", "Code Generation"));
    assert!(!set.contains_key("x-llm-safety"), "the policy did not ask for it");
    assert_eq!(body_sent_on(&answers[1])["model"], "vendor/coder");
    assert!(answers[1].dynamic_metadata.as_ref().unwrap().fields.contains_key("llm_router"));
    let explained = explained(&answers[2]);
    assert_eq!(explained["x-llm-router-reason"], "classified");
    assert_eq!(explained["x-llm-router-label"], "Code Generation");
    assert!(running.metrics.encode().contains("requests_total{outcome=\"classified\"} 1"));
}

#[tokio::test]
async fn a_named_model_needs_no_classification() {
    let running = serve(|_| (), Sure, 8).await;
    let named = PROMPT.replacen('{', r#"{"model":"small","#, 1);
    let answers = exchange(running.client, prompt(&named)).await.unwrap();
    assert_eq!(set_headers(&answers[1]), [("x-llm-cluster".to_owned(), "small".to_owned())].into());
    assert_eq!(explained(&answers[2])["x-llm-router-reason"], "manual");
    assert!(running.metrics.encode().contains("requests_total{outcome=\"classified\"} 0"));
}

#[tokio::test]
async fn a_prompt_is_not_classified_twice() {
    let cached = |it: &mut Value| it["cache"] = json!({ "entries": 10 });
    let running = serve(cached, Sure, 8).await;
    for reason in ["classified", "cached"] {
        let answers = exchange(running.client.clone(), prompt(PROMPT)).await.unwrap();
        assert_eq!(set_headers(&answers[1])["x-llm-cluster"], "coder");
        assert_eq!(explained(&answers[2])["x-llm-router-reason"], reason);
    }
    assert!(running.metrics.encode().contains("requests_total{outcome=\"classified\"} 1"));
}

#[tokio::test]
async fn trailers_after_the_body_get_a_response() {
    use processing_request::Request;
    let running = serve(|_| (), Sure, 8).await;
    let mut open = body(PROMPT);
    if let Some(Request::RequestBody(body)) = &mut open.request {
        body.end_of_stream = false;
    }
    let trailers = message(Request::RequestTrailers(HttpTrailers::default()));
    let messages = vec![headers(CHAT), open, trailers, response_headers()];
    let answers = exchange(running.client, messages).await.unwrap();
    assert_eq!(set_headers(&answers[1])["x-llm-cluster"], "coder");
    assert!(matches!(answers[2].response, Some(Response::RequestTrailers(_))));
    assert_eq!(explained(&answers[3])["x-llm-router-model"], "coder");
}

#[tokio::test]
async fn a_request_that_is_not_routed_stays_unchanged() {
    let pass = |it: &mut Value| it["on_unknown_model"] = json!("passthrough");
    let running = serve(pass, Sure, 8).await;
    let unknown = PROMPT.replacen('{', r#"{"model":"gpt-99","#, 1);
    for messages in [prompt(&unknown), vec![headers("/v1/files"), body("not JSON"), response_headers()]] {
        let answers = exchange(running.client.clone(), messages).await.unwrap();
        assert_eq!(body_answer(&answers[1]), &CommonResponse::default());
        assert!(explained(&answers[2]).is_empty());
    }
}

#[tokio::test]
async fn a_bad_request_is_rejected_at_once() {
    let running = serve(|it| it["limits"] = json!({ "max_body": "1KiB" }), Sure, 8).await;
    for (content, code) in [("not JSON".to_owned(), 400), (PROMPT.replace("Write", &"x".repeat(1024)), 413)] {
        let answers = exchange(running.client.clone(), vec![headers(CHAT), body(&content)]).await.unwrap();
        let Some(Response::ImmediateResponse(answer)) = &answers[1].response else { panic!("{answers:?}") };
        assert_eq!(answer.status.as_ref().unwrap().code, code);
        let error: Value = serde_json::from_slice(&answer.body).unwrap();
        assert!(error["error"]["message"].is_string());
    }
}

/// After an error, Envoy may let the request bypass the policy.
#[tokio::test]
async fn a_request_of_too_many_headers_is_rejected_before_they_are_decoded() {
    let running = serve(|_| (), Sure, 8).await;
    let mut all = vec![(":method", "POST"), (":path", CHAT)];
    all.resize(MAX_HEADERS, ("x-a", "b"));
    let accepted = exchange(running.client.clone(), vec![request_headers(&all), body(PROMPT)]).await.unwrap();
    assert_eq!(set_headers(&accepted[1])["x-llm-cluster"], "coder");

    all.push(("x-a", "b"));
    let answers = exchange(running.client, vec![request_headers(&all), body(PROMPT)]).await.unwrap();
    let [answer] = answers.as_slice() else { panic!("{answers:?}") };
    assert_eq!(rejection(answer), (413, json!("request_too_large")));
}

#[tokio::test]
async fn without_a_classification_in_time_the_default_model_is_used() {
    let (backend, _has_begun, open) = gated();
    let running = serve(|it| it["sidecar"]["timeout"] = json!("20ms"), backend, 8).await;
    let answers = exchange(running.client, prompt(PROMPT)).await.unwrap();
    assert_falls_back(&answers);
    assert!(running.metrics.encode().contains("requests_total{outcome=\"deadline_exceeded\"} 1"));
    drop(open);
}

#[tokio::test]
async fn over_the_queue_limit_the_default_model_is_used_at_once() {
    let (backend, has_begun, open) = gated();
    let running = serve(|_| (), backend, 1).await;
    let first = tokio::spawn(exchange(running.client.clone(), prompt(PROMPT)));
    let _has_begun = begun(has_begun).await;
    let second = tokio::spawn(exchange(running.client.clone(), prompt(PROMPT)));
    metric(&running.metrics, "queue_depth 1").await;

    assert_falls_back(&exchange(running.client.clone(), prompt(PROMPT)).await.unwrap());

    open.send(()).unwrap();
    open.send(()).unwrap();
    for answers in [first, second] {
        let answers = answers.await.unwrap().unwrap();
        assert_eq!(explained(&answers[2])["x-llm-router-reason"], "classified");
    }
}

#[tokio::test]
async fn a_classifier_that_the_model_lacks_gives_the_policys_default() {
    let running = serve(|_| (), Sure, 8).await;
    let other = PROMPT.replacen('{', r#"{"model":"other","#, 1);
    assert_falls_back(&exchange(running.client, prompt(&other)).await.unwrap());
    assert!(running.metrics.encode().contains("requests_total{outcome=\"unknown_classifier\"} 1"));
}

#[tokio::test]
async fn decisions_and_the_cache_are_counted() {
    let cached = |it: &mut Value| it["cache"] = json!({ "entries": 10 });
    let running = serve(cached, Sure, 8).await;
    for _ in 0..2 {
        exchange(running.client.clone(), prompt(PROMPT)).await.unwrap();
    }
    assert_has(
        &running,
        &[
            r#"requests_total{llm_policy="p",llm_model="coder",llm_reason="classified"} 1"#,
            r#"requests_total{llm_policy="p",llm_model="coder",llm_reason="cached"} 1"#,
            r#"labels_total{llm_policy="p",llm_label="Code Generation"} 2"#,
            "cache_misses_total 1",
            "cache_hits_total 1",
            r#"calls_total{llm_classifier="task",outcome="answered"} 1"#,
        ],
    );
}

#[tokio::test]
async fn a_response_that_envoy_sends_is_read_for_usage_and_its_first_token() {
    let running = serve(
        |it| {
            it["models"]["coder"]["cost"] = json!({ "input": 2, "cached_input": 1, "output": 3 });
            it["models"]["expensive"] =
                json!({ "cluster": "a", "model": "a", "cost": { "input": 20, "output": 30 } });
        },
        Sure,
        8,
    )
    .await;
    // `identity` means that the response is not encoded.
    let streamed = [("content-type", "text/event-stream"), ("content-encoding", "identity")];
    let streamed = request_headers(&streamed);
    let Some(processing_request::Request::RequestHeaders(streamed)) = streamed.request else { panic!() };
    let streamed = message(processing_request::Request::ResponseHeaders(streamed));
    let piece = |piece: &str| {
        let body = HttpBody { body: piece.to_owned().into(), end_of_stream: false };
        message(processing_request::Request::ResponseBody(body))
    };
    let usage =
        r#"{"prompt_tokens": 5, "prompt_tokens_details": {"cached_tokens": 2}, "completion_tokens": 7}"#;
    let messages = vec![
        headers(CHAT),
        body(PROMPT),
        streamed,
        piece("data: {\"choices\": [{\"delta\": {\"content\": \"Hi\"}}]}\n\nda"),
        piece(&format!("ta: {{\"choices\": [], \"usage\": {usage}}}\n\n")),
    ];
    let answers = exchange(running.client.clone(), messages).await.unwrap();
    let expected = Some(Response::ResponseBody(BodyResponse::default()));
    assert!(answers[3..].iter().all(|answer| answer.response == expected), "{answers:?}");
    assert_has(
        &running,
        &[
            r#"time_to_first_token_milliseconds_count{llm_model="coder"} 1"#,
            r#"input_tokens_total{llm_model="coder"} 5"#,
            r#"output_tokens_total{llm_model="coder"} 7"#,
            r#"cost_microdollars_total{llm_model="coder"} 29"#,
            r#"max_cost_microdollars_total{llm_model="coder"} 310"#,
        ],
    );
}

#[track_caller]
fn assert_has(running: &Running, lines: &[&str]) {
    let text = running.metrics.encode();
    for line in lines {
        assert!(text.contains(&format!("\nllm_router_{line}\n")), "{line} is not in {text}");
    }
}

#[tokio::test]
async fn our_filter_is_served_as_without_a_policy() {
    let running = serve(|_| (), Sure, 8).await;
    let answers = exchange(running.client, vec![body(PROMPT)]).await.unwrap();
    let names: Vec<_> = set_headers(&answers[0]).into_keys().collect();
    assert!(names.contains(&"x-llm-safety".to_owned()) && !names.contains(&"x-llm-cluster".to_owned()));
    assert_eq!(body_answer(&answers[0]).body_mutation, None);
}

#[tokio::test]
async fn a_client_that_resets_its_stream_is_not_classified() {
    let (backend, has_begun, open) = gated();
    let running = serve(|_| (), backend, 8).await;
    let first = tokio::spawn(exchange(running.client.clone(), prompt(PROMPT)));
    let has_begun = begun(has_begun).await;
    let leaving = tokio::spawn(exchange(running.client.clone(), prompt(PROMPT)));
    metric(&running.metrics, "queue_depth 1").await;

    leaving.abort();
    metric(&running.metrics, "requests_total{outcome=\"cancelled\"} 1").await;
    open.send(()).unwrap();
    assert!(first.await.unwrap().is_ok());
    metric(&running.metrics, "queue_depth 0").await;
    assert!(has_begun.try_recv().is_err(), "the text of the client that left was classified");
}
