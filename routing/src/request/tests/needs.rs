//! What requests require of a model.

use super::*;

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
fn a_member_for_images_without_one_is_none() {
    for nothing in ["null", "[]", "[ ]", "{\n}", "\"\""] {
        let body = format!(r#"{{"messages": [{{"role": "user", "content": "hi", "images": {nothing}}}]}}"#);
        let request = Request::parse(CHAT, body.as_bytes()).unwrap();
        assert_eq!(request.needs.capabilities, Capabilities::default(), "{nothing}");
    }
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

/// 400 KB of text.
fn long() -> String {
    "word ".repeat(80_000)
}

fn estimated(endpoint: Endpoint, body: &Value) -> u64 {
    estimated_of(endpoint, &body.to_string())
}

fn estimated_of(endpoint: Endpoint, body: &str) -> u64 {
    Request::parse(endpoint, body.as_bytes()).unwrap().estimated_tokens
}

#[test]
fn nothing_that_an_llm_may_read_escapes_the_estimate() {
    use Endpoint::{Completions, Embeddings, Messages, Responses};
    let long = long();
    let message = |message: Value| json!({"messages": [message]});
    let part = |part: Value| message(json!({"role": "user", "content": [part]}));
    let document = |source: Value| part(json!({"type": "document", "source": source}));
    let hi = json!([{"role": "user", "content": "hi"}]);
    let with = |field: &str, value: Value| json!({"messages": hi, field: value});
    for (endpoint, body) in [
        (CHAT, part(json!({"type": "refusal", "refusal": long}))),
        (CHAT, part(json!({"type": "thinking", "thinking": long}))),
        (CHAT, part(json!({"type": "new", "new": {"text": [long]}}))),
        (CHAT, part(json!({"type": "text", "text": "hi", "new": long}))),
        (CHAT, part(json!({"type": "text", "text": "hi", "image_url": {"url": long}}))),
        (CHAT, part(json!([[[[[[long]]]]]]))),
        (CHAT, message(json!({"role": "assistant", "content": "hi", "reasoning_content": long}))),
        (CHAT, message(json!({"role": "user", "content": "hi", "text": long}))),
        (CHAT, message(json!({"role": long, "content": "hi"}))),
        (CHAT, message(json!({"role": "assistant", "reasoning_details": [{"text": long}]}))),
        (Messages, document(json!({"type": "text", "data": long}))),
        (Messages, document(json!({"data": "x".repeat(400_000), "type": "text"}))),
        (Messages, document(json!({"media_type": "text/plain", "data": "x".repeat(400_000)}))),
        (Messages, document(json!({"type": "content", "content": [{"type": "text", "text": long}]}))),
        (
            CHAT,
            part(
                json!({"type": "file", "file": {"file_data": format!("data:text/plain;base64,{}", "x".repeat(400_000))}}),
            ),
        ),
        // Not valid for the router, but for some servers.
        (CHAT, json!({"messages": [{"content": "hi"}, {"role": "user", "content": long}]})),
        (CHAT, json!({"messages": long})),
        (CHAT, message(json!({"role": "user", "content": {"a": {"b": [long]}}}))),
        (Completions, json!({"prompt": {"text": long}})),
        (Completions, json!({"prompt": [[[long]]]})),
        (Completions, json!({"prompt": [1, long]})),
        (Completions, json!({"prompt": [[1, long], [2]]})),
        (Messages, json!({"messages": hi, "system": {"new": long}})),
        (Messages, json!({"messages": 7, "system": long})),
        // Beside the prompt's field.
        (Completions, json!({"prompt": "hi", "suffix": long})),
        (CHAT, with("documents", json!([{"text": long}]))),
        (CHAT, with("prediction", json!({"type": "content", "content": long}))),
        (CHAT, with("chat_template", json!(long))),
        (CHAT, with("chat_template_kwargs", json!({"system": long}))),
        (CHAT, with("response_format", json!({"type": "json_schema", "json_schema": {"description": long}}))),
        (Responses, json!({"input": "hi", "prompt": {"id": "p", "variables": {"text": long}}})),
        (Embeddings, json!({"input": long})),
        (Embeddings, json!({"input": [long, "hi"]})),
        (Embeddings, json!({"input": vec![1; 100_000]})),
        (Embeddings, json!({"messages": [{"role": "user", "content": long}]})),
    ] {
        let estimated = estimated(endpoint, &body);
        let body = body.to_string();
        let start: String = body.chars().take(100).collect();
        assert!((100_000..=100_100).contains(&estimated), "{endpoint:?} {start}: {estimated}");
    }
    for body in [
        format!(r#"{{"messages":[{{"role":"user","content":"{long}","content":"hi"}}]}}"#),
        format!(r#"{{"messages":[{{"role":"user","Content":"{long}","content":null}}]}}"#),
        format!(r#"{{"messages":[{{"role":"user","content":"hi"}}],"max_tokens":10,"system":"{long}"}}"#),
    ] {
        let estimated = estimated_of(Endpoint::Messages, &body);
        assert!((100_000..=100_100).contains(&estimated), "{estimated}");
    }
}

#[test]
fn every_completion_counts() {
    let message = json!([{"role": "user", "content": "hi"}]);
    let prompts = |prompt: Value| json!({"prompt": prompt, "max_tokens": 4000});
    for (endpoint, body, expected) in [
        (CHAT, json!({"messages": message, "max_tokens": "4000"}), 4001),
        (CHAT, json!({"messages": message, "max_tokens": " 4_000.0 "}), 4001),
        (CHAT, json!({"messages": message, "max_tokens": 4000, "n": 128}), 128 * 4000 + 1),
        (CHAT, json!({"messages": message, "max_completion_tokens": 4000, "n": "128"}), 128 * 4000 + 1),
        (CHAT, json!({"messages": message, "max_tokens": 4000, "n": 0}), 4001),
        (Endpoint::Completions, json!({"prompt": "hi", "max_tokens": 4000, "n": 2, "best_of": 3}), 12_001),
        (Endpoint::Completions, prompts(json!(vec!["hi"; 100])), 100 * 4001),
        (Endpoint::Completions, prompts(json!([[1], [2, 3]])), 8003),
        (Endpoint::Completions, prompts(json!([[1], "hi"])), 8002),
        (Endpoint::Completions, prompts(json!([1, 2, 3])), 4003),
        (
            Endpoint::Responses,
            json!({"input": [{"role": "user", "content": "hi"}], "max_output_tokens": 9}),
            10,
        ),
    ] {
        assert_eq!(estimated(endpoint, &body), expected, "{body}");
    }
    for numbers in [r#""max_tokens":1e19,"n":1e19"#, r#""max_tokens":1e999"#, r#""max_tokens":"1e999""#] {
        let body = format!(r#"{{"prompt":["hi","hi"],{numbers}}}"#);
        assert!(estimated_of(Endpoint::Completions, &body) >= 1_000_000_000, "{numbers}");
    }
    // Each completion has the model's context to itself.
    let body = json!({"messages": message, "max_tokens": 4000, "n": 128});
    assert_eq!(parsed(CHAT, &body).1.tokens, 4001);
}

#[test]
fn encoded_data_has_no_tokens() {
    let data = "QUJD".repeat(100_000);
    let url = format!("data:image/png;base64,{data}");
    let escaped = data.replace("QUJDQUJD", "QU/\nJDQ");
    let part = |part: Value| json!({"messages": [{"role": "user", "content": [part]}]});
    let items = |item: Value| json!({"input": [item]});
    let source = json!({"type": "base64", "media_type": "application/pdf", "data": data});
    for (endpoint, body) in [
        (CHAT, part(json!({"type": "image_url", "image_url": {"url": url, "detail": "low"}}))),
        (CHAT, part(json!({"type": "image_url", "image_url": url}))),
        (CHAT, part(json!({"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}))),
        (CHAT, part(json!({"type": "input_audio", "input_audio": {"data": escaped, "format": "wav"}}))),
        (CHAT, part(json!({"type": "video_url", "video_url": {"url": url}}))),
        (CHAT, part(json!({"type": "file", "file": {"file_data": url, "filename": "a.png"}}))),
        (CHAT, json!({"messages": [{"role": "user", "content": "hi", "images": [data, data]}]})),
        (Endpoint::Messages, part(json!({"type": "image", "source": source}))),
        (Endpoint::Messages, part(json!({"type": "document", "source": source}))),
        (
            Endpoint::Messages,
            part(json!({"type": "tool_result", "content": [{"type": "image", "source": source}]})),
        ),
        (Endpoint::Messages, part(json!({"type": "redacted_thinking", "data": data}))),
        (Endpoint::Messages, part(json!({"type": "thinking", "thinking": "", "signature": data}))),
        (Endpoint::Responses, items(json!({"type": "input_image", "image_url": url}))),
        (Endpoint::Responses, items(json!({"type": "image_generation_call", "result": data}))),
        (Endpoint::Responses, items(json!({"type": "reasoning", "encrypted_content": data}))),
        (
            Endpoint::Responses,
            items(
                json!({"type": "computer_call_output", "output": {"type": "computer_screenshot", "image_url": url}}),
            ),
        ),
        (Endpoint::Completions, json!({"prompt_embeds": data})),
        (Endpoint::Embeddings, json!({"input": [{"image": url}]})),
        (Endpoint::Embeddings, part(json!({"type": "image_url", "image_url": {"url": url}}))),
    ] {
        let estimated = estimated(endpoint, &body);
        let body = body.to_string();
        let start: String = body.chars().take(100).collect();
        assert!(estimated < 50, "{start}: {estimated}");
    }
}
