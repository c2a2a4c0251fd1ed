//! What several fuzz targets check: what an LLM's server makes of the request that it gets.

pub mod servers;

use std::sync::LazyLock;

use llm_router_routing::config::Config;
use llm_router_routing::request::{Endpoint, METADATA_FIELD, Request};
use llm_router_routing::rewrite::BodyEdits;
use serde_json::{Map, Value, json};

use servers::Server;

/// The name of a model, which has to be escaped.
pub const MODEL: &str = "a \"model\"\\é";

/// Edits of each kind.
pub static EDITS: LazyLock<BodyEdits> = LazyLock::new(|| {
    let body = json!({"set": {"a": 1, "b.c": [2]}, "default": {"d": 3}, "remove": ["e", "b.f"]});
    let config = json!({
        "sidecar": {"cluster": "c"}, "default_policy": "p",
        "models": {"m": {"cluster": "c", "model": MODEL, "body": body}},
        "policies": {"p": {"classifier": "task", "routes": {}, "default": "m"}},
    });
    let config = Config::from_json(config.to_string().as_bytes()).expect("a configuration");
    config.models().next().expect("a model").body.clone()
});

/// Asserts that nothing in a client's body, such as another spelling of a key, has the last word over [`EDITS`].
pub fn check_edits_as_read(before: &[u8], edited: &[u8]) {
    if servers::members(before).is_none() {
        return;
    }
    let members = servers::members(edited).expect("a body stays an object");
    for server in Server::ALL {
        assert_eq!(server.reads(&members, "a"), Some(&b"1"[..]), "{server:?}");
        assert_eq!(server.reads(&members, "e"), None, "{server:?}");
        let inner = server.reads(&members, "b").and_then(servers::members).expect("an object");
        assert_eq!(server.reads(&inner, "c"), Some(&b"[2]"[..]), "{server:?}");
        assert_eq!(server.reads(&inner, "f"), None, "{server:?}");
    }
}

/// Asserts that all servers read of the rewritten body what was decided: the prompt that counted in the client's body, no
/// routing metadata, and this model; or with none, the client's. `edited` are top-level keys that the model's edits may
/// have changed. Of a body that no server reads, nothing is expected.
pub fn check_rewritten(
    endpoint: Endpoint,
    before: &[u8],
    after: &[u8],
    model: Option<&str>,
    edited: &[&str],
) {
    let Some(sent) = servers::members(before) else { return };
    let got = servers::members(after).expect("a body stays an object");
    // Routing takes keys as they are, and of several the last: as Python does.
    let decided = |field: &str| Server::Python.reads(&sent, field).map(<[u8]>::to_vec);
    let model = model.map(|model| Value::from(model).to_string().into_bytes()).or_else(|| decided("model"));
    for server in Server::ALL {
        let reads = |field: &str| server.reads(&got, field).map(<[u8]>::to_vec);
        assert_eq!(reads("model"), model, "{server:?}: the model");
        assert_eq!(reads(METADATA_FIELD), None, "{server:?}: routing metadata");
        for field in fields(endpoint) {
            assert_eq!(reads(field), decided(field), "{server:?}: {field}");
        }
    }
    for field in fields(endpoint).chain(["model"]) {
        assert!(servers::count(&got, field) <= 1, "{field} is there twice");
    }
    check_rest(endpoint, before, after, edited);
}

/// Asserts that what is not routing's business stays.
fn check_rest(endpoint: Endpoint, before: &[u8], after: &[u8], edited: &[&str]) {
    // Bodies that serde_json refuses may be read by an LLM's server: that is left to it.
    let Ok(mut before) = serde_json::from_slice::<Map<String, Value>>(before) else { return };
    let mut after: Map<String, Value> = serde_json::from_slice(after).expect("JSON stays JSON");
    before.retain(|name, _| !is_removed(endpoint, name));
    for body in [&mut before, &mut after] {
        body.retain(|name, _| name != "model" && !edited.iter().any(|key| is_same_but_for_case(name, key)));
    }
    assert_eq!(after, before);
}

/// Whether a member never reaches the LLM: the routing metadata, and keys that differ in case only from those that are read.
fn is_removed(endpoint: Endpoint, name: &str) -> bool {
    let mut known = fields(endpoint).chain(["model", METADATA_FIELD]);
    name == METADATA_FIELD || known.any(|field| name != field && is_same_but_for_case(name, field))
}

fn is_same_but_for_case(name: &str, key: &str) -> bool {
    name.to_uppercase().to_lowercase() == key
}

/// The members that are read, without the model and the routing metadata.
fn fields(endpoint: Endpoint) -> impl Iterator<Item = &'static str> {
    let prompt: &[&str] = match endpoint {
        Endpoint::ChatCompletions => &["messages"],
        Endpoint::Completions => &["prompt"],
        Endpoint::Responses => &["input", "instructions"],
        Endpoint::Messages | Endpoint::CountTokens => &["messages", "system"],
        Endpoint::Embeddings => &["input"],
    };
    let known: Vec<_> = Request::known_members(endpoint).collect();
    assert!(prompt.iter().all(|field| known.contains(field)), "{endpoint:?}: {known:?}");
    known.into_iter().filter(|field| !["model", METADATA_FIELD].contains(field))
}
