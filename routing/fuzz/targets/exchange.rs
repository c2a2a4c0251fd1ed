//! Requests through one router, in whatever order events, chunks, results and leaves come: a host can rely on what an exchange
//! says, and an LLM gets what the client sent, for the model that was chosen.

#![no_main]

use std::mem;
use std::str;
use std::sync::Arc;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use llm_router_fuzz::check_rewritten;
use llm_router_routing::cache::CachingRouter;
use llm_router_routing::classification::{Classification, Label, Prediction, Score};
use llm_router_routing::config::{Config, Mode};
use llm_router_routing::context::RequestContext;
use llm_router_routing::exchange::{
    Attempt, CallResult, Event, EventSink, ExamplesPayload, Exchange, Forward, LocalResponse, OnBody,
    OnHeaders, OnResponse, ResponseHead,
};
use llm_router_routing::failover::Failover;
use llm_router_routing::headers::Headers;
use llm_router_routing::request::{Endpoint, RequestHead, Resource};
use serde_json::{Value, json};

const TIMEOUT: Duration = Duration::from_millis(200);
/// The keys that the models' edits change.
const EDITED: [&str; 3] = ["temperature", "top_k", "logprobs"];

// A script, so that seeds and failing inputs can be read: letters that choose the configuration, then an event a line.
fuzz_target!(|script: &[u8]| {
    let mut lines = script.split(|byte| *byte == b'\n');
    let letters = lines.next().unwrap_or_default();
    let mut run = Run::new(Arc::new(CachingRouter::new(config(letters))));
    for line in lines {
        let (event, rest) =
            line.split_first().map_or((0, line), |(event, rest)| (*event, rest.trim_ascii_start()));
        if event == b'n' {
            run.end();
            run = Run { now: run.now, ..Run::new(run.router) };
        } else {
            run.event(event, rest);
        }
    }
    run.end();
});

fn config(letters: &[u8]) -> Config {
    let has = |letter: u8| letters.contains(&letter);
    let edits = json!({"set": {"temperature": 0}, "default": {"top_k": 5}, "remove": ["logprobs"]});
    let mut config = json!({
        "sidecar": {"cluster": "c", "timeout": "200ms", "on_failure": if has(b'r') { "reject" } else { "default" }},
        "default_policy": if has(b'x') { "said" } else if has(b'b') { "bands" } else { "p" },
        "model_header": "x-model-name", "failover": true, "limits": {"max_body": "2KiB"}, "cache": {"entries": 100},
        "mode": if has(b's') { "shadow" } else { "enforce" },
        "on_unknown_model": if has(b'p') { "passthrough" } else { "route" },
        "models": {
            "big": {"cluster": "b", "model": "up/\"big\"", "cost": {"input": 3, "output": 3}},
            "small": {"cluster": "s", "model": "up/small", "context": 400, "cost": {"input": 1, "output": 1}},
            "claude": {"cluster": "a", "model": "up/claude", "api": "anthropic", "cost": {"input": 4, "output": 4}},
            "blind": {"cluster": "s", "model": "up/blind", "capabilities": [], "base_path": "/x", "host": "h",
                "cost": {"input": 2, "output": 2}},
        },
        "aliases": {"gpt": "big"},
        "policies": {
            "p": {"classifier": "task", "routes": {"Chatbot": "big", "Code": "blind"}, "default": "small",
                "fallback": ["claude", "small", "big"]},
            // Of one band, and no bound elsewhere: with serde_json's arbitrary precision, which the oracle needs, they cannot be read.
            "bands": {"classifier": "complexity", "bands": [{"model": "big"}]},
            "said": {"classifier": "examples", "default": "small", "routes": {
                "Chatbot": {"model": [{"model": "big", "weight": 1}, {"model": "small", "weight": 1}], "examples": ["hello"]}}},
        },
        "rules": [
            {"when": {"header": {"x-deny": "1"}}, "reject": {"message": "no"}},
            {"when": {"safety": "unsafe", "text_matches": "danger"}, "reject": {"message": "no"}},
        ],
    });
    if has(b'e') {
        config["models"]["big"]["body"] = edits.clone();
        config["models"]["claude"]["body"] = edits;
    }
    if has(b't') {
        config["stickiness"] =
            json!({"mode": if has(b'm') { "strongest" } else { "first" }, "compare": has(b'c')});
    }
    match Config::from_json(config.to_string().as_bytes()) {
        Ok(config) => config,
        Err(error) => panic!("{error}"),
    }
}

/// One request, and what its host has seen of it.
struct Run {
    router: Arc<CachingRouter>,
    exchange: Exchange,
    now: Duration,
    log: Log,
    endpoint: Option<Endpoint>,
    announces_length: bool,
    body: Vec<u8>,
    forwards: usize,
    responses: usize,
    calls: Calls,
    has_response: bool,
    is_finished: bool,
}

/// Calls to the sidecar. One that is made again with all examples is the same call.
#[derive(Debug, Default)]
struct Calls {
    begun: usize,
    is_under_way: bool,
    /// When the first began.
    since: Duration,
    cancelled: usize,
    could_not_be_made: usize,
}

/// What was recorded.
#[derive(Debug, Default)]
struct Log {
    events: usize,
    classified: usize,
    rejected: usize,
    failed_over: usize,
    first_tokens: usize,
    used: usize,
    /// The name and the cluster of each model that was chosen.
    chosen: Vec<(String, String)>,
}

impl EventSink for Log {
    fn record(&mut self, event: Event<'_>) {
        self.events += 1;
        match event {
            Event::Classified { .. } => self.classified += 1,
            Event::Routed(decision) => {
                self.chosen.push((decision.model.upstream.clone(), decision.model.cluster.clone()));
            }
            Event::Rejected(_) => self.rejected += 1,
            Event::FailedOver { .. } => self.failed_over += 1,
            Event::FirstToken { .. } => self.first_tokens += 1,
            Event::Used { .. } => self.used += 1,
            Event::Step(_) | Event::Estimated { .. } => {}
        }
    }
}

impl Run {
    fn new(router: Arc<CachingRouter>) -> Self {
        Self {
            exchange: Exchange::new(Arc::clone(&router)),
            router,
            now: Duration::from_secs(1),
            log: Log::default(),
            endpoint: None,
            announces_length: false,
            body: Vec::new(),
            forwards: 0,
            responses: 0,
            calls: Calls::default(),
            has_response: false,
            is_finished: false,
        }
    }

    fn event(&mut self, event: u8, rest: &[u8]) {
        let before = self.log.events;
        let was_over = self.exchange.is_over();
        match event {
            b'h' => self.headers(rest, true),
            b'H' => self.headers(rest, false),
            b'p' => self.progress(number(rest).0),
            b'b' => self.whole_body(rest),
            b'o' => {
                let action = self.exchange.request_overload(&mut self.log);
                self.act(action, false);
            }
            b't' => {
                let action = self.exchange.request_timeout(&mut self.log);
                self.act(action, false);
            }
            b'l' => self.classified(CallResult::Classified(labels(rest))),
            b'c' => self.classified(CallResult::Classified(scores(rest))),
            b'x' => self.classified(CallResult::UnknownExamples),
            b'u' => self.classified(CallResult::Unavailable),
            b'z' => self.classified(CallResult::NotCalled),
            b'r' => self.response_headers(rest, false),
            b'R' => self.response_headers(rest, true),
            b'd' => self.response(rest),
            b'e' => self.exchange.response_end(&mut self.log),
            b'f' => self.finish(),
            b'+' => self.now += Duration::from_millis(number(rest).0 as u64),
            _ => {}
        }
        self.check();
        assert!(!was_over || self.log.events == before, "recorded after the end: {:?}", self.log);
    }

    /// A method and a path, then headers as `name=value`.
    fn headers(&mut self, rest: &[u8], has_body: bool) {
        let mut words = rest.split(|byte| *byte == b' ');
        let mut headers = Headers::default();
        headers.push(":method", words.next().unwrap_or_default());
        headers.push(":path", words.next().unwrap_or_default());
        for word in words {
            let mut parts = word.splitn(2, |byte| *byte == b'=');
            let name = String::from_utf8_lossy(parts.next().unwrap_or_default()).to_ascii_lowercase();
            headers.push(&name, parts.next().unwrap_or_default());
        }
        let head = RequestHead::new(headers.clone());
        let (_, action) =
            self.exchange.request_headers(headers, RequestContext::default(), has_body, &mut self.log);
        match action {
            OnHeaders::Continue => {}
            OnHeaders::Hold => {
                assert!(self.exchange.is_held() && has_body);
                let Resource::Target(target) = head.resource() else { panic!("not for an LLM, but held") };
                self.endpoint = Some(target.endpoint);
                self.announces_length = head.headers().get("content-length").is_some();
            }
            OnHeaders::Respond(response) => self.respond(&response),
        }
    }

    fn progress(&mut self, length: usize) {
        if let Some(action) = self.exchange.request_progress(length, &mut self.log) {
            self.act(action, false);
        }
    }

    /// The size of its chunks, and the body.
    fn whole_body(&mut self, rest: &[u8]) {
        let (size, body) = number(rest);
        for end in (0..body.len()).step_by(size.max(1)).take(64) {
            self.progress(end);
        }
        let is_awaited = self.exchange.is_held() && self.exchange.query().is_none();
        if is_awaited {
            self.body = body.to_vec();
        }
        let action = self.exchange.request_body(body, self.now, &mut self.log);
        assert!(is_awaited || action == OnBody::Continue, "nobody waited for a body: {action:?}");
        if let (true, OnBody::Continue, Mode::Enforce) = (is_awaited, &action, self.exchange.config().mode) {
            // What goes on as it came has nothing that must not reach the LLM.
            check_rewritten(self.endpoint.expect("an endpoint"), body, body, None, &[]);
        }
        self.act(action, false);
    }

    fn classified(&mut self, result: CallResult) {
        let was_under_way = mem::take(&mut self.calls.is_under_way);
        self.calls.could_not_be_made += usize::from(was_under_way && result == CallResult::NotCalled);
        let lacks_examples = result == CallResult::UnknownExamples;
        let body = self.body.clone();
        let action = self.exchange.classified(result, || body, self.now, &mut self.log);
        assert!(was_under_way || action == OnBody::Continue, "nobody called: {action:?}");
        self.act(action, lacks_examples);
    }

    /// `lacks_examples`: the sidecar has just asked for them.
    fn act(&mut self, action: OnBody, lacks_examples: bool) {
        match action {
            OnBody::Continue => {}
            OnBody::Classify => self.call(lacks_examples),
            OnBody::Forward(forward) => self.forward(&forward),
            OnBody::Respond(response) => self.respond(&response),
        }
    }

    fn call(&mut self, lacks_examples: bool) {
        let query = self.exchange.query().expect("something to ask");
        let is_same = lacks_examples && query.payload == ExamplesPayload::Full;
        let calls = &mut self.calls;
        if calls.begun == 0 {
            calls.since = self.now;
        }
        calls.begun += usize::from(!is_same);
        calls.is_under_way = true;
        // All calls together have the policy's time.
        let spent = self.now - calls.since;
        assert!(!query.classifiers.is_empty() && !query.timeout.is_zero());
        assert!(spent + query.timeout <= TIMEOUT, "{:?} after {spent:?}", query.timeout);
    }

    fn forward(&mut self, forward: &Forward) {
        self.forwards += 1;
        let endpoint = self.endpoint.expect("an endpoint");
        let body = forward.body.apply(&self.body);
        assert_eq!(body.len(), forward.body.len());
        let header = |wanted: &str| {
            forward.headers.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str())
        };
        assert_eq!(
            header("content-length"),
            self.announces_length.then(|| body.len().to_string()).as_deref()
        );
        let Some((model, cluster)) = self.log.chosen.last() else {
            assert_eq!(header("x-llm-cluster"), None, "sent somewhere without a decision");
            return check_rewritten(endpoint, &self.body, &body, None, &[]);
        };
        assert_eq!(
            (header("x-llm-cluster"), header("x-model-name")),
            (Some(cluster.as_str()), Some(model.as_str()))
        );
        check_rewritten(endpoint, &self.body, &body, Some(model), &EDITED);
        if let Some(failover) = &forward.failover {
            assert_eq!(Failover::from_json(failover.to_json().as_bytes()).as_ref(), Some(failover));
            for retry in (2..5).filter_map(|attempt| failover.at_attempt(attempt)) {
                let again = failover.body(retry, &body).expect("a body for the next model");
                check_rewritten(endpoint, &self.body, &again, Some(&retry.model), &EDITED);
            }
        }
    }

    fn respond(&mut self, response: &LocalResponse) {
        self.responses += 1;
        assert!(response.status == 200 || (400..600).contains(&response.status), "{}", response.status);
        assert!(serde_json::from_slice::<Value>(&response.body).is_ok());
        assert!(self.exchange.is_over());
    }

    /// An attempt, and a content type.
    fn response_headers(&mut self, rest: &[u8], is_encoded: bool) {
        // The one order that does not happen: a request has one response.
        if mem::replace(&mut self.has_response, true) {
            return;
        }
        let (attempt, content_type) = number(rest);
        let head = ResponseHead { content_type: str::from_utf8(content_type).ok(), is_encoded };
        let attempt = || Attempt { number: attempt as u64, cluster: Some("s".to_owned()) };
        match self.exchange.response_headers(head, attempt, &mut self.log) {
            OnResponse::Continue => {}
            OnResponse::Explain(explanation) => assert!(explanation.headers().count() > 0),
            OnResponse::CancelCall => self.cancel(),
        }
    }

    /// The size of its chunks, and a part of the response, in which `|` stands for the end of a line.
    fn response(&mut self, rest: &[u8]) {
        let (size, part) = number(rest);
        let part: Vec<u8> = part.iter().map(|byte| if *byte == b'|' { b'\n' } else { *byte }).collect();
        for chunk in part.chunks(size.max(1)) {
            self.exchange.response_chunk(chunk, || self.now, &mut self.log);
        }
    }

    fn finish(&mut self) {
        if self.exchange.finish(&mut self.log) {
            self.cancel();
        }
        self.is_finished = true;
    }

    fn cancel(&mut self) {
        assert!(self.calls.is_under_way, "no call to cancel");
        self.calls.is_under_way = false;
        self.calls.cancelled += 1;
    }

    fn check(&self) {
        let Self { exchange, log, calls, forwards, responses, .. } = self;
        assert_eq!(exchange.query().is_some(), calls.is_under_way, "{calls:?}");
        assert!(log.chosen.len() + log.rejected <= 1, "two decisions: {log:?}");
        assert!(forwards + responses <= 1, "{forwards} forwards, {responses} responses");
        assert!(log.used <= 1 && log.first_tokens <= 1 && log.failed_over <= 1, "{log:?}");
        assert!(log.rejected == 0 || *forwards == 0, "rejected and forwarded");
        assert!(exchange.config().mode == Mode::Enforce || forwards + responses == 0);
        assert!(!self.is_finished || exchange.is_over() && !exchange.is_held() && !exchange.reads_response());
    }

    /// The client leaves, if it has not.
    fn end(&mut self) {
        self.finish();
        self.check();
        let Self { log, calls, .. } = self;
        assert!(!calls.is_under_way, "a call is left: {calls:?}");
        assert_eq!(
            log.classified + calls.cancelled + calls.could_not_be_made,
            calls.begun,
            "{calls:?} {log:?}"
        );
    }
}

/// The number that a text starts with, or 0, and what comes after the space that follows.
fn number(text: &[u8]) -> (usize, &[u8]) {
    let digits = text.iter().take(6).take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = text.split_at(digits);
    let number = digits.iter().fold(0, |number, digit| number * 10 + usize::from(digit - b'0'));
    (number, rest.strip_prefix(b" ").unwrap_or(rest))
}

/// `NAME=THOUSANDTHS=LABEL` each: what a classifier of this name says.
fn labels(text: &[u8]) -> Vec<(String, Prediction)> {
    predictions(text, |label, confidence| Label::new(label, confidence).ok().map(Classification::Label))
}

/// The same with a score; the label is its highest dimension.
fn scores(text: &[u8]) -> Vec<(String, Prediction)> {
    predictions(text, |label, score| Score::new(score, [(label, score)]).ok().map(Classification::Score))
}

fn predictions(text: &[u8], make: impl Fn(&str, f32) -> Option<Classification>) -> Vec<(String, Prediction)> {
    let text = String::from_utf8_lossy(text);
    let said = text.split(' ').filter_map(|word| {
        let (name, said) = word.split_once('=')?;
        let (number, label) = said.split_once('=')?;
        let number = f32::from(number.parse::<u16>().ok()?) / 1000.0;
        let classification = make(label, number)?;
        Some((name.to_owned(), classification.into()))
    });
    said.collect()
}
