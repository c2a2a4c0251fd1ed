//! The dynamic module: whatever a client, the sidecar, an LLM and Envoy do in whatever order, no hook panics, and no LLM gets a
//! request with another model's name.

#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use llm_router::fuzzing::{Conduct, Request};

const POLICY: &str = r#"{
    "sidecar": {"cluster": "sidecar"}, "default_policy": "p", "limits": {"max_body": "2KiB"}, "filter_state": true,
    "models": {"small": {"cluster": "s", "model": "up/small"}, "large": {"cluster": "l", "model": "up/large"}},
    "policies": {"p": {"classifier": "task", "routes": {"Code": "large"}, "default": "small", "fallback": ["large"]}},
    "failover": true
}"#;

#[derive(Arbitrary, Debug)]
struct Input {
    ends_calls_at_once: bool,
    gives_up_on_append: bool,
    events: Vec<Event>,
}

#[derive(Arbitrary, Debug)]
enum Event {
    Chunk { chunk: Vec<u8>, end: bool },
    Text { model: bool, end: bool },
    Trailers,
    Sidecar { stream: u8, status: u8, message: Vec<u8> },
    Reset { stream: u8 },
    Respond(Vec<u8>),
    Destroy,
}

fuzz_target!(|input: Input| {
    let Input { ends_calls_at_once, gives_up_on_append, events } = input;
    let mut request = Request::new(POLICY, Conduct { ends_calls_at_once, gives_up_on_append });
    for event in events {
        match event {
            Event::Chunk { chunk, end } => request.chunk(&chunk, end),
            Event::Text { model, end } => {
                let model = if model { "large" } else { "auto" };
                let body = format!(r#"{{"model":"{model}","messages":[{{"role":"user","content":"hi"}}]}}"#);
                request.chunk(body.as_bytes(), end);
            }
            Event::Trailers => request.trailers(),
            Event::Sidecar { stream, status, message } => {
                request.sidecar(u64::from(stream % 4), &(status % 17).to_string(), &message);
            }
            Event::Reset { stream } => request.reset(u64::from(stream % 4)),
            Event::Respond(chunk) => request.respond(&chunk),
            Event::Destroy => request.destroy(),
        }
        request.check();
    }
});
