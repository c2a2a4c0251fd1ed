//! Calls as our filter and as Envoy's own filter make them.

use futures_channel::mpsc::{UnboundedSender, unbounded};
use llm_router_proto::envoy::config::core::v3::{HeaderMap, HeaderValue};
use llm_router_proto::envoy::service::ext_proc::v3::{
    HttpBody, HttpHeaders, ProcessingRequest, ProcessingResponse,
    external_processor_client::ExternalProcessorClient, processing_request::Request,
    processing_response::Response,
};
use llm_router_test_support::time::{TIMEOUT, within};
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

/// The header that has the label.
pub(crate) const LABEL: &str = "x-llm-task";
pub(crate) const PROMPT: &str = "Write a Python function that merges two sorted lists into one.";

/// A request of Envoy's own filter that has the response to its headers, and whose body is not sent yet.
pub(crate) struct Open {
    messages: UnboundedSender<ProcessingRequest>,
    answers: Streaming<ProcessingResponse>,
}

impl Open {
    pub(crate) async fn begin(mut client: ExternalProcessorClient<Channel>) -> Self {
        let (messages, stream) = unbounded();
        messages.unbounded_send(headers()).unwrap();
        let answered = async {
            let mut answers = client.process(stream).await.unwrap().into_inner();
            answers.message().await.unwrap().unwrap();
            answers
        };
        let answers = within(TIMEOUT, answered).await;
        Self { messages, answers }
    }

    /// The headers that the response to the body sets.
    pub(crate) async fn send_body(&mut self) -> Vec<(String, String)> {
        self.try_body().await.unwrap()
    }

    /// The same headers, or the status if the call failed.
    pub(crate) async fn try_body(&mut self) -> Result<Vec<(String, String)>, Code> {
        self.messages.unbounded_send(body()).unwrap();
        let answer = within(TIMEOUT, self.answers.message()).await;
        answer.map_err(|status| status.code())?.map(set_headers).ok_or(Code::Unavailable)
    }
}

fn body() -> ProcessingRequest {
    let body = format!(r#"{{"model": "auto", "messages": [{{"role": "user", "content": "{PROMPT}"}}]}}"#);
    message(Request::RequestBody(HttpBody { body: body.into(), end_of_stream: true }))
}

fn headers() -> ProcessingRequest {
    let header = |(key, value): (&str, &str)| HeaderValue {
        key: key.to_owned(),
        raw_value: value.as_bytes().to_vec(),
        ..HeaderValue::default()
    };
    let headers = [(":method", "POST"), (":path", "/v1/chat/completions")].map(header).into();
    message(Request::RequestHeaders(HttpHeaders {
        headers: Some(HeaderMap { headers }),
        end_of_stream: false,
    }))
}

fn message(request: Request) -> ProcessingRequest {
    ProcessingRequest { request: Some(request), ..ProcessingRequest::default() }
}

/// The headers that the responses to a body set, if our filter sends it.
pub(crate) async fn classify(
    client: ExternalProcessorClient<Channel>,
) -> Result<Vec<(String, String)>, Status> {
    call(client, vec![body()], "").await
}

/// The same, with the W3C trace context of the caller.
pub(crate) async fn classify_traced(
    client: ExternalProcessorClient<Channel>,
    traceparent: &str,
) -> Result<Vec<(String, String)>, Status> {
    call(client, vec![body()], traceparent).await
}

/// The headers that the responses to headers and a body set, if Envoy's filter sends them.
pub(crate) async fn route(client: ExternalProcessorClient<Channel>) -> Result<Vec<(String, String)>, Status> {
    call(client, vec![headers(), body()], "").await
}

async fn call(
    mut client: ExternalProcessorClient<Channel>,
    messages: Vec<ProcessingRequest>,
    traceparent: &str,
) -> Result<Vec<(String, String)>, Status> {
    let mut request = tonic::Request::new(futures_util::stream::iter(messages));
    if !traceparent.is_empty() {
        request.metadata_mut().insert("traceparent", traceparent.parse().unwrap());
    }
    let answered = async {
        let mut answers = client.process(request).await?.into_inner();
        let mut set = Vec::new();
        while let Some(answer) = answers.message().await? {
            set.extend(set_headers(answer));
        }
        Ok(set)
    };
    within(TIMEOUT, answered).await
}

fn set_headers(answer: ProcessingResponse) -> Vec<(String, String)> {
    let Some(Response::RequestBody(body)) = answer.response else { return Vec::new() };
    let mutation = body.response.and_then(|common| common.header_mutation).unwrap_or_default();
    let headers = mutation.set_headers.into_iter().filter_map(|option| option.header);
    headers.map(|header| (header.key, String::from_utf8(header.raw_value).unwrap())).collect()
}
