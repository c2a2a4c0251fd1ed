//! Any body, taken as each API's: it is parsed or refused without a panic, and the rewritten one differs from it in the
//! model and in the routing metadata only.

#![no_main]

use libfuzzer_sys::fuzz_target;
use llm_router_routing::request::{Endpoint, METADATA_FIELD, Request, Role, TextToClassify};
use llm_router_routing::rewrite::{BodyEdits, growth};
use serde_json::{Map, Value};

const MODEL: &str = "a \"model\"\\é";

fuzz_target!(|body: &[u8]| {
    let tree = serde_json::from_slice::<Map<String, Value>>(body).ok();
    for endpoint in Endpoint::ALL {
        check(endpoint, body, tree.as_ref());
    }
});

fn check(endpoint: Endpoint, body: &[u8], tree: Option<&Map<String, Value>>) {
    let request = match Request::parse(endpoint, body) {
        Ok(request) => request,
        Err(refusal) => {
            assert!((400..500).contains(&refusal.status()));
            assert!(serde_json::from_slice::<Value>(&refusal.body(endpoint.api())).is_ok());
            return;
        }
    };
    for limit in [0, 16, 100, usize::MAX] {
        let text = request.text_to_classify(limit);
        let again = text.to_body();
        if !text.is_empty() {
            let sent = Request::parse(Endpoint::ChatCompletions, &again).expect("what the sidecar is sent");
            let received = sent.text_to_classify(limit.saturating_mul(2).max(again.len()));
            assert_eq!(said(&received), said(&text), "limit {limit}");
        }
    }
    request.conversation();
    let model = request.model.clone();
    let rewritten = request.into_rewrite().apply(body, MODEL, &BodyEdits::default());
    assert!(rewritten.len() <= body.len() + growth(MODEL, &BodyEdits::default()));
    if let Some(tree) = tree {
        let named = tree.get("model").and_then(Value::as_str).filter(|name| !name.is_empty());
        assert_eq!(model.as_deref(), named);
        let mut expected = tree.clone();
        expected.remove(METADATA_FIELD);
        expected.insert("model".to_owned(), MODEL.into());
        let found: Map<String, Value> = serde_json::from_slice(&rewritten).expect("JSON stays JSON");
        assert_eq!(found, expected);
    }
}

fn said(text: &TextToClassify) -> Vec<(Role, String)> {
    text.excerpts().iter().map(|excerpt| (excerpt.role, excerpt.text())).collect()
}
