//! The prompt that is classified.

use super::*;

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
fn without_a_user_message_the_system_prompt_is_read_or_else_the_last_of_any_role() {
    let other = r#"{"role": "assistant", "content": "a"}"#;
    let system = r#"{"role": "system", "content": "be brief"}"#;
    assert_eq!(prompt(&format!(r#"{{"messages": [{system}, {other}]}}"#)), "be brief");
    assert_eq!(prompt(&format!(r#"{{"messages": [{other}, {{"role": "human", "content": "hi"}}]}}"#)), "hi");
    assert!(prompt_of(&chat(r#"{"messages": [{"role": "user", "content": " \n"}]}"#), LIMIT).is_empty());
}

/// Servers in Go ignore the case of keys and some the case of roles; vLLM reads several types of parts as text.
#[test]
fn what_a_server_takes_for_the_users_text_is_read() {
    for role in ["User", "USER", " user\\n", "u\\u017fer", "\\u0075ser"] {
        let message = format!(r#"{{"role": "{role}", "content": "hi"}}"#);
        let body = format!(r#"{{"messages": [{{"role": "user", "content": "first"}}, {message}]}}"#);
        assert_eq!(prompt(&body), "hi", "{role}");
    }
    let benign = r#"{"role": "user", "content": "first"}, {"role": "assistant", "content": "b"}"#;
    for message in [
        r#"{"role": "user", "content": [{"type": "refusal", "refusal": "hi"}]}"#,
        r#"{"role": "user", "content": [{"type": "thinking", "thinking": "hi"}]}"#,
        r#"{"Role": "user", "CONTENT": "hi"}"#,
        r#"{"role": "user", "content": [{"Type": "text", "Text": "hi"}]}"#,
        r#"{"role": "user", "content": [{"type": "thin\u212aing", "thin\u212aing": "hi"}]}"#,
        r#"{"role": "user", "content": "hi", "content": null}"#,
        r#"{"role": "user", "role": null, "content": "hi"}"#,
        r#"{"role": "user", "role": "tool", "content": "hi"}"#,
    ] {
        assert_eq!(prompt(&format!(r#"{{"messages": [{benign}, {message}]}}"#)), "hi", "{message}");
    }
}

#[test]
fn a_prompt_that_only_an_llm_can_read_is_known_to_be_unreadable() {
    use Endpoint::{Completions, Embeddings, Messages, Responses};
    let is_unreadable = |endpoint, body: &Value| {
        let body = body.to_string();
        Request::parse(endpoint, body.as_bytes()).unwrap().is_unreadable()
    };
    let user = |content: Value| json!({"role": "user", "content": content});
    let messages = |messages: &[Value]| json!({"messages": messages});
    let hi = user(json!("hi"));
    let image = json!({"type": "image_url", "image_url": {"url": "data:"}});
    let result = json!({"type": "tool_result", "tool_use_id": "1", "content": "x"});
    let output = json!({"type": "function_call_output", "call_id": "1", "output": "x"});
    for (endpoint, body) in [
        (Completions, json!({"prompt": [17, 5, 3]})),
        (Completions, json!({"prompt": ["hi", [17, 5]]})),
        (Completions, json!({"prompt": "hi", "prompt_embeds": "AAAA"})),
        (CHAT, messages(&[user(json!([image]))])),
        (CHAT, messages(&[hi.clone(), user(json!([image]))])),
        (CHAT, messages(&[hi.clone(), user(json!([{"type": "new", "new": "x"}]))])),
        (CHAT, messages(&[json!({"role": "system", "content": "s"}), user(json!([7]))])),
        (Messages, messages(&[user(json!([{"type": "document", "source": {"type": "text", "data": "x"}}]))])),
        (Messages, messages(&[user(json!([result]))])),
        (Responses, json!({"input": [{"type": "input_file", "file_data": "AAAA"}]})),
        (Responses, json!({"input": [output]})),
        (Responses, json!({"prompt": {"id": "p", "variables": {"a": "x"}}})),
    ] {
        assert!(is_unreadable(endpoint, &body), "{body}");
    }
    for (endpoint, body) in [
        (Completions, json!({"prompt": ""})),
        (Completions, json!({"prompt": "hi"})),
        (Completions, json!({"prompt": "hi", "prompt_embeds": null})),
        (CHAT, messages(&[user(json!([image, {"type": "text", "text": "hi"}]))])),
        (CHAT, messages(&[user(json!([{"type": "refusal", "refusal": "x"}]))])),
        (CHAT, messages(&[user(json!(" "))])),
        (CHAT, messages(&[hi.clone(), json!({"role": "tool", "tool_call_id": "1", "content": "x"})])),
        (CHAT, messages(&[json!({"role": "tool", "content": "x"})])),
        (Messages, messages(&[hi, user(json!([result]))])),
        (Responses, json!({"input": [output], "previous_response_id": "r"})),
        (Responses, json!({"input": [], "conversation": "c"})),
        (Responses, json!({"input": "hi", "prompt": {"id": "p"}})),
        (Embeddings, json!({"input": [1, 2]})),
    ] {
        assert!(!is_unreadable(endpoint, &body), "{body}");
    }
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

/// Any text between a string's quotes, including broken escapes and much white space.
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

/// Of several members of the body, only the last reaches the LLM. Within messages, all do.
#[test]
fn of_a_messages_several_contents_all_are_read() {
    let several = r#"[{"role":"user","content":"a","content":"b"}]"#;
    assert_eq!(prompt(&format!(r#"{{"messages":{several}}}"#)), "a\nb");
    let last = r#"[{"role":"user","content":"c"}]"#;
    assert_eq!(prompt(&format!(r#"{{"messages":{several},"messages":{last}}}"#)), "c");
}
