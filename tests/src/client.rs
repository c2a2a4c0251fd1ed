//! An HTTP client that frames a request as a test wants it: by length, in chunks, with trailers, over HTTP/2.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::{Bytes, BytesMut};
use futures_util::stream;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{HOST, HeaderMap, HeaderName, HeaderValue, TRAILER};
use hyper::{Method, StatusCode, Uri};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::PATIENCE;
use crate::stand_in::TEST_ID;

/// The body of a chat completion request.
#[must_use]
pub fn chat(model: &str, prompt: &str) -> Value {
    json!({ "model": model, "messages": [{ "role": "user", "content": prompt }] })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Http1,
    Http2,
}

/// A request to be sent.
#[derive(Debug, Clone)]
#[must_use]
pub struct Request {
    id: String,
    method: Method,
    path: String,
    headers: HeaderMap,
    body: Bytes,
    piece_bytes: Option<usize>,
    trailers: HeaderMap,
    protocol: Protocol,
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
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let id = format!("test-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        Self {
            headers: HeaderMap::new(),
            method,
            path: path.to_owned(),
            body: body.into(),
            piece_bytes: None,
            trailers: HeaderMap::new(),
            protocol: Protocol::Http1,
            id: id.clone(),
        }
        .header(TEST_ID, &id)
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

    /// Names this request among those that the LLMs received.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Sends the request and reads the whole answer.
    pub async fn send(self, to: SocketAddr) -> Answer {
        self.open(to).await.read().await
    }

    /// Sends the request and reads the head of the answer.
    pub async fn open(self, to: SocketAddr) -> OpenAnswer {
        let id = self.id.clone();
        let answer = timeout(PATIENCE, self.exchange(to)).await.expect("an answer within a minute");
        let (head, body) = answer.expect("an HTTP answer").into_parts();
        OpenAnswer { id, status: head.status, headers: head.headers, body, unread: BytesMut::new() }
    }

    /// Sends the request, and ends with an error if there is no answer that HTTP allows.
    ///
    /// # Errors
    /// Why there was none: nobody listens, the connection broke.
    pub async fn exchange(
        self,
        to: SocketAddr,
    ) -> Result<hyper::Response<Incoming>, Box<dyn std::error::Error + Send + Sync>> {
        let io = TokioIo::new(TcpStream::connect(to).await?);
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

/// An answer, of which the head has arrived.
#[derive(Debug)]
pub struct OpenAnswer {
    id: String,
    /// The answer's status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    body: Incoming,
    unread: BytesMut,
}

impl OpenAnswer {
    /// The next server-sent event's data, or `None` at the end.
    pub async fn next_event(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.unread.windows(2).position(|it| it == b"\n\n") {
                let event = self.unread.split_to(end + 2);
                let event = std::str::from_utf8(&event).expect("events are UTF-8");
                let data = event.lines().find_map(|line| line.strip_prefix("data: "));
                return Some(data.expect("an event's data").to_owned());
            }
            let frame = timeout(PATIENCE, self.body.frame()).await.expect("an event within a minute")?;
            if let Ok(data) = frame.expect("a whole answer").into_data() {
                self.unread.extend_from_slice(&data);
            }
        }
    }

    async fn read(self) -> Answer {
        let body = timeout(PATIENCE, self.body.collect()).await.expect("an answer within a minute");
        let body = body.expect("a whole answer").to_bytes();
        Answer { id: self.id, status: self.status, headers: self.headers, body }
    }
}

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    /// The request's test id.
    pub id: String,
    /// The answer's status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

impl Answer {
    /// A header's value; empty if there is no such header.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("a header of ASCII"))
    }

    /// The body as JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.body)))
    }
}

fn name_of(header: &str) -> HeaderName {
    HeaderName::from_bytes(header.as_bytes()).expect("a header's name")
}
