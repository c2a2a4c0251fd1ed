//! Any body, taken as each API's: it is parsed or refused without a panic, the rewritten one differs from it in the model, in
//! the routing metadata and in what the model's edits say only, and whatever server reads it finds what was decided.

#![no_main]

use libfuzzer_sys::fuzz_target;
use llm_router_fuzz::{EDITS, MODEL, check_edits_as_read, check_rewritten};
use llm_router_routing::request::{Endpoint, Prompt, PromptSettings, Request};
use llm_router_routing::rewrite::{BodyEdits, growth};
use serde_json::{Map, Value, json};

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
    for limit in [0, 16, 100, 1 << 20] {
        let prompt = request.prompt(&PromptSettings::as_sent(limit));
        let again = prompt.to_body();
        if !prompt.is_empty() {
            let sent = Request::parse(Endpoint::ChatCompletions, &again).expect("what the sidecar is sent");
            let received = sent.prompt(&PromptSettings::as_sent(limit.saturating_mul(2).max(again.len())));
            assert_eq!(said(&received), said(&prompt), "limit {limit}");
        }
    }
    let settings = PromptSettings::of_known_agents(1 << 10);
    let turns = request.human_turns(&settings);
    for index in 0..turns.len().min(8) {
        turns.prompt(index);
    }
    request.fingerprint(&settings);
    request.sealed_reasoning();
    let model = request.model.clone();
    let rewrite = request.into_rewrite();
    let edited = rewrite.for_model(MODEL, &EDITS, body).apply(body);
    assert!(edited.len() <= body.len() + growth(MODEL, &EDITS));
    let rewritten = rewrite.for_model(MODEL, &BodyEdits::default(), body).apply(body);
    assert!(rewritten.len() <= body.len() + growth(MODEL, &BodyEdits::default()));
    check_rewritten(endpoint, body, &rewritten, Some(MODEL), &[]);
    check_rewritten(endpoint, body, &edited, Some(MODEL), &["a", "b", "d", "e"]);
    check_edits_as_read(body, &edited);
    if let Some(tree) = tree {
        let named = tree.get("model").and_then(Value::as_str).filter(|name| !name.is_empty());
        assert_eq!(model.as_deref(), named);
        let edited: Map<String, Value> = serde_json::from_slice(&edited).expect("JSON stays JSON");
        check_edits(tree, &edited);
    }
}

fn check_edits(before: &Map<String, Value>, after: &Map<String, Value>) {
    assert_eq!((&after["a"], &after["b"]["c"]), (&json!(1), &json!([2])));
    assert_eq!((after.get("e"), after["b"].get("f")), (None, None));
    let d = before.get("d").filter(|d| !d.is_null()).cloned().unwrap_or(json!(3));
    assert_eq!(after["d"], d);
    // A default has not the last word: other spellings of its key stay.
    assert!(before.iter().all(|(name, value)| name != "D" || after.get(name) == Some(value)));
}

fn said(prompt: &Prompt) -> Vec<String> {
    prompt.context().chain([prompt.text()]).collect()
}
