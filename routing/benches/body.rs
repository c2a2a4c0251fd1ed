//! What a request's body costs: parsed for routing, its text selected and put into the sidecar's request, and rewritten;
//! beside a `serde_json::Value` round trip, which reads the last message and changes the model by building the whole
//! tree.

#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use llm_router_routing::request::{Endpoint, PromptSettings, Request};
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

criterion_group!(all, benches);
criterion_main!(all);
