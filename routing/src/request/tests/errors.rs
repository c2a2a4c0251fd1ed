//! Bodies that cannot be read, and bodies that are valid although they look invalid.

use super::*;

#[test]
fn a_body_that_is_no_request_is_a_400_that_names_the_field() {
    for (body, param, said) in [
        (&b"not json"[..], Value::Null, "not a JSON object"),
        (b"", Value::Null, "not a JSON object"),
        (b"[]", Value::Null, "not a JSON object"),
        (b"\xff{}", Value::Null, "not a JSON object"),
        (br#"{"messages": [{"role": "user", "content": "x"}]} x"#, Value::Null, "more text after the end"),
        (
            br#"{"model": 7, "messages": [{"role": "user", "content": "x"}]}"#,
            json!("model"),
            "must be a string",
        ),
        (br#"{"messages": [{"role": "user", "content": "x"}]"#, Value::Null, "the end of the object"),
    ] {
        let (status, actual_param, message) = rejection(CHAT, body);
        assert_eq!((status, &actual_param), (400, &param), "{message}");
        assert!(message.contains(said), "{message:?} lacks {said:?}");
    }
}

#[test]
fn a_prompt_that_cannot_be_read_is_an_error_for_who_needs_it() {
    for (body, said) in [
        (r#"{"model": "auto"}"#, "messages is missing"),
        (r#"{"messages": []}"#, "must not be empty"),
        (r#"{"messages": "hi"}"#, "must be an array of messages"),
        (r#"{"messages": null}"#, "must be an array of messages"),
        (r#"{"messages": [7]}"#, "must contain only objects"),
        (r#"{"messages": [{"content": "x"}]}"#, "a message without a role"),
        (r#"{"messages": [{"role": "user", "content": 7}]}"#, "must be a string, an array of parts, or null"),
        (r#"{"messages": [{"role": 7}], "stream": true}"#, "has a role that is not a string"),
    ] {
        let request = chat(body);
        let error: Value = serde_json::from_slice(&request.prompt_error.unwrap().body(Api::Openai)).unwrap();
        let message = error["error"]["message"].as_str().unwrap();
        assert!(message.contains(said), "{message:?} lacks {said:?}");
        assert_eq!(error["error"]["param"], "messages");
    }
    let completion = Request::parse(Endpoint::Completions, br#"{"prompt": 7, "model": "m"}"#).unwrap();
    assert_eq!(completion.model.as_deref(), Some("m"));
    assert!(completion.prompt_error.is_some());
}

#[test]
fn what_an_endpoint_may_lack_or_does_not_read_is_no_error() {
    use Endpoint::{Completions, Embeddings, Messages, Responses};
    let message = r#""messages": [{"role": "user", "content": "hi"}]"#;
    let chats = ["\"input\": {\"a\": 1}", "\"system\": 7", "\"prompt\": null", "\"instructions\": []"];
    let chats = chats.map(|more| (CHAT, format!("{{{message}, {more}}}")));
    let others = [
        (Responses, r#"{"prompt": {"id": "p"}}"#),
        (Responses, r#"{"previous_response_id": "r", "input": null}"#),
        (Responses, r#"{"previous_response_id": "r", "input": []}"#),
        (Responses, r#"{"input": {"role": "user", "content": "hi"}}"#),
        (Responses, r#"{"input": [{"role": null, "content": "hi"}], "messages": 7}"#),
        (Completions, r#"{"prompt": null}"#),
        (Completions, r#"{"prompt": []}"#),
        (Completions, r#"{"prompt_embeds": "x"}"#),
        (Embeddings, r#"{"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}"#),
        (Embeddings, r#"{"input": {"text": "a", "image": "b"}}"#),
        (Embeddings, r#"{"input": 7}"#),
        (
            Messages,
            r#"{"messages": [{"role": "user", "content": {"type": "text", "text": "hi"}}], "input": 7}"#,
        ),
        (CHAT, r#"{"messages": [{"role": null, "content": ["hi", 7, null, {"x": 1}]}]}"#),
    ];
    for (endpoint, body) in
        chats.into_iter().chain(others.map(|(endpoint, body)| (endpoint, body.to_owned())))
    {
        let request = Request::parse(endpoint, body.as_bytes()).unwrap();
        assert_eq!(request.prompt_error, None, "{body}");
    }
}

#[test]
fn an_invalid_array_of_messages_is_not_echoed() {
    let body = format!(r#"{{"messages": "{}"}}"#, "secret ".repeat(100_000));
    assert!(chat(&body).prompt_error.unwrap().body(Api::Openai).len() < 1000);
}

#[test]
fn deep_nesting_is_a_400() {
    let deep = format!("{}{}", "[".repeat(500_000), "]".repeat(500_000));
    let body = format!(r#"{{"x": {deep}, "messages": [{{"role": "user", "content": "x"}}]}}"#);
    assert!(rejection(CHAT, body.as_bytes()).2.contains("nested too deeply"));
}

#[test]
fn invalid_utf8_is_the_llms_business() {
    let body = b"{\"messages\": [{\"role\": \"user\", \"content\": \"caf\xe9 au lait\"}]}";
    let request = Request::parse(CHAT, body).unwrap();
    assert_eq!(request.prompt(&settings(LIMIT)).text(), "caf\u{fffd} au lait");
    assert!(
        request.into_rewrite().for_model("m", &BodyEdits::default(), body).apply(body).ends_with(&body[1..])
    );
}

proptest! {
    #[test]
    fn no_bytes_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Request::parse(CHAT, &body);
    }
}

/// The number of members and items that are read is limited, wherever they are. Skipped values may have any number.
#[test]
fn a_body_of_too_many_items_is_rejected() {
    let user = r#"{"role":"user","content":"x"}"#;
    let list = |item: &str, count: usize| vec![item; count].join(",");
    let many = 110_000;
    for body in [
        format!(r#"{{"messages":[{}]}}"#, list(user, many / 3)),
        format!(r#"{{"messages":[{{"role":"user","content":[{}]}}]}}"#, list(r#""""#, many)),
        format!(
            r#"{{"messages":[{{"role":"user","content":[{}]}}]}}"#,
            list(r#"{"content":[""]}"#, many / 3)
        ),
        format!(r#"{{"messages":[{user}],{}}}"#, list(r#""a":0"#, many)),
        format!(r#"{{"messages":[{user}],{}}}"#, list(r#""model":"""#, many)),
        // Not JSON after all, or of a wrong type, several times.
        format!(r#"{{"messages":[{}"#, list(user, many / 3)),
        format!(r#"{{{}}}"#, list(&format!(r#""messages":[{},1]"#, list(user, 10_000)), 4)),
    ] {
        let (status, param, message) = rejection(CHAT, body.as_bytes());
        assert_eq!((status, param), (413, Value::Null), "{message}");
        assert!(message.contains("100000 messages, parts and fields"), "{message}");
    }
    let tools = format!(r#"{{"messages":[{user}],"tools":[{}]}}"#, list("{}", many));
    assert!(Request::parse(CHAT, tools.as_bytes()).is_ok());
    let tokens = format!(r#"{{"prompt":[{}]}}"#, list("7", many));
    assert_eq!(Request::parse(Endpoint::Completions, tokens.as_bytes()).unwrap().prompt_tokens, many as u64);
    let metadata = format!(r#"{{"messages":[{user}],"nim-llm-router":{{"a":"{}"}}}}"#, "x".repeat(70_000));
    assert_eq!(rejection(CHAT, metadata.as_bytes()).1, "nim-llm-router");
}
