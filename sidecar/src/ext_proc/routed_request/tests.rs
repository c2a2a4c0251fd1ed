use llm_router_proto::envoy::config::core::v3::{HeaderMap, HeaderValue};
use llm_router_proto::envoy::service::ext_proc::v3::{
    BodyResponse, CommonResponse, HeaderMutation, HeadersResponse, ImmediateResponse,
    body_mutation::Mutation, processing_mode::BodySendMode, processing_response::Response,
};
use llm_router_proto::structs::{as_string, as_struct};
use serde_json::{Value, json};

use super::super::flow::{Next, RequestFlow};
use super::super::mode::{BodyModes, RequestMode};
use super::*;

const BODY: &str = r#"{"model": "big", "messages": [{"role": "user", "content": "Hi"}]}"#;
const REWRITTEN: &str = r#"{"model": "vendor/big", "messages": [{"role": "user", "content": "Hi"}]}"#;

fn config(mode: &str) -> Config {
    let config = json!({
        "sidecar": {"cluster": "c"}, "cluster_header": "x-target", "default_policy": "p", "mode": mode,
        "limits": {"max_body": "1KiB"},
        "models": {"big": {"cluster": "big-cluster", "model": "vendor/big"}},
        "policies": {"p": {"classifier": "task", "routes": {}, "default": "big"}},
    });
    Config::from_json(config.to_string().as_bytes()).unwrap()
}

struct Run {
    request: RoutedRequest,
    flow: RequestFlow,
    metrics: Arc<Metrics>,
}

impl Run {
    fn new(mode: &str) -> Self {
        Self::in_body_mode(mode, RequestMode::Buffered)
    }

    fn in_body_mode(mode: &str, request: RequestMode) -> Self {
        let metrics = Arc::new(Metrics::new());
        let router = Arc::new(PolicyRouter::new(config(mode)));
        let flow = RequestFlow::new(BodyModes { request, response: BodySendMode::None });
        Self { request: RoutedRequest::new(router, Arc::clone(&metrics)), flow, metrics }
    }

    fn begin(&mut self, headers: &[(&str, &str)]) -> Vec<ProcessingResponse> {
        let (request, metadata) = self.request.request_headers(message(headers), RequestContext::default());
        self.flow.headers(request, metadata)
    }

    fn headers(&mut self, more: &[(&str, &str)]) -> ProcessingResponse {
        let all = [(":method", "POST"), (":path", "/v1/chat/completions")];
        self.begin(&[&all[..], more].concat()).remove(0)
    }

    fn body(&mut self, body: &str) -> ProcessingResponse {
        self.chunk(body, true).remove(0)
    }

    /// There is no service here, so the request must not need a classifier.
    fn chunk(&mut self, chunk: &str, is_end: bool) -> Vec<ProcessingResponse> {
        match self.flow.chunk(chunk.to_owned().into(), is_end) {
            Next::Answer(answers) => answers,
            Next::Check(length) => match self.request.request_progress(length) {
                Some(decision) => self.flow.decided(decision, None),
                None => Vec::new(),
            },
            Next::Decide(body) => {
                let mut recorder = Recorder::new(&self.request.router, &self.request.metrics);
                let now = self.request.router.now();
                let action = self.request.exchange.request_body(&body, now, &mut recorder);
                assert!(!matches!(action, OnBody::Classify), "needs a classifier");
                let decision =
                    Decision { verdict: verdict(action, &body, &[]), metadata: recorder.metadata.take() };
                self.flow.decided(decision, Some(body))
            }
            Next::Missed(_) => panic!("the body was missed"),
        }
    }

    #[track_caller]
    fn assert_counted(&self, line: &str) {
        let text = self.metrics.encode();
        assert!(text.contains(&format!("llm_router_{line}")), "{line} is not in {text}");
    }
}

fn message(headers: &[(&str, &str)]) -> HttpHeaders {
    let header = |(key, value): &(&str, &str)| HeaderValue {
        key: (*key).to_owned(),
        raw_value: value.as_bytes().to_vec(),
        ..HeaderValue::default()
    };
    let headers = Some(HeaderMap { headers: headers.iter().map(header).collect() });
    HttpHeaders { headers, end_of_stream: false }
}

/// The fields of the decision, for access logs.
fn recorded(answer: &ProcessingResponse) -> Vec<(&str, &str)> {
    let ours = as_struct(&answer.dynamic_metadata.as_ref().unwrap().fields["llm_router"]).unwrap();
    let decision = as_struct(&ours.fields["decision"]).unwrap().fields.iter();
    decision.map(|(name, value)| (name.as_str(), as_string(value).unwrap())).collect()
}

fn removed(answer: &ProcessingResponse) -> Vec<&str> {
    match &answer.response {
        Some(Response::RequestHeaders(HeadersResponse { response })) => {
            let mutation = response.as_ref().and_then(|common| common.header_mutation.as_ref());
            mutation.iter().flat_map(|it| &it.remove_headers).map(String::as_str).collect()
        }
        other => panic!("{other:?}"),
    }
}

fn immediate(answer: &ProcessingResponse) -> &ImmediateResponse {
    match &answer.response {
        Some(Response::ImmediateResponse(immediate)) => immediate,
        other => panic!("{other:?}"),
    }
}

fn common(answer: &ProcessingResponse) -> &CommonResponse {
    match &answer.response {
        Some(
            Response::RequestBody(BodyResponse { response })
            | Response::ResponseHeaders(HeadersResponse { response }),
        ) => response.as_ref().unwrap(),
        other => panic!("{other:?}"),
    }
}

fn set(mutation: Option<&HeaderMutation>) -> Vec<(&str, &str)> {
    let headers = mutation.unwrap().set_headers.iter().filter_map(|option| option.header.as_ref());
    headers.map(|it| (it.key.as_str(), std::str::from_utf8(&it.raw_value).unwrap())).collect()
}

fn status(answer: &ProcessingResponse) -> u32 {
    immediate(answer).status.as_ref().unwrap().code
}

#[test]
fn the_routers_own_headers_are_removed() {
    let own = [("x-llm-task", "a"), ("x-target", "b"), ("x-llm-policy", "p"), ("x-request-id", "c")];
    for mode in ["enforce", "shadow"] {
        assert_eq!(removed(&Run::new(mode).headers(&own)), ["x-llm-task", "x-target", "x-llm-policy"]);
    }
}

#[test]
fn envoy_does_not_hold_back_a_request_that_is_not_routed() {
    let mut run = Run::new("enforce");
    let answer = run.begin(&[(":method", "POST"), (":path", "/v1/audio/transcriptions")]).remove(0);
    let mode = answer.mode_override.unwrap();
    assert_eq!(
        (mode.request_body_mode(), mode.response_body_mode()),
        (BodySendMode::None, BodySendMode::None)
    );
    assert_eq!(Run::new("enforce").headers(&[]).mode_override, None, "a routed one");
}

#[test]
fn the_list_of_models_is_an_immediate_response() {
    let mut run = Run::new("enforce");
    let answer = run.begin(&[(":method", "GET"), (":path", "/v1/models")]).remove(0);
    assert_eq!(status(&answer), 200);
    assert_eq!(set(immediate(&answer).headers.as_ref()), [("content-type", "application/json")]);
    let list: Value = serde_json::from_slice(&immediate(&answer).body).unwrap();
    assert_eq!(list["data"][0]["id"], "auto");
}

#[test]
fn a_decision_is_one_response_with_headers_and_body_and_is_recorded_and_counted() {
    let mut run = Run::new("enforce");
    run.headers(&[("content-length", "67")]);
    let answer = run.body(BODY);
    let length = REWRITTEN.len().to_string();
    let expected = [("x-target", "big-cluster"), ("content-length", length.as_str())];
    assert_eq!(set(common(&answer).header_mutation.as_ref()), expected);
    let body = common(&answer).body_mutation.as_ref().and_then(|it| it.mutation.as_ref());
    assert_eq!(body, Some(&Mutation::Body(REWRITTEN.into())));
    assert!(common(&answer).clear_route_cache);
    assert_eq!(recorded(&answer), [("model", "big"), ("reason", "manual")]);
    let explained = run.request.response_headers(HttpHeaders::default());
    let expected = [("x-llm-router-model", "big"), ("x-llm-router-reason", "manual")];
    assert_eq!(set(common(&explained).header_mutation.as_ref()), expected);
    run.assert_counted(r#"requests_total{llm_policy="none",llm_model="big",llm_reason="manual"} 1"#);
}

#[test]
fn in_shadow_mode_a_decision_is_only_recorded_and_counted() {
    let mut run = Run::new("shadow");
    run.headers(&[]);
    let answer = run.body(BODY);
    assert_eq!(answer.response, answer::unchanged().response);
    assert_eq!(recorded(&answer), [("model", "big"), ("reason", "shadow")]);
    run.assert_counted(r#"requests_total{llm_policy="none",llm_model="big",llm_reason="shadow"} 1"#);
}

#[test]
fn a_rejection_has_openais_shape_and_is_recorded_and_counted() {
    let mut run = Run::new("enforce");
    let answer = run.headers(&[("content-length", "1025")]);
    assert_eq!((status(&answer), immediate(&answer).details.as_str()), (413, "request_too_large"));
    let body: Value = serde_json::from_slice(&immediate(&answer).body).unwrap();
    assert_eq!(body["error"]["code"], "request_too_large");
    assert_eq!(recorded(&answer), [("rejected", "request_too_large")]);
    run.assert_counted(r#"rejected_total{code="request_too_large"} 1"#);

    let mut run = Run::new("shadow");
    run.headers(&[]);
    let answer = run.body("not JSON");
    assert_eq!(answer.response, answer::unchanged().response);
    assert_eq!(recorded(&answer), [("rejected", "invalid_request")]);
    run.assert_counted(r#"rejected_total{code="invalid_request"} 1"#);
}

#[test]
fn usage_is_counted_whenever_the_stream_ends() {
    let mut run = Run::new("enforce");
    run.headers(&[]);
    run.body(BODY);
    run.request.response_headers(message(&[("content-type", "application/json")]));
    let usage = br#"{"usage": {"prompt_tokens": 12, "completion_tokens": 3}}"#;
    run.request.response_body(&HttpBody { body: usage.as_slice().into(), end_of_stream: false });
    let Run { request, metrics, .. } = run;
    drop(request);
    let text = metrics.encode();
    assert!(text.contains(r#"llm_router_input_tokens_total{llm_model="big"} 12"#), "{text}");
}

/// Envoy's limit is above the policy's, so a body that Envoy cuts off is too long for the policy.
#[test]
fn a_body_whose_end_envoy_does_not_announce_is_decided_only_if_it_is_json_within_the_limit() {
    let padded = |length| format!("{BODY}{}", " ".repeat(length - BODY.len()));
    for (body, rejected) in
        [(padded(1024), None), (padded(1025), Some(413)), (format!("{BODY}{BODY}"), Some(400))]
    {
        let mut run = Run::in_body_mode("enforce", RequestMode::OnDemand);
        run.headers(&[]);
        let answer = run.chunk(&body, false).remove(0);
        match rejected {
            Some(expected) => assert_eq!(status(&answer), expected, "{body}"),
            None => assert!(common(&answer).body_mutation.is_some()),
        }
    }
}

/// The decision and the forwarded bytes are those of a buffered body, regardless of the chunks.
#[test]
fn a_streamed_body_is_decided_as_a_buffered_one() {
    let wrong = r#"{"model": "big", "messages": 5}"#;
    let long = BODY.replace("Hi", &"Hi".repeat(600));
    let bodies = [BODY, wrong, &long, "not JSON", "", "{"];
    for (policy_mode, body) in
        ["enforce", "shadow"].into_iter().flat_map(|mode| bodies.map(|body| (mode, body)))
    {
        let mut run = Run::new(policy_mode);
        run.headers(&[]);
        let buffered = run.body(body);
        for length in 1..=body.len().clamp(1, 40) {
            let mut run = Run::in_body_mode(policy_mode, RequestMode::Duplex);
            assert_eq!(run.begin(&[(":method", "POST"), (":path", "/v1/chat/completions")]), []);
            let mut answers = Vec::new();
            let mut rest = body;
            while !rest.is_empty() || answers.is_empty() && body.is_empty() {
                let (chunk, others) = rest.split_at(length.min(rest.len()));
                rest = others;
                answers.extend(run.chunk(chunk, rest.is_empty()));
            }
            let first = answers.first().unwrap();
            assert_eq!(first.dynamic_metadata, buffered.dynamic_metadata, "{body}");
            match (&first.response, &buffered.response) {
                (Some(Response::RequestHeaders(streamed)), Some(Response::RequestBody(buffered))) => {
                    let buffered = buffered.response.as_ref().unwrap();
                    let streamed = streamed.response.clone().unwrap_or_default();
                    let set = |common: &CommonResponse| {
                        common.header_mutation.clone().unwrap_or_default().set_headers
                    };
                    assert_eq!(set(&streamed), set(buffered), "{body}");
                    let expected = match buffered.body_mutation.as_ref().and_then(|it| it.mutation.as_ref()) {
                        Some(Mutation::Body(body)) => body.clone(),
                        _ => body.as_bytes().to_vec(),
                    };
                    assert_eq!(streamed_body(&answers[1..]), expected);
                }
                (streamed, buffered) => assert_eq!(streamed, buffered, "{body}"),
            }
        }
    }
}

fn streamed_body(answers: &[ProcessingResponse]) -> Vec<u8> {
    let mut body = Vec::new();
    for answer in answers {
        match common(answer).body_mutation.as_ref().unwrap().mutation.as_ref().unwrap() {
            Mutation::StreamedResponse(streamed) => body.extend_from_slice(&streamed.body),
            other => panic!("{other:?}"),
        }
    }
    body
}
