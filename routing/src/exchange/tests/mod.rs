//! Unit tests of the exchange: every phase, every order of events, and a client that leaves in each phase.

mod admission;
mod decisions;
mod leaving;
mod orders;
mod responses;

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::classification::{Classification, Label};
use crate::config::Classifier;
use crate::context::Scalar;
use crate::router::Step;
use crate::usage::Usage;

const NAMED: &str = r#"{"model": "big", "messages": [{"role": "user", "content": "Hi"}]}"#;
const AUTO: &str = r#"{"model": "auto", "messages": [{"role": "user", "content": "Hi"}]}"#;
const REWRITTEN: &str = r#"{"model": "vendor/big", "messages": [{"role": "user", "content": "Hi"}]}"#;
const PATH: &str = "/team/v1/chat/completions?x=1";
const RESPONSE: &[u8] = br#"{"choices": [], "usage": {"prompt_tokens": 12, "completion_tokens": 3}}"#;

/// What was recorded, as short lines; and how often tokens were estimated.
#[derive(Default, Debug)]
struct Log(Vec<String>, usize);

impl EventSink for Log {
    fn record(&mut self, event: Event<'_>) {
        let line = match event {
            Event::Step(Step::Lookup { is_hit: true }) => "cache hit".to_owned(),
            Event::Step(Step::Lookup { is_hit: false }) => "cache miss".to_owned(),
            Event::Step(Step::NoFailover { model, .. }) => format!("no failover {}", model.name),
            Event::Step(_) => return,
            Event::Estimated { .. } => {
                self.1 += 1;
                return;
            }
            Event::Classified { classifiers, answered, took } => {
                let names: Vec<_> = classifiers.iter().map(Classifier::as_str).collect();
                format!("classified {} {answered} {took:?}", names.join("+"))
            }
            Event::Routed(decision) => format!("routed {} {}", decision.model.name, decision.reason),
            Event::Rejected(rejection) => format!("rejected {}", rejection.code()),
            Event::FailedOver { from, decision } => {
                format!("failed over {} {}", from.name, decision.model.name)
            }
            Event::FirstToken { model, after } => format!("first token {} {after:?}", model.name),
            Event::Used { decision, usage: Usage { input_tokens, output_tokens, .. } } => {
                format!("used {} {input_tokens} {output_tokens}", decision.model.name)
            }
        };
        self.0.push(line);
    }
}

impl Log {
    fn count(&self, start: &str) -> usize {
        self.0.iter().filter(|line| line.starts_with(start)).count()
    }
}

fn config(change: impl FnOnce(&mut Value)) -> Config {
    let mut config = json!({
        "sidecar": {"cluster": "c", "timeout": "200ms"}, "cluster_header": "x-target", "default_policy": "p",
        "limits": {"max_body": "1KiB"},
        "models": {
            "big": {"cluster": "big-cluster", "model": "vendor/big"},
            "small": {"cluster": "small-cluster", "model": "vendor/small"},
        },
        "policies": {"p": {"classifier": "task", "routes": {"Chatbot": "big"}, "default": "small"}},
    });
    change(&mut config);
    Config::from_json(config.to_string().as_bytes()).unwrap()
}

fn enforce() -> Config {
    config(|_| ())
}

fn shadow() -> Config {
    config(|config| config["mode"] = json!("shadow"))
}

/// A request in progress.
struct Run {
    exchange: Exchange,
    log: Log,
}

impl Run {
    fn new(config: Config) -> Self {
        Self { exchange: Exchange::new(Arc::new(CachingRouter::new(config))), log: Log::default() }
    }

    fn headers(&mut self, more: &[(&str, &str)]) -> (Vec<String>, OnHeaders) {
        let headers = [(":method", "POST"), (":path", PATH)];
        let headers: Headers = headers.iter().chain(more).copied().collect();
        self.exchange.request_headers(headers, RequestContext::default(), true, &mut self.log)
    }

    fn headers_of(&mut self, method: &str, path: &str) -> (Vec<String>, OnHeaders) {
        let headers = Headers::from([(":method", method), (":path", path)]);
        self.exchange.request_headers(headers, RequestContext::default(), true, &mut self.log)
    }

    /// A request whose headers have arrived, and which waits for its body.
    fn held(config: Config) -> Self {
        let mut run = Self::new(config);
        assert_eq!(run.headers(&[]).1, OnHeaders::Hold);
        run
    }

    fn body(&mut self, body: &str) -> OnBody {
        self.exchange.request_body(body.as_bytes(), Duration::from_millis(1000), &mut self.log)
    }

    /// A request that waits for its classification.
    fn classifying(config: Config) -> Self {
        let mut run = Self::held(config);
        assert_eq!(run.body(AUTO), OnBody::Classify);
        run
    }

    fn classified(&mut self, result: CallResult, milliseconds: u64) -> OnBody {
        let now = Duration::from_millis(1000 + milliseconds);
        self.exchange.classified(result, || AUTO, now, &mut self.log)
    }

    /// A request that was forwarded.
    fn forwarded(config: Config) -> Self {
        let mut run = Self::held(config);
        let action = run.body(NAMED);
        assert!(matches!(action, OnBody::Forward(_) | OnBody::Continue), "{action:?}");
        run
    }

    fn response_headers(&mut self, content_type: &str) -> OnResponse {
        let head = ResponseHead { content_type: Some(content_type), is_encoded: false };
        self.exchange.response_headers(head, || panic!("nobody asked"), &mut self.log)
    }

    fn chunk(&mut self, chunk: &[u8], milliseconds: u64) {
        let now = || Duration::from_millis(1000 + milliseconds);
        self.exchange.response_chunk(chunk, now, &mut self.log);
    }
}

fn chatbot() -> CallResult {
    let label = Classification::Label(Label::new("Chatbot", 0.9).unwrap());
    CallResult::Classified(["task", "examples"].map(|name| (name.to_owned(), label.clone().into())).into())
}

fn forward(action: OnBody) -> Forward {
    match action {
        OnBody::Forward(forward) => *forward,
        other => panic!("not forwarded: {other:?}"),
    }
}

fn status(action: OnBody) -> u16 {
    match action {
        OnBody::Respond(response) => response.status,
        other => panic!("no response: {other:?}"),
    }
}
