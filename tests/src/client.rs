//! An HTTP client that frames a request as a test wants it: by length, in chunks, with trailers, over HTTP/2.

use std::convert::Infallible;
use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};
use futures_util::stream;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{HOST, HeaderMap, HeaderName, HeaderValue, TRAILER};
use hyper::{Method, StatusCode, Uri};
use hyper_util::rt::{TokioExecutor, TokioIo};
use llm_router_test_support::mock_llm::{Gate, Received, TEST_ID, TrackedRequest};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::mock_llms::REQUEST_LOG;
use crate::tls::TlsClient;
use crate::{TIMEOUT, within};

/// The body of a chat completion request.
#[must_use]
pub fn chat(model: &str, prompt: &str) -> Value {
    json!({ "model": model, "messages": [{ "role": "user", "content": prompt }] })
}

/// Why there was no response.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Http1,
    Http2,
}

/// A request to be sent. Mock LLMs record it, and keep it for as long as it or its response exists.
#[derive(Debug)]
#[must_use]
pub struct Request {
    tracked: Option<TrackedRequest>,
    method: Method,
    path: String,
    headers: HeaderMap,
    body: Bytes,
    piece_bytes: Option<usize>,
    trailers: HeaderMap,
    protocol: Protocol,
    tls: Option<TlsClient>,
}

/// A clone is another request of the same content: it is tracked by itself.
impl Clone for Request {
    fn clone(&self) -> Self {
        Self {
            tracked: self.tracked.as_ref().map(|_| REQUEST_LOG.track()),
            method: self.method.clone(),
            path: self.path.clone(),
            headers: self.headers.clone(),
            body: self.body.clone(),
            piece_bytes: self.piece_bytes,
            trailers: self.trailers.clone(),
            protocol: self.protocol,
            tls: self.tls.clone(),
        }
    }
}

impl Request {
    /// Asks for a chat completion.
    pub fn chat(body: impl ToString) -> Self {
        Self::post("/v1/chat/completions", body)
    }

    /// Sends JSON to any path.
    pub fn post(path: &str, body: impl ToString) -> Self {
        Self::new(Method::POST, path, body.to_string()).header("content-type", "application/json")
    }

    /// Any request.
    pub fn new(method: Method, path: &str, body: impl Into<Bytes>) -> Self {
        Self {
            tracked: Some(REQUEST_LOG.track()),
            method,
            path: path.to_owned(),
            headers: HeaderMap::new(),
            body: body.into(),
            piece_bytes: None,
            trailers: HeaderMap::new(),
            protocol: Protocol::Http1,
            tls: None,
        }
    }

    /// Leaves no trace in mock LLMs, as one of many.
    pub fn untracked(mut self) -> Self {
        self.tracked = None;
        self
    }

    /// Holds back the stream that responds to the request.
    ///
    /// # Panics
    /// If it is not tracked.
    #[must_use]
    pub fn hold(&self) -> Gate {
        self.tracked.as_ref().expect("a tracked request").hold()
    }

    /// Adds a header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.append(name_of(name), HeaderValue::from_str(value).expect("a header's value"));
        self
    }

    /// Sends the body in pieces of this size, its length not announced.
    pub fn in_pieces(mut self, bytes: usize) -> Self {
        self.piece_bytes = Some(bytes);
        self
    }

    /// Sends a trailer after the body. Needs [`in_pieces`](Self::in_pieces).
    pub fn trailer(mut self, name: &str, value: &str) -> Self {
        self.trailers.append(name_of(name), HeaderValue::from_str(value).expect("a trailer's value"));
        self.header(TRAILER.as_str(), name)
    }

    /// Uses HTTP/2 instead of HTTP/1.1.
    pub fn http2(mut self) -> Self {
        self.protocol = Protocol::Http2;
        self
    }

    /// Uses TLS.
    pub fn tls(mut self, client: TlsClient) -> Self {
        self.tls = Some(client);
        self
    }

    /// Sends the request and reads the whole response.
    pub async fn send(self, to: SocketAddr) -> Response {
        self.open(to).await.read().await
    }

    /// Sends the request and reads the headers of the response.
    ///
    /// # Panics
    /// If no HTTP response comes in time.
    pub async fn open(mut self, to: SocketAddr) -> OpenResponse {
        let tracked = self.tracked.take();
        let sent = self.exchange_as(tracked.as_ref(), to);
        let (head, body) = within(TIMEOUT, sent).await.expect("an HTTP response").into_parts();
        OpenResponse { tracked, status: head.status, headers: head.headers, body, unread: BytesMut::new() }
    }

    /// Sends requests on one HTTP/1.1 connection, one after the other.
    ///
    /// # Panics
    /// If the connection does not stay open, or a response does not come in time.
    pub async fn send_on_one_connection(requests: Vec<Self>, to: SocketAddr) -> Vec<Response> {
        let tcp = TcpStream::connect(to).await.expect("a connection");
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(tcp)).await.expect("a connection");
        tokio::spawn(connection);
        let mut responses = Vec::new();
        for mut request in requests {
            let tracked = request.tracked.take();
            if let Some(tracked) = &tracked {
                request = request.header(TEST_ID, tracked.id());
            }
            within(TIMEOUT, sender.ready()).await.expect("a connection that stays open");
            let sent = sender.send_request(request.into_http());
            let (head, body) = within(TIMEOUT, sent).await.expect("a response").into_parts();
            let open = OpenResponse {
                tracked,
                status: head.status,
                headers: head.headers,
                body,
                unread: BytesMut::new(),
            };
            responses.push(open.read().await);
        }
        responses
    }

    /// Sends the request once.
    ///
    /// # Errors
    /// If there is no HTTP response: nobody listens, or the connection broke.
    pub async fn exchange(self, to: SocketAddr) -> Result<hyper::Response<Incoming>, Error> {
        self.exchange_as(None, to).await
    }

    async fn exchange_as(
        mut self,
        tracked: Option<&TrackedRequest>,
        to: SocketAddr,
    ) -> Result<hyper::Response<Incoming>, Error> {
        if let Some(tracked) = tracked {
            self = self.header(TEST_ID, tracked.id());
        }
        let tcp = TcpStream::connect(to).await?;
        match self.tls.take() {
            Some(tls) => self.exchange_on(tls.connect(tcp).await?).await,
            None => self.exchange_on(tcp).await,
        }
    }

    async fn exchange_on(
        self,
        connection: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ) -> Result<hyper::Response<Incoming>, Error> {
        let io = TokioIo::new(connection);
        let request = self.into_http();
        if request.version() == hyper::Version::HTTP_2 {
            let (mut sender, connection) =
                hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await?;
            tokio::spawn(connection);
            Ok(sender.send_request(request).await?)
        } else {
            let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await?;
            tokio::spawn(connection);
            Ok(sender.send_request(request).await?)
        }
    }

    fn into_http(self) -> hyper::Request<BoxBody<Bytes, Infallible>> {
        let body = match self.piece_bytes {
            None => Full::new(self.body).boxed(),
            Some(bytes) => {
                let data = self.body.chunks(bytes).map(|piece| Frame::data(Bytes::copy_from_slice(piece)));
                let trailers = (!self.trailers.is_empty()).then(|| Frame::trailers(self.trailers));
                let frames: Vec<_> = data.chain(trailers).map(Ok).collect();
                BodyExt::boxed(StreamBody::new(stream::iter(frames)))
            }
        };
        let mut request = hyper::Request::new(body);
        *request.method_mut() = self.method;
        *request.headers_mut() = self.headers;
        let target = match self.protocol {
            Protocol::Http1 => {
                request.headers_mut().insert(HOST, HeaderValue::from_static("gateway"));
                self.path
            }
            Protocol::Http2 => {
                *request.version_mut() = hyper::Version::HTTP_2;
                format!("http://gateway{}", self.path)
            }
        };
        *request.uri_mut() = target.parse::<Uri>().expect("a path");
        request
    }
}

/// A response whose headers have arrived.
#[derive(Debug)]
pub struct OpenResponse {
    tracked: Option<TrackedRequest>,
    /// The response's status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    body: Incoming,
    unread: BytesMut,
}

impl OpenResponse {
    /// The next server-sent event's data, or `None` at the end.
    ///
    /// # Panics
    /// If it does not come in time, or is not an event.
    pub async fn next_event(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.unread.windows(2).position(|it| it == b"\n\n") {
                let event = self.unread.split_to(end + 2);
                let event = std::str::from_utf8(&event).expect("events are UTF-8");
                let data = event.lines().find_map(|line| line.strip_prefix("data: "));
                return Some(data.expect("an event's data").to_owned());
            }
            let frame = within(TIMEOUT, self.body.frame()).await?;
            if let Ok(data) = frame.expect("a whole response").into_data() {
                self.unread.extend_from_slice(&data);
            }
        }
    }

    /// All events that are still to come.
    pub async fn events(mut self) -> Vec<String> {
        let mut events = Vec::new();
        while let Some(event) = self.next_event().await {
            events.push(event);
        }
        events
    }

    async fn read(self) -> Response {
        let body = within(TIMEOUT, self.body.collect()).await.expect("a whole response").to_bytes();
        Response { tracked: self.tracked, status: self.status, headers: self.headers, body }
    }
}

/// A whole response.
#[derive(Debug)]
pub struct Response {
    tracked: Option<TrackedRequest>,
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

impl Response {
    /// A header's value; empty if there is no such header.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("a header of ASCII"))
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// If it is not JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.body)))
    }

    /// The request each time that a mock LLM received it.
    ///
    /// # Panics
    /// If it was not tracked.
    #[must_use]
    pub fn attempts(&self) -> Vec<Received> {
        self.tracked.as_ref().expect("a tracked request").attempts()
    }

    /// The request as the last mock LLM received it.
    ///
    /// # Panics
    /// If none did.
    #[must_use]
    #[track_caller]
    pub fn received(&self) -> Received {
        let last = self.attempts().pop();
        last.unwrap_or_else(|| panic!("no LLM received the request: {self:?}"))
    }

    /// Checks that no mock LLM received the request.
    ///
    /// # Panics
    /// If one did.
    #[track_caller]
    pub fn assert_not_forwarded(&self) {
        let attempts = self.attempts();
        assert!(attempts.is_empty(), "the request went on to {}", attempts[0].cluster);
    }
}

fn name_of(header: &str) -> HeaderName {
    HeaderName::from_bytes(header.as_bytes()).expect("a header's name")
}
