//! A provider of chat completions whose replies a test chooses.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::sync::watch;

/// Far longer than anything that a test waits for.
const PATIENCE: Duration = Duration::from_secs(60);

/// Tokens of each prompt and each completion, as the provider reports them.
pub(crate) const TOKENS: u64 = 10;

/// A request as the provider received it.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    pub(crate) model: String,
    /// The text of the last message.
    pub(crate) prompt: String,
    pub(crate) body: Value,
    pub(crate) key: Option<String>,
    pub(crate) path: String,
    /// How often this model got these messages before.
    pub(crate) earlier: usize,
}

/// What the provider does with a request.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// A completion.
    Text(String),
    /// Another response.
    Response { status: u16, headers: Vec<(&'static str, String)>, body: Value },
    /// A completion that is held until the test releases it.
    Held(String),
}

impl Reply {
    pub(crate) fn text(text: &str) -> Self {
        Self::Text(text.to_owned())
    }

    pub(crate) fn error(status: u16, code: &str) -> Self {
        let body = json!({ "error": { "message": format!("this is {code}"), "code": code } });
        Self::Response { status, headers: Vec::new(), body }
    }

    pub(crate) fn with_header(self, name: &'static str, value: &str) -> Self {
        match self {
            Self::Text(text) | Self::Held(text) => {
                let headers = vec![(name, value.to_owned())];
                Self::Response { status: 200, headers, body: completion(&text) }
            }
            Self::Response { status, mut headers, body } => {
                headers.push((name, value.to_owned()));
                Self::Response { status, headers, body }
            }
        }
    }
}

type Behaviour = Box<dyn Fn(&Received) -> Reply + Send + Sync>;

struct Shared {
    behaviour: Behaviour,
    log: Mutex<Vec<Received>>,
    arrived: Condvar,
    open: watch::Sender<bool>,
}

/// A provider on its own port, until it is dropped.
pub(crate) struct MockProvider {
    address: String,
    shared: Arc<Shared>,
    _runtime: tokio::runtime::Runtime,
}

impl MockProvider {
    /// A provider that replies like this.
    pub(crate) fn start(behaviour: impl Fn(&Received) -> Reply + Send + Sync + 'static) -> Self {
        let open = watch::Sender::new(false);
        let shared = Arc::new(Shared {
            behaviour: Box::new(behaviour),
            log: Mutex::default(),
            arrived: Condvar::new(),
            open,
        });
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let app = Router::new().fallback(respond).with_state(Arc::clone(&shared));
        runtime.spawn(async move { axum::serve(listener, app).await });
        Self { address, shared, _runtime: runtime }
    }

    /// The base URL.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// All requests so far.
    pub(crate) fn received(&self) -> Vec<Received> {
        self.shared.log.lock().unwrap().clone()
    }

    /// How many requests there were.
    pub(crate) fn count(&self) -> usize {
        self.shared.log.lock().unwrap().len()
    }

    /// How often each model got each prompt.
    pub(crate) fn counts(&self) -> HashMap<(String, String), usize> {
        let mut counts = HashMap::new();
        for Received { model, prompt, .. } in self.received() {
            *counts.entry((model, prompt)).or_default() += 1;
        }
        counts
    }

    /// Waits for this number of requests.
    pub(crate) fn wait_for(&self, count: usize) {
        let log = self.shared.log.lock().unwrap();
        let (log, result) =
            self.shared.arrived.wait_timeout_while(log, PATIENCE, |log| log.len() < count).unwrap();
        assert!(!result.timed_out(), "{} of {count} requests", log.len());
    }

    /// Releases the held completions, and all further ones.
    pub(crate) fn open(&self) {
        self.shared.open.send_replace(true);
    }
}

async fn respond(State(shared): State<Arc<Shared>>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let body: Value = serde_json::from_slice(&body).unwrap();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let reply = {
        let mut log = shared.log.lock().unwrap();
        let earlier = log
            .iter()
            .filter(|one| one.body["messages"] == body["messages"] && one.body["model"] == body["model"])
            .count();
        let received = Received {
            model: text(&body["model"]),
            prompt: body["messages"]
                .as_array()
                .map_or_else(String::new, |all| text(&all[all.len() - 1]["content"])),
            key: headers.get("authorization").map(|key| key.to_str().unwrap().to_owned()),
            path: uri.path().to_owned(),
            earlier,
            body,
        };
        log.push(received.clone());
        (shared.behaviour)(&received)
    };
    shared.arrived.notify_all();
    match reply {
        Reply::Text(text) => completion(&text).to_string().into_response(),
        Reply::Held(text) => {
            let _ = shared.open.subscribe().wait_for(|open| *open).await;
            completion(&text).to_string().into_response()
        }
        Reply::Response { status, headers, body } => {
            let mut response = (StatusCode::from_u16(status).unwrap(), body.to_string()).into_response();
            for (name, value) in headers {
                let value = HeaderValue::from_str(&value).unwrap();
                response.headers_mut().insert(HeaderName::from_static(name), value);
            }
            response
        }
    }
}

fn completion(text: &str) -> Value {
    json!({
        "choices": [{ "index": 0, "message": { "role": "assistant", "content": text }, "finish_reason": "stop" }],
        "usage": { "prompt_tokens": TOKENS, "completion_tokens": TOKENS, "total_tokens": 2 * TOKENS },
    })
}
