//! What a request's body costs: parsed for routing, its text selected and put into the sidecar's request, and rewritten;
//! beside a `serde_json::Value` round trip, which reads the last message and changes the model by building the whole
//! tree.

#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use llm_router_routing::request::{Endpoint, Harness, PromptSettings, Request};
use llm_router_routing::rewrite::BodyEdits;
use serde_json::{Value, json};

const SIZES: [usize; 4] = [1 << 10, 100 << 10, 1 << 20, 8 << 20];
const CLASSIFY_TEXT: usize = 16 << 10;

/// A conversation as coding agents send it: text with escapes, in turns of some kilobytes.
fn body(size: usize) -> Vec<u8> {
    let line = "fn main() {\n\tprintln!(\"grüße, world\");\n}\n";
    let turn = line.repeat((size / line.len()).clamp(1, 100));
    let turns = (size / (turn.len() * 5 / 4)).max(1);
    let messages: Vec<_> = (0..turns)
        .map(|i| json!({"role": if i % 2 == 0 { "user" } else { "assistant" }, "content": turn}))
        .collect();
    let request = json!({"messages": messages, "model": "auto", "stream": true, "temperature": 0.7});
    serde_json::to_vec(&request).unwrap()
}

fn ours(body: &[u8], settings: &PromptSettings) -> Vec<u8> {
    let request = Request::parse(Endpoint::ChatCompletions, body).unwrap();
    black_box(request.prompt(settings).to_body());
    request.into_rewrite().for_model("meta/llama-3.1-8b-instruct", &BodyEdits::default(), body).apply(body)
}

fn tree(body: &[u8]) -> Vec<u8> {
    let mut request: Value = serde_json::from_slice(body).unwrap();
    let messages = request["messages"].as_array().unwrap();
    black_box(messages[messages.len() - 1]["content"].as_str());
    request["model"] = json!("meta/llama-3.1-8b-instruct");
    serde_json::to_vec(&request).unwrap()
}

fn benches(criterion: &mut Criterion) {
    let settings = PromptSettings::of_known_agents(CLASSIFY_TEXT);
    let mut group = criterion.benchmark_group("body");
    for size in SIZES {
        let body = body(size);
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_with_input(BenchmarkId::new("ours", size), &body, |bench, body| {
            bench.iter(|| ours(body, &settings))
        });
        group
            .bench_with_input(BenchmarkId::new("tree", size), &body, |bench, body| bench.iter(|| tree(body)));
    }
    group.finish();
}

/// Bodies of 8 MiB that cost as much as a client can make them cost.
fn costly() -> Vec<(&'static str, String)> {
    const SIZE: usize = 8 << 20;
    let fill = |part: &str| part.repeat(SIZE / part.len());
    let asks = |content: &str| format!(r#"{{"messages":[{{"role":"user","content":{content}}}]}}"#);
    let beside = |member: String| format!(r#"{{{member},"messages":[{{"role":"user","content":"x"}}]}}"#);
    let said = |part: &str| asks(&format!(r#""{}""#, fill(part)));
    vec![
        ("text", said("a word ")),
        ("parts", asks(&format!(r#"[{}""]"#, fill(r#""","#)))),
        ("parts with brackets", asks(&format!(r#"[{}""]"#, r#""\u003c","#.repeat(99_000)))),
        ("skipped strings", beside(format!(r#""tools":[{}""]"#, fill(r#""","#)))),
        ("skipped arrays", beside(format!(r#""tools":[{}[]]"#, fill("[],")))),
        ("skipped numbers", beside(format!(r#""tools":[{}0]"#, fill("0,")))),
        ("members", beside(format!(r#"{}"a":0"#, fill(r#""a":0,"#)))),
        ("models", beside(format!(r#"{}"model":"""#, fill(r#""model":"","#)))),
        ("quotes", said(r#"\""#)),
        ("backslashes", said(r"\\")),
        ("brackets", said("<")),
        ("brackets after spaces", asks(&format!(r#""{}{}""#, " ".repeat(100), fill("<")))),
        ("escaped brackets", said(r"\u003c")),
        ("open elements", said(r"\n<task ")),
        ("an open element of each name", asks(&format!(r#""\u003c{}{}""#, unclosed(), fill(r"\\")))),
        ("closing tags", said("<task></feedback></answer></prompt>")),
        ("elements", said(r"<task>x</task>")),
        ("spaces", said(" ")),
        ("line ends", said(r"\n")),
        ("token numbers", beside(format!(r#""input":[{}0]"#, fill("0,")))),
    ]
}

/// An opening tag of each element of known agents, on lines of their own.
fn unclosed() -> String {
    let Harness { added_elements, user_elements, common_user_elements, command_elements, .. } =
        Harness::of_known_agents();
    let names = [added_elements, user_elements, common_user_elements, command_elements].concat();
    names.iter().map(|name| format!(r"\n<{name}>")).collect()
}

fn costly_benches(criterion: &mut Criterion) {
    let settings = PromptSettings::of_known_agents(CLASSIFY_TEXT);
    let mut group = criterion.benchmark_group("costly body");
    group.sample_size(10);
    for (name, body) in costly() {
        group.bench_with_input(BenchmarkId::from_parameter(name), body.as_bytes(), |bench, body| {
            bench.iter(|| {
                let request = Request::parse(Endpoint::ChatCompletions, body).ok()?;
                black_box(request.human_turns(&settings).prompt(0).to_body());
                Some(request.into_rewrite().for_model("large", &BodyEdits::default(), body).apply(body))
            });
        });
    }
    group.finish();
}

criterion_group!(all, benches, costly_benches);
criterion_main!(all);
