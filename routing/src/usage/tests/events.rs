use super::{EVENTS, cached, events, reader, usage};

#[test]
fn a_streamed_chats_usage_is_in_its_last_chunk() {
    let answer = concat!(
        r#"data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""}}],"usage":null}"#,
        "\n\n",
        r#"data: {"choices":[{"index":0,"delta":{"content":"Hi"}}],"usage":null}"#,
        "\n\n",
        r#"data: {"choices":[],"usage":{"prompt_tokens":19,"completion_tokens":10,"total_tokens":29}}"#,
        "\n\ndata: [DONE]\n\n",
    );
    assert_eq!(events(answer), usage(19, 10));
}

#[test]
fn of_usage_in_every_chunk_the_last_counts() {
    let answer = r#"data: {"usage":{"prompt_tokens":5,"completion_tokens":1}}

data: {"usage":{"prompt_tokens":5,"completion_tokens":2}}

data: {"usage":null}

"#;
    assert_eq!(events(answer), usage(5, 2));
}

#[test]
fn a_streamed_chats_usage_may_be_in_its_last_choice_or_beside_it() {
    for last in [
        r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop","usage":{"prompt_tokens":19,"completion_tokens":13}}]}"#,
        r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"x_groq":{"usage":{"prompt_tokens":19,"completion_tokens":13}}}"#,
        r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"timings":{"prompt_n":19,"predicted_n":13}}"#,
    ] {
        let text = r#"{"choices":[{"index":0,"delta":{"content":"Hi"}}],"x_groq":{"id":"req_1"}}"#;
        assert_eq!(
            events(format!("data: {text}\n\ndata: {last}\n\ndata: [DONE]\n\n")),
            usage(19, 13),
            "{last}"
        );
    }
}

#[test]
fn an_odd_count_of_a_later_event_hides_no_earlier_one() {
    let answer = concat!(
        r#"data: {"usage":{"prompt_tokens":5.0,"completion_tokens":1}}"#,
        "\n\n",
        r#"data: {"usage":{"prompt_tokens":-1,"completion_tokens":"2"}}"#,
        "\n\n",
    );
    assert_eq!(events(answer), usage(5, 2));
}

#[test]
fn a_streamed_responses_usage_is_in_its_last_event() {
    let answer = concat!(
        "event: response.created\n",
        r#"data: {"type":"response.created","response":{"id":"r","usage":null,"output":[]}}"#,
        "\n\nevent: response.output_text.delta\n",
        r#"data: {"type":"response.output_text.delta","delta":"Hi"}"#,
        "\n\nevent: response.completed\n",
        r#"data: {"type":"response.completed","response":{"id":"r","output":[{"type":"message"}],"#,
        r#""usage":{"input_tokens":36,"input_tokens_details":{"cached_tokens":0},"output_tokens":87}}}"#,
        "\n\n",
    );
    assert_eq!(events(answer), cached(36, 87, 0));
}

const MESSAGE_START: &str = r#"event: message_start
data: {"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","content":[],"usage":{"input_tokens":25,"cache_read_input_tokens":5,"output_tokens":1}}}

event: content_block_start
data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}

event: ping
data: {"type": "ping"}

"#;

const MESSAGE_TEXT: &str = r#"event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hello"}}

"#;

const MESSAGE_END: &str = r#"event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":15}}

event: message_stop
data: {"type":"message_stop"}

"#;

#[test]
fn a_streamed_messages_input_is_told_at_its_start_and_the_output_at_its_end() {
    assert_eq!(events([MESSAGE_START, MESSAGE_TEXT, MESSAGE_END].concat()), cached(30, 15, 5));
}

#[test]
fn a_streamed_message_may_correct_its_input_at_its_end() {
    let end =
        MESSAGE_END.replace("\"usage\":{", "\"usage\":{\"input_tokens\":40,\"cache_read_input_tokens\":8,");
    assert_eq!(events([MESSAGE_START, &end].concat()), cached(48, 15, 8));
}

#[test]
fn a_stream_that_breaks_off_has_the_usage_so_far() {
    assert_eq!(events([MESSAGE_START, MESSAGE_TEXT].concat()), cached(30, 1, 5));
}

#[test]
fn a_stream_has_content_from_the_models_first_bytes() {
    let starts = |data: &str| reader(EVENTS, format!("data: {data}\n\n")).has_content();
    for nothing in [
        "",
        "[DONE]",
        r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}"#,
        r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":null}}]}"#,
        r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#,
        r#"{"choices":[{"index":0,"text":"","logprobs":null}]}"#,
        r#"{"choices":[],"prompt_filter_results":[{"delta":{"content":"x"}}]}"#,
        r#"{"type":"response.created","response":{"instructions":"be brief","text":{"format":{"type":"text"}}}}"#,
        r#"{"type":"response.output_item.added","item":{"type":"message","content":[]}}"#,
        r#"{"type":"content_block_delta","delta":{"type":"input_json_delta","partial_json":""}}"#,
        r#"{"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":"x"},"usage":{}}"#,
        r#"{"error":{"message":"overloaded","delta":"x","type":"server_error"}}"#,
    ] {
        assert!(!starts(nothing), "{nothing}");
    }
    for something in [
        r#"{"choices":[{"index":0,"delta":{"content":"Hi"}}]}"#,
        r#"{"choices":[{"index":0,"delta":{"content":"\n"}}]}"#,
        r#"{"choices":[{"index":0,"delta":{"role":"assistant","reasoning_content":"Hm"}}]}"#,
        r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"call_1","function":{"name":"f"}}]}}]}"#,
        r#"{"choices":[{"index":0,"delta":{"content":[{"type":"text","text":"Hi"}]}}]}"#,
        r#"{"choices":[{"text":"Hi","index":0}]}"#,
        r#"{"type":"response.output_text.delta","item_id":"m","delta":"Hi"}"#,
        r#"{"type":"content_block_delta","delta":{"type":"text_delta","text":"Hi"}}"#,
        r#"{"type":"content_block_delta","delta":{"type":"thinking_delta","thinking":"Hm"}}"#,
        r#"{"type":"content_block_delta","delta":{"type":"input_json_delta","partial_json":"{\""}}"#,
    ] {
        assert!(starts(something), "{something}");
    }
    assert!(!reader(EVENTS, MESSAGE_START).has_content());
    assert!(!reader(EVENTS, ": keep-alive\n\n").has_content());
}

#[test]
fn an_event_may_be_written_in_every_way_that_the_standard_allows() {
    for answer in [
        "data:{\"usage\":{\"prompt_tokens\":12}}\n\n",
        "data: {\"usage\":{\"prompt_tokens\":12}}\r\n\r\n",
        "data: {\"usage\":{\"prompt_tokens\":12}}\r\r",
        ": comment\nid: 1\ndata: {\"usage\":\ndata: {\"prompt_tokens\":12}}\nretry: 3\n\n",
        "data: {\"usage\":\r\ndata:{\"prompt_tokens\":12}\r\ndata: }\r\n\r\n",
        "data: {\"usage\":\rdata\rdata: {\"prompt_tokens\":12}\rdata:}\r\r",
        "data: {\"usage\": {\"prompt_tokens\":12}}",
    ] {
        assert_eq!(events(answer), usage(12, 0), "{answer:?}");
    }
    for other in [
        "datum: {\"usage\":{\"prompt_tokens\":12}}\n\n",
        " data: {\"usage\":{\"prompt_tokens\":12}}\n\n",
        "data {\"usage\":{\"prompt_tokens\":12}}\n\n",
        ":data: {\"usage\":{\"prompt_tokens\":12}}\n\n",
        "data: {\"usage\":{\"prompt_tokens\":1\ndata: 2}}\n\n",
        "data: {\"usage\":\n\ndata: {\"prompt_tokens\":12}}\n\n",
    ] {
        assert_eq!(events(other), None, "{other:?}");
    }
}

#[test]
fn a_broken_event_does_not_hide_the_next() {
    let answer =
        "data: {\"choices\":[{\"delta\":{\"content\":\"a\\\n\ndata: {\"usage\":{\"prompt_tokens\":12}}\n\n";
    assert_eq!(events(answer), usage(12, 0));
}

#[test]
fn a_streams_id_is_the_responses() {
    let id = |answer: &str| reader(EVENTS, answer).response_id().map(str::to_owned);
    let created = r#"data: {"type":"response.created","response":{"id":"resp_1","usage":null,"output":[]}}"#;
    let delta = r#"data: {"type":"response.output_text.delta","item_id":"msg_1","id":"x","delta":"Hi"}"#;
    assert_eq!(id(&format!("event: response.created\n{created}\n\n")), Some("resp_1".to_owned()));
    assert_eq!(id(&format!("{created}\n\n{delta}\n\n")), Some("resp_1".to_owned()));
    assert_eq!(id(&format!("{delta}\n\n")), None);
    assert_eq!(id("data: {\"id\":\"chatcmpl-1\",\"choices\":[]}\n\n"), None);
}
