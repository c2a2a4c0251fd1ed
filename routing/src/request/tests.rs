use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Directives, Endpoint, Harness, ModelChoice, PromptSettings, Request};
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

fn settings(limit: usize) -> PromptSettings {
    PromptSettings::as_sent(limit)
}

/// The prompt and its context, oldest first.
fn prompt_of(request: &Request<'_>, limit: usize) -> Vec<String> {
    let prompt = request.prompt(&settings(limit));
    let all: Vec<_> = prompt.context().chain([prompt.text()]).collect();
    if prompt.is_empty() { Vec::new() } else { all }
}

fn prompt(body: &str) -> String {
    prompt_of(&chat(body), LIMIT).pop().unwrap_or_default()
}

#[test]
fn a_chat_request_is_read() {
    let request =
        chat(r#"{"model": "auto", "messages": [{"role": "user", "content": "hi"}], "stream": true}"#);
    assert_eq!(request.model.as_deref(), Some("auto"));
    assert_eq!(request.directives, None);
    assert_eq!(request.prompt(&settings(LIMIT)).text(), "hi");
}

#[test]
fn a_completion_is_read() {
    let text = |body: &str| {
        let request = Request::parse(Endpoint::Completions, body.as_bytes()).unwrap();
        request.prompt(&settings(LIMIT)).text()
    };
    assert_eq!(text(r#"{"prompt": "once upon"}"#), "once upon");
    assert_eq!(text(r#"{"prompt": ["once", "upon"]}"#), "once\nupon");
    assert_eq!(text(r#"{"prompt": [1, 2, 3]}"#), "");
    assert_eq!(text(r#"{"prompt": [[1, 2], [3]]}"#), "");
}

#[test]
fn the_prompt_is_the_last_user_message_with_two_earlier_ones_as_context() {
    let body = r#"{"messages": [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "zeroth"},
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": "answer", "tool_calls": [{"id": 1}]},
        {"role": "tool", "tool_call_id": "1", "content": "result"},
        {"role": "user", "content": "second"},
        {"role": "user", "content": [{"type": "text", "text": "look"}, {"type": "image_url", "image_url": {"url": "data:"}},
            {"type": "text", "text": "here"}]},
        {"role": "assistant", "content": null},
        {"role": "tool", "tool_call_id": "2", "content": "another result"}
    ]}"#;
    assert_eq!(prompt_of(&chat(body), LIMIT), ["first", "second", "look\nhere"]);
}

#[test]
fn without_a_user_message_the_system_prompt_is_read() {
    assert_eq!(prompt(r#"{"messages": [{"role": "system", "content": "be brief"}]}"#), "be brief");
    assert!(prompt_of(&chat(r#"{"messages": [{"role": "user", "content": " \n"}]}"#), LIMIT).is_empty());
    assert!(prompt_of(&chat(r#"{"messages": [{"role": "assistant", "content": "a"}]}"#), LIMIT).is_empty());
}

#[test]
fn a_user_message_that_looks_like_a_harness_is_read_when_there_is_no_other() {
    let mut settings = settings(LIMIT);
    settings.harness = Harness { added_elements: vec!["reminder".to_owned()], ..Harness::default() };
    let text = |body: &str| chat(body).prompt(&settings).text();
    let hidden = r#"{"role": "user", "content": "<reminder>x</reminder>"}"#;
    assert_eq!(text(&format!(r#"{{"messages": [{hidden}]}}"#)), "<reminder>x</reminder>");
    assert_eq!(text(&format!(r#"{{"messages": [{{"role": "user", "content": "hi"}}, {hidden}]}}"#)), "hi");
}

#[test]
fn steps_of_a_tool_loop_have_one_prompt() {
    let user = json!({"role": "user", "content": "fix it"});
    let of = |endpoint, body: Value| {
        let body = body.to_string();
        Request::parse(endpoint, body.as_bytes()).unwrap().prompt(&settings(LIMIT)).digest()
    };
    let openai = json!([user, {"role": "assistant", "content": "ok", "tool_calls": [{"id": "1"}]},
        {"role": "tool", "content": "result"}]);
    let anthropic = json!([user, {"role": "assistant", "content": [{"type": "tool_use", "id": "1", "input": {"q": "x"}}]},
        {"role": "user", "content": [{"type": "tool_result", "content": [{"type": "text", "text": "result"}]}]}]);
    let responses = json!([user, {"type": "reasoning", "summary": []},
        {"type": "function_call", "arguments": "{}"}, {"type": "function_call_output", "output": "result"},
        {"type": "custom_tool_call", "input": "x"},
        {"type": "custom_tool_call_output", "output": [{"type": "input_text", "text": "result"}]}]);
    for (endpoint, field, messages) in [
        (CHAT, "messages", openai),
        (Endpoint::Messages, "messages", anthropic),
        (Endpoint::Responses, "input", responses),
    ] {
        let first = of(endpoint, json!({field: [user]}));
        assert_eq!(
            first,
            of(endpoint, json!({field: messages, "system": "s", "instructions": "i"})),
            "{endpoint:?}"
        );
    }
}

#[test]
fn a_long_text_keeps_its_head_and_tail() {
    let body = json!({"messages": [
        {"role": "system", "content": "never read"},
        {"role": "user", "content": format!("BEGIN {} END", "\"é\n".repeat(10_000))},
    ]});
    let prompt = prompt_of(&chat(&body.to_string()), 1000).concat();
    assert!(prompt.starts_with("BEGIN \"é\n") && prompt.ends_with("\n END"), "{prompt}");
    assert!(prompt.len() <= 1000 && prompt.contains("\n…\n"));
}

#[test]
fn many_parts_are_windowed_as_one_text() {
    let parts: Vec<_> = (0..5000).map(|i| json!({"type": "text", "text": format!("part{i}")})).collect();
    let body = json!({"messages": [{"role": "user", "content": parts}]}).to_string();
    let prompt = prompt_of(&chat(&body), 500).concat();
    assert!(prompt.starts_with("part0\npart1\n") && prompt.ends_with("part4998\npart4999"), "{prompt}");
    assert!(prompt.len() <= 500);
}

#[test]
fn context_is_bounded_and_leaves_room_for_the_prompt() {
    let long = "x".repeat(10_000);
    let messages: Vec<_> = [&long, &long, "last"].map(|text| json!({"role": "user", "content": text})).into();
    let body = json!({"messages": messages}).to_string();
    let lengths = |limit| prompt_of(&chat(&body), limit).iter().map(String::len).collect::<Vec<_>>();
    let all = lengths(LIMIT);
    assert!(all.len() == 3 && all[0] <= 2048 && all[1] <= 2048 && all[2] == 4, "{all:?}");
    assert!(lengths(1000).iter().sum::<usize>() <= 1000);
    assert_eq!(lengths(8), [4]);
}

#[test]
fn a_blank_user_message_is_not_the_last_one() {
    let body = r#"{"messages": [
        {"role": "user", "content": "asked"}, {"role": "assistant", "content": "answered"},
        {"role": "user", "content": [{"type": "text", "text": " \n\u00a0"}, {"type": "text", "text": ""}]}]}"#;
    assert_eq!(prompt(body), "asked");
}

#[test]
fn a_long_blank_text_stays_blank_when_there_is_room_for_some_of_it_only() {
    let body = json!({"messages": [
        {"role": "user", "content": "asked"}, {"role": "user", "content": " ".repeat(100)}]})
    .to_string();
    assert_eq!(prompt_of(&chat(&body), 50), ["asked"]);
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
        let selected = prompt_of(&chat(&body), limit);
        let sent = String::from_utf8(chat(&body).prompt(&settings(limit)).to_body()).unwrap();
        if !selected.is_empty() {
            let again = 2 * limit.max(sent.len());
            prop_assert_eq!(prompt_of(&chat(&sent), again), selected);
            prop_assert_eq!(chat(&sent).prompt(&settings(again)).to_body(), sent.clone().into_bytes());
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
    assert_eq!(directives(Value::Null).unwrap(), None);
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
}

#[test]
fn a_prompt_that_cannot_be_read_is_an_error_for_who_needs_it() {
    for (body, said) in [
        (r#"{"model": "auto"}"#, "messages is missing"),
        (r#"{"messages": []}"#, "must not be empty"),
        (r#"{"messages": "hi"}"#, "must be an array of messages"),
        (r#"{"messages": null}"#, "must be an array of messages"),
        (r#"{"messages": [7]}"#, "must hold objects only"),
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
    assert_eq!(request.prompt(&settings(LIMIT)).text(), "caf\u{fffd} au lait");
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
    (request.prompt(&settings(LIMIT)).text(), request.needs, request.prompt_tokens)
}

#[test]
fn a_response_request_is_read() {
    let text = |body: Value| parsed(Endpoint::Responses, &body).0;
    assert_eq!(text(json!({"input": "hi", "instructions": "be brief"})), "hi");
    assert_eq!(text(json!({"instructions": "be brief"})), "be brief");
    assert_eq!(text(json!({"input": [{"type": "input_text", "text": "hi"}]})), "hi");
    let items = json!([
        {"role": "user", "content": "first"},
        {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "1", "output": "42"},
        {"type": "message", "role": "user", "content": [
            {"type": "input_text", "text": "second"}, {"type": "input_image", "image_url": "data:"}]},
    ]);
    assert_eq!(text(json!({"input": items, "instructions": null})), "second");
}

#[test]
fn anthropics_messages_are_read() {
    let body = json!({
        "system": [{"type": "text", "text": "be brief"}], "max_tokens": 1000,
        "messages": [{"role": "user", "content": [
            {"type": "image", "source": {"type": "base64", "data": "AAAA"}}, {"type": "text", "text": "what is it?"}]}],
    });
    let (text, needs, _) = parsed(Endpoint::Messages, &body);
    assert_eq!(text, "what is it?");
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

fn needs(endpoint: Endpoint, more: &Value) -> Capabilities {
    let field = if endpoint == Endpoint::Responses { "input" } else { "messages" };
    let mut body = json!({field: [{"role": "user", "content": "hi"}]});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    parsed(endpoint, &body).1.capabilities
}

fn only(capability: Capability) -> Capabilities {
    Capabilities::default().with(capability)
}

#[test]
fn values_need_something_not_fields() {
    let none = Capabilities::default();
    for nothing in [
        json!({"tools": [], "functions": null, "response_format": null, "reasoning_effort": null}),
        json!({"reasoning_effort": "none"}),
        json!({"reasoning_effort": ""}),
        json!({"reasoning_effort": " None "}),
        json!({"nvext": {"guided_choice": ["x".repeat(5000)]}}),
        json!({"reasoning": {}}),
        json!({"reasoning": {"effort": "none"}}),
        json!({"reasoning": {"effort": null, "summary": null}}),
        json!({"reasoning": {"enabled": false}}),
        json!({"reasoning": {"enabled": false, "effort": "high"}}),
        json!({"reasoning": {"exclude": true}}),
        json!({"thinking": {"type": "disabled"}}),
        json!({"thinking": false, "think": false, "enable_thinking": false}),
        json!({"thinking_budget": 0}),
        json!({"chat_template_kwargs": {"enable_thinking": false}}),
        json!({"chat_template_kwargs": {"other": true}}),
        json!({"response_format": {"type": "text"}}),
    ] {
        assert_eq!(needs(CHAT, &nothing), none, "{nothing}");
    }
    for reasoning in [
        json!({"reasoning_effort": "low"}),
        json!({"reasoning_effort": "minimal"}),
        json!({"reasoning": {"effort": "high"}}),
        json!({"reasoning": {"max_tokens": 2000}}),
        json!({"reasoning": {"enabled": true}}),
        json!({"thinking": {"type": "adaptive"}}),
        json!({"thinking": {"type": "enabled", "budget_tokens": 1024}}),
        json!({"chat_template_kwargs": {"enable_thinking": true}}),
        json!({"thinking_budget": 100}),
        json!({"thinking_budget": -1}),
        json!({"chat_template_kwargs": {"enable_thinking": true, "documents": "x".repeat(5000)}}),
        json!({"think": "high"}),
    ] {
        assert_eq!(needs(CHAT, &reasoning), only(Capability::Reasoning), "{reasoning}");
    }
}

#[test]
fn a_later_synonym_that_says_nothing_cancels_no_need() {
    assert_eq!(
        needs(CHAT, &json!({"tools": [{"type": "function"}], "functions": null})),
        only(Capability::Tools)
    );
    assert_eq!(needs(CHAT, &json!({"functions": [], "tools": [{}]})), only(Capability::Tools));
    let effort = json!({"reasoning_effort": "high", "reasoning": null, "thinking": {}});
    assert_eq!(needs(CHAT, &effort), only(Capability::Reasoning));
    let message = r#""messages": [{"role": "user", "content": ""}]"#;
    for (numbers, expected) in [
        (r#""max_tokens": null, "max_completion_tokens": 100000"#, 100_000),
        (r#""max_completion_tokens": 100000, "max_tokens": null"#, 100_000),
        (r#""max_completion_tokens": 10, "max_tokens": 100000.0"#, 100_000),
        (r#""max_tokens": -5, "max_completion_tokens": "many""#, 0),
    ] {
        let body = format!("{{{message}, {numbers}}}");
        assert_eq!(chat(&body).needs.tokens, expected + 1, "{numbers}");
    }
}

#[test]
fn of_one_field_the_last_value_counts() {
    let body = |members: &str| format!(r#"{{"messages": [{{"role": "user", "content": "hi"}}], {members}}}"#);
    let capabilities = |members: &str| chat(&body(members)).needs.capabilities;
    assert_eq!(capabilities(r#""tools": [], "tools": [{}]"#), only(Capability::Tools));
    assert_eq!(capabilities(r#""tools": [{}], "tools": []"#), Capabilities::default());
}

#[test]
fn json_is_found_wherever_an_api_can_ask_for_it() {
    let json = only(Capability::Json);
    let schema = json!({"type": "json_schema", "schema": {"type": "object"}});
    for (endpoint, more) in [
        (CHAT, json!({"response_format": {"type": "json_object"}})),
        (CHAT, json!({"response_format": schema})),
        (CHAT, json!({"guided_json": {"type": "object"}})),
        (CHAT, json!({"guided_json": {"anyOf": [{"$ref": "#/$defs/A"}]}})),
        (CHAT, json!({"structured_outputs": {"json": {"type": "object"}}})),
        (CHAT, json!({"nvext": {"guided_json": {"type": "object"}}})),
        (CHAT, json!({"response_format": {"type": "json_schema", "json_schema": "x".repeat(10_000)}})),
        (Endpoint::Responses, json!({"text": {"format": schema}, "response_format": null})),
        (Endpoint::Messages, json!({"output_format": schema})),
        (Endpoint::Messages, json!({"output_config": {"format": schema}})),
    ] {
        assert_eq!(needs(endpoint, &more), json, "{endpoint:?} {more}");
    }
    let both = json!({"output_config": {"effort": "high", "format": {"type": "json_schema", "schema": "x".repeat(5000)}}});
    assert_eq!(needs(Endpoint::Messages, &both), only(Capability::Reasoning).with(Capability::Json));
    let effort = json!({"output_config": {"effort": "high"}});
    assert_eq!(needs(Endpoint::Messages, &effort), only(Capability::Reasoning));
    assert_eq!(needs(CHAT, &json!({"text": {"format": schema}})), Capabilities::default());
}

#[test]
fn images_are_found_wherever_an_api_can_put_them() {
    let image =
        json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}});
    let url = json!({"type": "image_url", "image_url": {"url": "data:"}});
    let turn = |role: &str, content: Value| json!([{"role": role, "content": content}]);
    for (endpoint, messages) in [
        (CHAT, turn("user", json!([url]))),
        (CHAT, turn("user", json!([{"image_url": "data:"}]))),
        (CHAT, turn("tool", json!([url]))),
        (CHAT, turn("user", json!([{"type": "video_url", "video_url": {"url": "x"}}]))),
        (CHAT, turn("user", json!([{"type": "file", "file": {"file_data": "data:image/png;base64,AA"}}]))),
        (CHAT, turn("user", json!([{"type": "file", "file": {"file_data": "data:Video/mp4;base64,AA"}}]))),
        (CHAT, json!([{"role": "assistant", "content": "here", "images": [url]}])),
        (Endpoint::Messages, turn("user", json!([image]))),
        (Endpoint::Messages, turn("user", json!([{"type": "tool_result", "content": [image]}]))),
        (
            Endpoint::Messages,
            turn("user", json!([{"type": "document", "source": {"type": "content", "content": [image]}}])),
        ),
        (Endpoint::Responses, turn("user", json!([{"type": "input_image", "image_url": "data:"}]))),
        (Endpoint::Responses, json!([{"type": "function_call_output", "output": [{"type": "input_image"}]}])),
        (
            Endpoint::Responses,
            json!([{"type": "computer_call_output", "output": {"type": "computer_screenshot"}}]),
        ),
    ] {
        let field = if endpoint == Endpoint::Responses { "input" } else { "messages" };
        let capabilities = parsed(endpoint, &json!({field: messages})).1.capabilities;
        assert_eq!(capabilities, only(Capability::Images), "{endpoint:?} {messages}");
    }
    let without = turn(
        "user",
        json!([{"type": "document", "source": {"media_type": "application/pdf", "data": "AA"}}]),
    );
    assert_eq!(
        parsed(Endpoint::Messages, &json!({"messages": without})).1.capabilities,
        Capabilities::default()
    );
}

#[test]
fn reasoning_that_only_its_model_reads_is_found() {
    let at = |endpoint, body: Value| {
        let body = body.to_string();
        Request::parse(endpoint, body.as_bytes()).unwrap().sealed_reasoning()
    };
    let user = json!({"role": "user", "content": "hi"});
    let assistant =
        |content: Value| json!({"messages": [user, {"role": "assistant", "content": content}, user]});
    let thinking = json!([{"type": "thinking", "thinking": "hm", "signature": "s"}]);
    assert_eq!(at(Endpoint::Messages, assistant(thinking)), Some(1));
    assert_eq!(
        at(Endpoint::Messages, assistant(json!([{"type": "redacted_thinking", "data": "d"}]))),
        Some(1)
    );
    let unsigned = json!([{"type": "thinking", "thinking": "hm", "signature": ""}]);
    assert_eq!(at(Endpoint::Messages, assistant(unsigned)), None);
    let item = json!({"type": "reasoning", "summary": [], "encrypted_content": "x"});
    assert_eq!(at(Endpoint::Responses, json!({"input": [user, item]})), Some(1));
    let item = json!({"type": "reasoning", "summary": [], "encrypted_content": null});
    assert_eq!(at(Endpoint::Responses, json!({"input": [user, item]})), None);
    let details =
        json!({"role": "assistant", "reasoning_details": [{"type": "reasoning.encrypted", "data": "x"}]});
    assert_eq!(at(CHAT, json!({"messages": [user, details]})), Some(1));
}

#[test]
fn tokens_are_estimated_without_images() {
    let message =
        |content: Value| json!({"messages": [{"role": "user", "content": content}], "max_tokens": 50});
    let (_, needs, prompt_tokens) = parsed(CHAT, &message(json!("x".repeat(4000))));
    assert_eq!((prompt_tokens, needs.tokens), (1001, 1051));
    let image = json!([{"type": "image_url", "image_url": {"url": "A".repeat(4000)}}]);
    assert_eq!(parsed(CHAT, &message(image)).2, 0);
    for numbers in [json!(vec![5; 1000]), json!([vec![5; 500], vec![7; 500]])] {
        assert_eq!(parsed(Endpoint::Completions, &json!({"prompt": numbers})).2, 1000);
    }
    let output = json!([{"type": "shell_call_output", "output": [{"stdout": "x".repeat(4000)}]}]);
    assert!(parsed(Endpoint::Responses, &json!({"input": output})).2 >= 1000);
}

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
