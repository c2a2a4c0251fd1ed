//! An HTTP server that sends responses as a test writes them, byte by byte, also those that no library would
//! send.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A request as the server got it.
pub(crate) struct Request {
    /// From 0, over all connections.
    pub(crate) number: usize,
    /// Request line and headers, in lower case.
    pub(crate) head: String,
    /// The last message's text.
    pub(crate) prompt: String,
}

/// What the server does about a request.
pub(crate) enum Reply {
    /// Sends this, and waits for the next request of the connection.
    Send(String),
    /// Sends this, and closes the connection.
    SendAndClose(String),
    /// Sends this once the server has received a number of requests in all.
    SendAfter(usize, String),
    /// Sends this, closes the connection, and accepts no further ones.
    SendAndEnd(String),
    /// Sends the first, and then the second until the client leaves.
    SendEndlessly(String, String),
    /// Keeps the connection, and sends nothing.
    Nothing,
}

/// A running server. It ends when it is dropped.
pub(crate) struct ScriptedApi {
    pub(crate) address: SocketAddr,
    received: watch::Receiver<usize>,
    server: JoinHandle<()>,
}

impl Drop for ScriptedApi {
    fn drop(&mut self) {
        self.server.abort();
    }
}

struct Server<S> {
    script: S,
    next: AtomicUsize,
    received: watch::Sender<usize>,
}

impl ScriptedApi {
    pub(crate) async fn start(script: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, received) = watch::channel(0);
        let server = Arc::new(Server { script, next: AtomicUsize::new(0), received: sender });
        let server = tokio::spawn(async move {
            let (end, mut ended) = watch::channel(());
            loop {
                tokio::select! {
                    accepted = listener.accept() => {
                        let (server, end) = (Arc::clone(&server), end.clone());
                        tokio::spawn(async move { server.serve(accepted.unwrap().0, end).await });
                    }
                    _ = ended.changed() => break,
                }
            }
            drop(listener);
            drop(ended);
        });
        Self { address, received, server }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// Waits until this many requests have arrived.
    pub(crate) async fn received(&mut self, requests: usize) {
        self.received.wait_for(|received| *received >= requests).await.unwrap();
    }
}

impl<S: Fn(&Request) -> Reply> Server<S> {
    async fn serve(&self, stream: TcpStream, end: watch::Sender<()>) {
        let mut stream = BufReader::new(stream);
        while let Some((head, body)) = read(&mut stream).await {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let body: Value = serde_json::from_slice(&body).unwrap_or_default();
            let message = body["messages"].as_array().and_then(|messages| messages.last());
            let prompt = message.and_then(|it| it["content"].as_str()).unwrap_or_default().to_owned();
            self.received.send_modify(|received| *received += 1);
            let (text, is_last) = match (self.script)(&Request { number, head, prompt }) {
                Reply::Send(text) => (text, false),
                Reply::SendAndClose(text) => (text, true),
                Reply::SendAfter(requests, text) => {
                    self.received.subscribe().wait_for(|received| *received >= requests).await.unwrap();
                    (text, false)
                }
                Reply::SendAndEnd(text) => {
                    end.send_replace(());
                    // The receiver is dropped after the listener.
                    end.closed().await;
                    (text, true)
                }
                Reply::SendEndlessly(mut text, again) => {
                    while stream.write_all(text.as_bytes()).await.is_ok() {
                        text.clone_from(&again);
                    }
                    return;
                }
                Reply::Nothing => {
                    // Until the client leaves.
                    let _ = stream.read(&mut [0]).await;
                    return;
                }
            };
            // Fails if the client has disconnected, which is no error of the server.
            if stream.write_all(text.as_bytes()).await.is_err() || is_last {
                return;
            }
        }
    }
}

/// The next request's head and body; none at the end of the connection.
async fn read(stream: &mut BufReader<TcpStream>) -> Option<(String, Vec<u8>)> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).await.ok()? == 0 {
            return None;
        }
    }
    let head = head.to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).await.ok()?;
    Some((head, body))
}

/// A response with a body of known length.
pub(crate) fn response(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n{body}", body.len())
}

/// A chat completion, with these further headers, each with its line end.
pub(crate) fn completion(headers: &str) -> String {
    response("200 OK", headers, r#"{"choices": [{"message": {"content": "Hi"}}]}"#)
}

/// A response that is a stream of events with these data.
pub(crate) fn stream(data: &[&str]) -> String {
    let events: String = data.iter().map(|data| format!("data: {data}\n\n")).collect();
    response("200 OK", "content-type: text/event-stream\r\n", &events)
}
