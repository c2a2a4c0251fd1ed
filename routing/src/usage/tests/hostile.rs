use serde_json::json;

use super::{EVENTS, body, events, reader, usage};

#[test]
fn text_that_looks_like_usage_counts_for_nothing() {
    let fake = r#"","usage":{"prompt_tokens":999999,"completion_tokens":9},"x":""#;
    let message = json!({"role": "assistant", "content": fake, fake: fake});
    let real = json!({"prompt_tokens": 1, "completion_tokens": 2, "note": fake});
    let answer = json!({"a": fake, "choices": [{"message": message}], "usage": real, "z": fake});
    assert_eq!(body(answer.to_string()), usage(1, 2));
    assert_eq!(events(format!("data: {answer}\n\n")), usage(1, 2));
    let without = json!({"choices": [{"message": message, "delta": message, "text": fake}]}).to_string();
    assert_eq!(body(&without), None);
    assert_eq!(events(format!("data: {without}\n\n")), None);
}

#[test]
fn usage_where_no_server_has_it_counts_for_nothing() {
    let fake = r#"{"usage":{"prompt_tokens":999999}}"#;
    for answer in [
        format!(r#"{{"choices":{fake}}}"#),
        format!(r#"{{"choices":[[{fake}]]}}"#),
        format!(r#"{{"choices":[{{"message":{fake},"delta":{fake},"logprobs":[{fake}]}}]}}"#),
        format!(r#"{{"x_groq":[{fake}],"x":{{"x_groq":{fake},"timings":{{"prompt_n":9}}}}}}"#),
        r#"{"timings":[{"prompt_n":9}],"choices":[{"timings":{"prompt_n":9}}]}"#.to_owned(),
        format!(r#"{{"metadata":{fake}}}"#),
        format!("[{fake}]"),
        format!(r#"{{"usage":[{fake}]}}"#),
        format!(r#"{{"usage":{fake}}}"#),
        format!(r#"{{"a":{{"response":{fake},"message":{fake}}},"b":[[[[[{fake}]]]]]}}"#),
    ] {
        assert_eq!(body(&answer), None, "{answer}");
        assert_eq!(events(format!("data: {answer}\n\n")), None, "{answer}");
    }
    assert_eq!(body(format!(r#"{{"response":{fake},"message":{fake}}}"#)), None);
}

#[test]
fn only_the_key_itself_is_usage() {
    for key in ["usages", "usag", "Usage", "usage ", "xusage", "", "us\\\\age", "usage\\n", "\\\"usage"] {
        let answer = format!(r#"{{"{key}":{{"prompt_tokens":1}},"x":"usage"}}"#);
        assert_eq!(body(&answer), None, "{answer}");
    }
    let long = format!(r#"{{"usage{}":{{"prompt_tokens":1}}}}"#, "x".repeat(100_000));
    assert_eq!(body(long), None);
}

#[test]
fn a_body_that_breaks_off_within_its_usage_has_none() {
    let answer = r#"{"choices":[],"usage":{"prompt_tokens":19,"completion_tokens":10}"#;
    for length in 0..answer.len() {
        assert_eq!(body(&answer[..length]), None, "{length}");
    }
    assert_eq!(body(answer), usage(19, 10));
}

#[test]
fn bytes_that_are_not_text_are_passed_over() {
    let answer = b"{\"x\":\"\xff\xfe\xc3\",\"\xf0\x9f\":1,\"usage\":{\"prompt_tokens\":3,\"y\":[]}}";
    assert_eq!(body(answer), usage(3, 0));
}

#[test]
fn the_longest_answers_keep_little() {
    let long = "é\\n".repeat(1 << 20);
    let digits = "1".repeat(1 << 20);
    let nested = "[".repeat(1 << 20);
    let answer = format!(
        "data: {{\"response\":{{\"{long}\":\"{long}\",\"x\":{digits},\"usage\":{{\"x\":\"{long}\",\"y\":{nested}"
    );
    let mut reader = reader(EVENTS, answer);
    assert_eq!(reader.usage(), None);
    let kept = reader.scanner().unwrap().kept_bytes();
    assert!(kept < 32 << 10, "{kept}");

    // And after all that:
    reader.read(b"\n\ndata: {\"usage\":{\"prompt_tokens\":1}}\n\n");
    assert_eq!(reader.usage(), usage(1, 0));
}

#[test]
fn the_usage_of_a_long_event_is_read() {
    let text = "x".repeat(1 << 20);
    let answer = format!(
        "data: {{\"response\":{{\"output\":[{{\"text\":\"{text}\"}}],\"usage\":{{\"input_tokens\":5,\"output_tokens\":9}}}}}}\n\n"
    );
    assert_eq!(events(answer), usage(5, 9));
}

#[test]
fn a_usage_longer_than_any_is_none() {
    let answer = |length: usize| {
        format!(
            r#"{{"usage":{{"prompt_tokens":1,"x":"{}","usage":{{"prompt_tokens":2}}}}}}"#,
            "x".repeat(length)
        )
    };
    assert_eq!(body(answer(4 << 10)), usage(1, 0));
    assert_eq!(body(answer(64 << 10)), None);
}
