use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Directives, Endpoint, ModelChoice, Request, Role};
use crate::requirements::{Api, Capabilities, Capability, Requirements};
use crate::rewrite::{BodyEdits, growth};

const CHAT: Endpoint = Endpoint::ChatCompletions;
const LIMIT: usize = 16 << 10;

fn chat(body: &str) -> Request<'_> {
    Request::parse(CHAT, body.as_bytes()).unwrap()
}

fn refusal(endpoint: Endpoint, body: &[u8]) -> (u16, Value, String) {
    let refusal = Request::parse(endpoint, body).unwrap_err();
    let body: Value = serde_json::from_slice(&refusal.body(crate::requirements::Api::Openai)).unwrap();
    (refusal.status(), body["error"]["param"].clone(), body["error"]["message"].as_str().unwrap().to_owned())
}

fn rewritten(body: &str) -> String {
    let request = chat(body);
    String::from_utf8(request.into_rewrite().apply(body.as_bytes(), "big/\"model\"", &BodyEdits::default()))
        .unwrap()
}

fn prompt(body: &str) -> String {
    chat(body).text_to_classify(LIMIT).to_prompt()
}

#[test]
fn a_chat_request_is_read() {
    let request =
        chat(r#"{"model": "auto", "messages": [{"role": "user", "content": "hi"}], "stream": true}"#);
    assert_eq!(request.model.as_deref(), Some("auto"));
    assert_eq!(request.directives, None);
    assert_eq!(request.text_to_classify(LIMIT).to_prompt(), "hi");
}

#[test]
fn a_completion_is_read() {
    let text = |body: &str| {
        let request = Request::parse(Endpoint::Completions, body.as_bytes()).unwrap();
        request.text_to_classify(LIMIT).to_prompt()
    };
    assert_eq!(text(r#"{"prompt": "once upon"}"#), "once upon");
    assert_eq!(text(r#"{"prompt": ["once", "upon"]}"#), "once\nupon");
    assert_eq!(text(r#"{"prompt": [1, 2, 3]}"#), "");
    assert_eq!(text(r#"{"prompt": [[1, 2], [3]]}"#), "");
}

#[test]
fn the_last_user_message_comes_first_then_the_system_prompt_then_what_was_said_last() {
    let body = r#"{"messages": [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": "answer", "tool_calls": [{"id": 1}]},
        {"role": "tool", "tool_call_id": "1", "content": "result"},
        {"role": "user", "content": [{"type": "text", "text": "look"}, {"type": "image_url", "image_url": {"url": "data:"}},
            {"type": "text", "text": "here"}]},
        {"role": "assistant", "content": null}
    ]}"#;
    assert_eq!(prompt(body), "look\nhere\n\nbe brief\n\nresult\n\nanswer\n\nfirst");
    let roles: Vec<_> =
        chat(body).text_to_classify(LIMIT).excerpts().iter().map(|excerpt| excerpt.role).collect();
    assert_eq!(roles, [Role::User, Role::System, Role::Other, Role::Other, Role::User]);
}

#[test]
fn without_a_user_message_the_rest_is_read() {
    assert_eq!(prompt(r#"{"messages": [{"role": "system", "content": "be brief"}]}"#), "be brief");
    assert!(chat(r#"{"messages": [{"role": "user", "content": " \n"}]}"#).text_to_classify(LIMIT).is_empty());
}

#[test]
fn a_long_text_keeps_its_head_and_tail() {
    let body = json!({"messages": [
        {"role": "system", "content": "never read"},
        {"role": "user", "content": format!("BEGIN {} END", "\"é\n".repeat(10_000))},
    ]});
    let text = chat(&body.to_string()).text_to_classify(1000);
    let prompt = text.to_prompt();
    assert!(prompt.starts_with("BEGIN \"é\n") && prompt.ends_with("\n END"), "{prompt}");
    assert!(prompt.len() <= 1000 && prompt.contains("\n…\n"));
    assert_eq!(text.excerpts().len(), 1);
}

#[test]
fn many_parts_are_windowed_as_one_text() {
    let parts: Vec<_> = (0..5000).map(|i| json!({"type": "text", "text": format!("part{i}")})).collect();
    let body = json!({"messages": [{"role": "user", "content": parts}]}).to_string();
    let prompt = chat(&body).text_to_classify(500).to_prompt();
    assert!(prompt.starts_with("part0\npart1\n") && prompt.ends_with("part4998\npart4999"), "{prompt}");
    assert!(prompt.len() <= 500);
}

#[test]
fn the_text_survives_the_way_to_the_sidecar() {
    let body = r#"{"messages": [
        {"role": "developer", "content": "be brief"}, {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"}, {"role": "user", "content": "c \ud83d\ude00"}]}"#;
    let sent = chat(body).text_to_classify(LIMIT).to_body();
    assert_eq!(prompt(std::str::from_utf8(&sent).unwrap()), prompt(body));
}

#[test]
fn a_blank_user_message_is_not_the_last_one() {
    let body = r#"{"messages": [
        {"role": "user", "content": "asked"}, {"role": "assistant", "content": "answered"},
        {"role": "user", "content": [{"type": "text", "text": " \n\u00a0"}, {"type": "text", "text": ""}]}]}"#;
    assert_eq!(prompt(body), "asked\n\nanswered");
}

#[test]
fn a_long_blank_text_stays_blank_when_there_is_room_for_some_of_it_only() {
    let body = json!({"messages": [
        {"role": "user", "content": "asked"}, {"role": "user", "content": " ".repeat(100)}]})
    .to_string();
    assert_eq!(chat(&body).text_to_classify(50).to_prompt(), "asked");
}

#[test]
fn an_escape_that_json_lacks_costs_nothing_but_itself() {
    assert_eq!(
        prompt(r#"{"messages": [{"role": "user", "content": "caf\q au lait"}]}"#),
        "caf\u{fffd} au lait"
    );
}

proptest! {
    /// The sidecar sees what was selected: its parts, and their order.
    #[test]
    fn what_is_selected_is_selected_again(
        turns in prop::collection::vec((any_role(), prop::collection::vec(any_written(), 0..4)), 1..6),
        limit in 0_usize..120,
    ) {
        let part = |text: &String| format!(r#"{{"type": "text", "text": "{text}"}}"#);
        let turn = |(role, parts): &(&str, Vec<String>)| {
            let parts: Vec<_> = parts.iter().map(part).collect();
            format!(r#"{{"role": "{role}", "content": [{}]}}"#, parts.join(","))
        };
        let turns: Vec<_> = turns.iter().map(turn).collect();
        let body = format!(r#"{{"messages": [{}]}}"#, turns.join(","));
        let selected = chat(&body).text_to_classify(limit);
        let sent = String::from_utf8(selected.to_body()).unwrap();
        if !selected.is_empty() {
            let received = chat(&sent).text_to_classify(2 * limit.max(sent.len()));
            prop_assert_eq!(received.to_prompt(), selected.to_prompt());
            prop_assert_eq!(received.to_body(), sent.into_bytes());
        }
    }
}

fn any_role() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["user", "system", "developer", "assistant", "tool"])
}

/// What may stand between a string's quotes, broken escapes and much white space included.
fn any_written() -> impl Strategy<Value = String> {
    let pieces = vec![
        "a",
        " ",
        "          ",
        "é",
        r"\n",
        r"\\",
        r#"\""#,
        r"\u00a0",
        r"\ud83d",
        r"\ude00",
        r"\q",
        r"\u0",
    ];
    prop::collection::vec(prop::sample::select(pieces), 0..12).prop_map(|pieces| pieces.concat())
}

#[test]
fn the_blueprints_metadata_is_read() {
    let directives = |metadata: Value| {
        let body =
            json!({"messages": [{"role": "user", "content": "x"}], "nim-llm-router": metadata}).to_string();
        Request::parse(CHAT, body.as_bytes()).map(|request| request.directives)
    };
    let triton =
        json!({"policy": "task_router", "routing_strategy": "triton", "model": "", "threshold": 0.3});
    let expected = Directives {
        policy: Some("task_router".to_owned()),
        strategy: ModelChoice::Classify,
        threshold: Some(0.3),
    };
    assert_eq!(directives(triton).unwrap(), Some(expected));
    let manual = json!({"routing_strategy": "manual", "model": "Brainstorming"});
    let expected = Directives {
        policy: None,
        strategy: ModelChoice::Manual { model: "Brainstorming".to_owned() },
        threshold: None,
    };
    assert_eq!(directives(manual).unwrap(), Some(expected));
    for wrong in
        [json!({"routing_strategy": "manual"}), json!({"routing_strategy": "magic"}), json!("task_router")]
    {
        assert_eq!(directives(wrong).unwrap_err().status(), 400);
    }
}

#[test]
fn a_body_that_is_no_request_is_a_400_that_names_the_field() {
    for (body, param, said) in [
        (&b"not json"[..], Value::Null, "not a JSON object"),
        (b"", Value::Null, "not a JSON object"),
        (b"[]", Value::Null, "not a JSON object"),
        (b"\xff{}", Value::Null, "not a JSON object"),
        (br#"{"messages": [{"role": "user", "content": "x"}]} x"#, Value::Null, "more text after the end"),
        (br#"{"model": "auto"}"#, json!("messages"), "messages is missing"),
        (br#"{"messages": []}"#, json!("messages"), "must not be empty"),
        (br#"{"messages": "hi"}"#, json!("messages"), "must be an array of messages"),
        (br#"{"messages": [7]}"#, json!("messages"), "must hold objects only"),
        (br#"{"messages": [{"content": "x"}]}"#, json!("messages"), "a message without a role"),
        (
            br#"{"messages": [{"role": "user", "content": 7}]}"#,
            json!("messages"),
            "must be a string, an array of parts, or null",
        ),
        (
            br#"{"model": 7, "messages": [{"role": "user", "content": "x"}]}"#,
            json!("model"),
            "must be a string",
        ),
        (br#"{"messages": [{"role": "user", "content": "x"}]"#, Value::Null, "the end of the object"),
    ] {
        let (status, actual_param, message) = refusal(CHAT, body);
        assert_eq!((status, &actual_param), (400, &param), "{message}");
        assert!(message.contains(said), "{message:?} lacks {said:?}");
    }
    let (_, param, message) = refusal(Endpoint::Completions, br#"{"prompt": 7}"#);
    assert_eq!(param, json!("prompt"), "{message}");
    let (_, param, message) = refusal(Endpoint::Completions, br#"{"prompt": []}"#);
    assert_eq!((param, message.as_str()), (json!("prompt"), "prompt must not be empty"));
}

#[test]
fn an_invalid_array_of_messages_is_not_echoed() {
    let body = format!(r#"{{"messages": "{}"}}"#, "secret ".repeat(100_000));
    assert!(refusal(CHAT, body.as_bytes()).2.len() < 1000);
}

#[test]
fn only_the_model_changes() {
    let body = "{ \"messages\" : [ {\"role\":\"user\",\"content\":\"\\u00e9 \\/ \\ud83d\"} ],\n\t\"temperature\": 1.0, \
                \"seed\": 123456789012345678901234567890, \"model\" :  \"auto\" , \"top_p\": 1e-3 }";
    let expected = body.replace("\"auto\"", r#""big/\"model\"""#);
    assert_eq!(rewritten(body), expected);
}

#[test]
fn a_missing_model_is_put_first() {
    assert_eq!(
        rewritten(r#" { "messages":[{"role":"user","content":"x"}]}"#),
        r#" {"model":"big/\"model\"", "messages":[{"role":"user","content":"x"}]}"#
    );
}

#[test]
fn metadata_goes_with_its_comma_wherever_it_stands() {
    let messages = r#""messages": [{"role": "user", "content": "nim-llm-router"}]"#;
    let model = r#""model": "auto""#;
    for (body, expected) in [
        (format!(r#"{{"nim-llm-router": {{}}, {model}, {messages}}}"#), format!("{{{model}, {messages}}}")),
        (
            format!(r#"{{{model} , "nim-llm-router" : {{}} , {messages}}}"#),
            format!("{{{model}  , {messages}}}"),
        ),
        (format!(r#"{{{model}, {messages}, "nim-llm-router": {{}} }}"#), format!("{{{model}, {messages} }}")),
        (
            format!(
                r#"{{"nim-llm-router":{{}},"nim-llm-router":{{}},{model},{messages},"nim-llm-router":{{}}}}"#
            ),
            format!("{{{model},{messages}}}"),
        ),
        (
            format!(r#"{{"nim\u002dllm-router": {{"policy": "x"}}, {model}, {messages}}}"#),
            format!("{{{model}, {messages}}}"),
        ),
    ] {
        let expected = expected.replace(model, r#""model": "big/\"model\"""#);
        assert_eq!(rewritten(&body), expected, "from {body}");
    }
}

#[test]
fn of_several_models_only_the_last_stays() {
    let body = r#"{"model":"a","messages":[{"role":"user","content":"x"}],"nim-llm-router":{},"model":"b","model":"c"}"#;
    assert_eq!(chat(body).model.as_deref(), Some("c"));
    let expected = r#"{"messages":[{"role":"user","content":"x"}],"model":"big/\"model\""}"#;
    assert_eq!(rewritten(body), expected);
}

#[test]
fn a_body_never_grows_by_more_than_is_said() {
    const MODEL: &str = "vendor/\"model\"";
    let messages = r#""messages":[{"role":"user","content":"x"}]"#;
    for models in ["", r#""model":"","#, &r#""model":"","#.repeat(10_000)] {
        let body = format!("{{{models}{messages}}}");
        let rewritten = chat(&body).into_rewrite().apply(body.as_bytes(), MODEL, &BodyEdits::default());
        assert!(rewritten.len() <= body.len() + growth(MODEL, &BodyEdits::default()), "{}", rewritten.len());
    }
}

#[test]
fn of_a_messages_several_contents_the_last_counts() {
    assert_eq!(
        prompt(
            r#"{"messages":[{"role":"user","content":"a","content":"b"}],"messages":[{"role":"user","content":"c"}]}"#
        ),
        "c"
    );
    assert_eq!(prompt(r#"{"messages":[{"role":"user","content":"a","content":"b"}]}"#), "b");
}

#[test]
fn deep_nesting_is_a_400() {
    let deep = format!("{}{}", "[".repeat(500_000), "]".repeat(500_000));
    let body = format!(r#"{{"x": {deep}, "messages": [{{"role": "user", "content": "x"}}]}}"#);
    assert!(refusal(CHAT, body.as_bytes()).2.contains("nested too deeply"));
}

#[test]
fn invalid_utf8_is_the_llms_business() {
    let body = b"{\"messages\": [{\"role\": \"user\", \"content\": \"caf\xe9 au lait\"}]}";
    let request = Request::parse(CHAT, body).unwrap();
    assert_eq!(request.text_to_classify(LIMIT).to_prompt(), "caf\u{fffd} au lait");
    assert!(request.into_rewrite().apply(body, "m", &BodyEdits::default()).ends_with(&body[1..]));
}

proptest! {
    #[test]
    fn no_bytes_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Request::parse(CHAT, &body);
    }

    /// Whatever else a request holds, the rewritten one holds the same, but for the model and the metadata.
    #[test]
    fn the_rewritten_body_is_the_same_but_for_the_model(
        members in prop::collection::vec(("[a-z\"\\\\é]{0,6}", any_json()), 0..6),
        place in 0_usize..6, metadata_place in 0_usize..6, model: Option<String>, pretty: bool,
    ) {
        let mut all: Vec<(String, Value)> = members;
        all.retain(|(key, _)| key != "model" && key != "messages");
        let mut insert = |place: usize, key: &str, value: Value| {
            all.insert(place.min(all.len()), (key.to_owned(), value));
        };
        insert(place, "messages", json!([{"role": "user", "content": "x"}]));
        insert(metadata_place, "nim-llm-router", json!({"policy": "p,\"}{"}));
        if let Some(model) = &model {
            insert(place, "model", json!(model));
        }
        let comma = if pretty { " ,\n " } else { "," };
        let colon = if pretty { " : " } else { ":" };
        let written: Vec<_> = all.iter().map(|(key, value)| format!("{}{colon}{value}", json!(key))).collect();
        let body = format!("{{{}}}", written.join(comma));

        let request = chat(&body);
        prop_assert_eq!(request.model.as_deref(), model.as_deref().filter(|model| !model.is_empty()));
        let after: Value = serde_json::from_slice(&request.into_rewrite().apply(body.as_bytes(), "new", &BodyEdits::default())).unwrap();
        let mut expected: Value = serde_json::from_str(&body).unwrap();
        expected.as_object_mut().unwrap().remove("nim-llm-router");
        expected["model"] = json!("new");
        prop_assert_eq!(after, expected);
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(any::<String>(), inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn parsed(endpoint: Endpoint, body: &Value) -> (String, Requirements, u64) {
    let body = body.to_string();
    let request = Request::parse(endpoint, body.as_bytes()).unwrap();
    (request.text_to_classify(LIMIT).to_prompt(), request.needs, request.prompt_tokens)
}

#[test]
fn a_response_request_is_read() {
    let text = |body: Value| parsed(Endpoint::Responses, &body).0;
    assert_eq!(text(json!({"input": "hi", "instructions": "be brief"})), "hi\n\nbe brief");
    let items = json!([
        {"role": "user", "content": "first"},
        {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "1", "output": "42"},
        {"type": "message", "role": "user", "content": [
            {"type": "input_text", "text": "second"}, {"type": "input_image", "image_url": "data:"}]},
    ]);
    assert_eq!(text(json!({"input": items, "instructions": null})), "second\n\nfirst");
}

#[test]
fn anthropics_messages_are_read() {
    let body = json!({
        "system": [{"type": "text", "text": "be brief"}], "max_tokens": 1000,
        "messages": [{"role": "user", "content": [
            {"type": "image", "source": {"type": "base64", "data": "AAAA"}}, {"type": "text", "text": "what is it?"}]}],
    });
    let (text, needs, _) = parsed(Endpoint::Messages, &body);
    assert_eq!(text, "what is it?\n\nbe brief");
    assert_eq!(needs.api, Api::Anthropic);
    assert!(needs.capabilities.has(Capability::Images));
    assert!(needs.tokens > 1000);
}

#[test]
fn embeddings_have_an_input() {
    for input in [json!("a text"), json!(["two", "texts"]), json!([1, 2, 3]), json!([[1, 2], [3]])] {
        let body = json!({"model": "m", "input": input}).to_string();
        assert!(Request::parse(Endpoint::Embeddings, body.as_bytes()).is_ok());
    }
}

#[test]
fn needs_are_told_by_what_the_request_brings() {
    let needs = |more: Value| {
        let mut body = json!({"messages": [{"role": "user", "content": "hi"}]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        parsed(CHAT, &body).1.capabilities
    };
    let only = |capability: Capability| Capabilities::default().with(capability);
    assert_eq!(needs(json!({})), Capabilities::default());
    assert_eq!(needs(json!({"tools": [{"type": "function"}]})), only(Capability::Tools));
    assert_eq!(
        needs(json!({"tools": [], "functions": null, "reasoning_effort": null})),
        Capabilities::default()
    );
    assert_eq!(
        needs(json!({"response_format": {"type": "json_schema", "json_schema": {}}})),
        only(Capability::Json)
    );
    assert_eq!(needs(json!({"response_format": {"type": "text"}})), Capabilities::default());
    assert_eq!(needs(json!({"text": {"format": {"type": "json_schema"}}})), only(Capability::Json));
    assert_eq!(needs(json!({"reasoning_effort": "high"})), only(Capability::Reasoning));
    let image = json!([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:"}}]}]);
    assert_eq!(needs(json!({"messages": image})), only(Capability::Images));
}

#[test]
fn tokens_are_estimated_without_images() {
    let message =
        |content: Value| json!({"messages": [{"role": "user", "content": content}], "max_tokens": 50});
    let (_, needs, prompt_tokens) = parsed(CHAT, &message(json!("x".repeat(4000))));
    assert_eq!((prompt_tokens, needs.tokens), (1001, 1051));
    let image = json!([{"type": "image_url", "image_url": {"url": "A".repeat(4000)}}]);
    assert_eq!(parsed(CHAT, &message(image)).2, 0);
}

#[test]
fn a_conversation_is_told_by_how_it_begins() {
    let key = |messages: Value| {
        let body = json!({"messages": messages}).to_string();
        chat(&body).conversation()
    };
    let turn = |role: &str, content: &str| json!({"role": role, "content": content});
    let begun = key(json!([turn("system", "s"), turn("user", "a")]));
    assert_eq!(
        begun,
        key(json!([turn("system", "s"), turn("user", "a"), turn("assistant", "b"), turn("user", "c")]))
    );
    assert_ne!(begun, key(json!([turn("system", "s"), turn("user", "b")])));
    assert_ne!(begun, key(json!([turn("system", "t"), turn("user", "a")])));
}
