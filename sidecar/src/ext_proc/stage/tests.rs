use llm_router_proto::Kind;
use llm_router_proto::envoy::config::core::v3::{HeaderMap, HeaderValue};
use llm_router_proto::envoy::service::ext_proc::v3::{
    BodyResponse, CommonResponse, HeaderMutation, HeadersResponse, ImmediateResponse,
    body_mutation::Mutation, processing_response::Response,
};
use llm_router_routing::rejection::Rejection;
use llm_router_routing::request::Request;
use llm_router_routing::router::{Plan, Router};
use serde_json::{Value, json};

use super::*;

const BODY: &str = r#"{"model": "big", "messages": [{"role": "user", "content": "Hi"}]}"#;
const REWRITTEN: &str = r#"{"model": "vendor/big", "messages": [{"role": "user", "content": "Hi"}]}"#;

fn config(change: impl FnOnce(&mut Value)) -> Config {
    let mut config = json!({
        "sidecar": {"cluster": "c"}, "cluster_header": "x-target", "default_policy": "p",
        "limits": {"max_body": "1KiB"},
        "models": {"big": {"cluster": "big-cluster", "model": "vendor/big"}},
        "policies": {"p": {"classifier": "task", "routes": {}, "default": "big"}},
    });
    change(&mut config);
    Config::from_json(config.to_string().as_bytes()).unwrap()
}

fn enforce() -> Config {
    config(|_| {})
}

fn shadow() -> Config {
    config(|it| it["mode"] = json!("shadow"))
}

fn message(headers: &[(&str, &str)]) -> HttpHeaders {
    let header = |(key, value): &(&str, &str)| HeaderValue {
        key: (*key).to_owned(),
        raw_value: value.as_bytes().to_vec(),
        ..HeaderValue::default()
    };
    let headers = HeaderMap { headers: headers.iter().map(header).collect() };
    HttpHeaders { headers: Some(headers), end_of_stream: false }
}

fn chat(more: &[(&str, &str)]) -> HttpHeaders {
    message(&[&[(":method", "POST"), (":path", "/team/v1/chat/completions?x=1")], more].concat())
}

fn begin(config: &Config, message: HttpHeaders) -> (Stage, ProcessingResponse) {
    Stage::begin(config, message, &metrics())
}

/// What becomes of [`BODY`], which names its model.
fn manual(config: &Config, metrics: &Arc<Metrics>) -> (Stage, ProcessingResponse) {
    let (Stage::Reading(head), _) = begin(config, chat(&[("content-length", "67")])) else {
        panic!("not read")
    };
    let request = Request::parse(head.endpoint, BODY.as_bytes()).unwrap();
    let client = Client { path: &head.path, headers: &head.headers };
    let Ok(Plan::Route(decision)) = Router::new(config.clone()).plan(&request, &client) else {
        panic!("not routed")
    };
    let decided = Ok(Some((decision, request.into_rewrite())));
    let outcome = Outcome::of(config, &head, BODY.as_bytes(), decided);
    Stage::carry_out(config, outcome, &[], answer::unchanged(), metrics)
}

fn metrics() -> Arc<Metrics> {
    Arc::new(Metrics::new())
}

#[track_caller]
fn assert_has(metrics: &Metrics, line: &str) {
    let text = metrics.encode();
    assert!(text.contains(&format!("llmrouter_{line}")), "{line} is not in {text}");
}

/// What access logs are told of the decision.
fn told(answer: &ProcessingResponse) -> Vec<(&str, &str)> {
    let ours = &answer.dynamic_metadata.as_ref().unwrap().fields["llm_router"];
    let Some(Kind::StructValue(ours)) = &ours.kind else { panic!("{ours:?}") };
    let Some(Kind::StructValue(decision)) = &ours.fields["decision"].kind else { panic!("{ours:?}") };
    let fields = decision.fields.iter().map(|(name, value)| match &value.kind {
        Some(Kind::StringValue(text)) => (name.as_str(), text.as_str()),
        other => panic!("{other:?}"),
    });
    fields.collect()
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
fn the_routers_own_headers_are_removed_on_every_path() {
    let own = [("x-llm-task", "a"), ("x-target", "b"), ("x-llm-policy", "p"), ("x-request-id", "c")];
    for config in [enforce(), shadow()] {
        for message in [chat(&own), message(&[&[(":method", "GET"), (":path", "/")], &own[..]].concat())] {
            let (_, answer) = begin(&config, message);
            assert_eq!(removed(&answer), ["x-llm-task", "x-target", "x-llm-policy"]);
        }
    }
}

#[test]
fn what_is_not_a_prompt_is_not_read() {
    let headers_only = HttpHeaders { end_of_stream: true, ..chat(&[]) };
    for message in [
        headers_only,
        message(&[(":method", "GET"), (":path", "/v1/chat/completions")]),
        message(&[(":method", "POST"), (":path", "/v1/files")]),
        HttpHeaders::default(),
    ] {
        let (mut stage, answer) = begin(&enforce(), message);
        assert!(matches!(stage, Stage::Untouched));
        assert!(removed(&answer).is_empty());
        assert_eq!(stage.response_headers(HttpHeaders::default()), answer::explained(Vec::new()));
    }
}

#[test]
fn the_list_of_models_is_answered_but_in_shadow() {
    let models = || message(&[(":method", "GET"), (":path", "/v1/models")]);
    let (_, answer) = begin(&enforce(), models());
    assert_eq!(status(&answer), 200);
    assert_eq!(set(immediate(&answer).headers.as_ref()), [("content-type", "application/json")]);
    let list: Value = serde_json::from_slice(&immediate(&answer).body).unwrap();
    assert_eq!(list["data"][0]["id"], "auto");

    let (_, answer) = begin(&shadow(), models());
    assert!(removed(&answer).is_empty());
}

#[test]
fn what_cannot_be_read_is_refused_before_its_body_comes_but_in_shadow() {
    for (header, code) in [(("content-length", "1025"), 413), (("content-encoding", "gzip"), 415)] {
        let (stage, answer) = begin(&enforce(), chat(&[header]));
        assert_eq!(status(&answer), code);
        assert!(matches!(stage, Stage::Untouched));
        let (stage, answer) = begin(&shadow(), chat(&[header]));
        assert!(removed(&answer).is_empty() && matches!(stage, Stage::Untouched));
    }
    let (stage, _) = begin(&enforce(), chat(&[("content-encoding", "Identity")]));
    assert!(matches!(stage, Stage::Reading(_)));
}

#[test]
fn a_decision_becomes_one_answer_with_headers_and_body_and_is_told_and_counted() {
    let metrics = metrics();
    let (mut stage, answer) = manual(&enforce(), &metrics);
    let length = REWRITTEN.len().to_string();
    let expected = [("x-target", "big-cluster"), ("content-length", length.as_str())];
    assert_eq!(set(common(&answer).header_mutation.as_ref()), expected);
    let body = common(&answer).body_mutation.as_ref().and_then(|it| it.mutation.as_ref());
    assert_eq!(body, Some(&Mutation::Body(REWRITTEN.into())));
    assert!(common(&answer).clear_route_cache);
    assert_eq!(told(&answer), [("model", "big"), ("reason", "manual")]);
    let explained = stage.response_headers(HttpHeaders::default());
    let expected = [("x-llm-router-model", "big"), ("x-llm-router-reason", "manual")];
    assert_eq!(set(common(&explained).header_mutation.as_ref()), expected);
    assert_has(&metrics, r#"requests_total{llm_policy="none",llm_model="big",llm_reason="manual"} 1"#);
}

#[test]
fn in_shadow_a_decision_is_only_told_and_counted() {
    let metrics = metrics();
    let (mut stage, answer) = manual(&shadow(), &metrics);
    assert_eq!(answer.response, answer::unchanged().response);
    assert_eq!(told(&answer), [("model", "big"), ("reason", "shadow")]);
    let explained = stage.response_headers(HttpHeaders::default());
    let expected = [("x-llm-router-model", "big"), ("x-llm-router-reason", "shadow")];
    assert_eq!(set(common(&explained).header_mutation.as_ref()), expected);
    assert_has(&metrics, r#"requests_total{llm_policy="none",llm_model="big",llm_reason="shadow"} 1"#);
}

#[test]
fn a_refusal_is_answered_in_openais_shape_but_in_shadow_and_counted_in_both() {
    let metrics = metrics();
    let refused = |config: &Config| {
        let outcome = Outcome::refused(config, Rejection::classifier_unavailable());
        Stage::carry_out(config, outcome, &[], answer::unchanged(), &metrics)
    };
    let (stage, answer) = refused(&enforce());
    assert_eq!(status(&answer), 503);
    let headers = set(immediate(&answer).headers.as_ref());
    assert_eq!(headers, [("content-type", "application/json"), ("retry-after", "1")]);
    let body: Value = serde_json::from_slice(&immediate(&answer).body).unwrap();
    assert_eq!(body["error"]["code"], "classifier_unavailable");
    assert_eq!(told(&answer), [("refused", "classifier_unavailable")]);
    assert!(matches!(stage, Stage::Untouched));

    let (_, answer) = refused(&shadow());
    assert_eq!(answer.response, answer::unchanged().response);
    assert_eq!(told(&answer), [("refused", "classifier_unavailable")]);
    assert_has(&metrics, r#"refused_total{code="classifier_unavailable"} 2"#);
}
