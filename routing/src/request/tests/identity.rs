//! How conversations are distinguished.

use super::*;

#[test]
fn a_fingerprint_is_how_the_conversation_begins_without_what_changes() {
    let key = |messages: Value| {
        let body = json!({"messages": messages}).to_string();
        chat(&body).fingerprint(&settings(LIMIT))
    };
    let turn = |role: &str, content: &str| json!({"role": role, "content": content});
    let begun = key(json!([turn("system", "s"), turn("user", "a")]));
    for same in [
        json!([turn("system", "s"), turn("user", "a"), turn("assistant", "b"), turn("user", "c")]),
        json!([turn("system", "s\nToday is 2026-11-29."), turn("user", "a")]),
        json!([
            turn("system", "x-anthropic-billing-header: cc_version=2.1; cch=ab;"),
            turn("system", "s"),
            turn("user", "a")
        ]),
    ] {
        assert_eq!(begun, key(same.clone()), "{same}");
    }
    assert_ne!(begun, key(json!([turn("system", "s"), turn("user", "b")])));
    assert_ne!(begun, key(json!([turn("system", "t"), turn("user", "a")])));
}

#[test]
fn the_bodys_fields_identify_a_conversation() {
    let field = |name: &str, more: Value| {
        let body = more.to_string();
        Request::parse(Endpoint::Responses, body.as_bytes()).unwrap().conversation_field(name)
    };
    assert_eq!(field("prompt_cache_key", json!({"prompt_cache_key": "k"})).as_deref(), Some("k"));
    assert_eq!(field("conversation", json!({"conversation": "c"})).as_deref(), Some("c"));
    assert_eq!(field("conversation", json!({"conversation": {"id": "c"}})).as_deref(), Some("c"));
    let user = |id: &str| field("metadata.user_id", json!({"metadata": {"user_id": id}}));
    assert_eq!(user("user_1f_account__session_5a-b").as_deref(), Some("5a-b"));
    assert_eq!(user(r#"{"device_id": "d", "session_id": "5a-b"}"#).as_deref(), Some("5a-b"));
    assert_eq!(user("somebody"), None);
    assert_eq!(field("metadata.thread_id", json!({"metadata": {"thread_id": "t"}})).as_deref(), Some("t"));
    for nothing in
        [json!({"metadata": 7}), json!({"metadata": null}), json!({}), json!({"prompt_cache_key": null})]
    {
        assert_eq!(field("metadata.thread_id", nothing.clone()).or(field("prompt_cache_key", nothing)), None);
    }
}
