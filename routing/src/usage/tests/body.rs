use super::{JSON, UsageReader, body, cached, reader, usage};

#[test]
fn a_chats_usage_is_read() {
    let answer = r#"{"id": "c1", "object": "chat.completion", "choices": [{"index": 0, "message":
        {"role": "assistant", "content": "Hi \"there\""}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 19, "completion_tokens": 10, "total_tokens": 29,
        "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 3}}, "service_tier": "default"}"#;
    assert_eq!(body(answer), cached(19, 10, 4));
}

#[test]
fn a_usage_with_null_details_is_read() {
    let answer = r#"{"choices":[],"usage":{"prompt_tokens":5,"total_tokens":7,"completion_tokens":2,
        "prompt_tokens_details":null}}"#;
    assert_eq!(body(answer), usage(5, 2));
}

#[test]
fn embeddings_have_no_output() {
    let answer = r#"{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.1,-2e-3,
        0.25]}],"model":"e","usage":{"prompt_tokens":8,"total_tokens":8}}"#;
    assert_eq!(body(answer), usage(8, 0));
}

#[test]
fn a_responses_usage_is_read() {
    let answer = r#"{"id":"resp_1","status":"completed","output":[{"type":"message","content":[{"type":
        "output_text","text":"x","annotations":[]}]}],"usage":{"input_tokens":36,"input_tokens_details":
        {"cached_tokens":6},"output_tokens":87,"output_tokens_details":{"reasoning_tokens":0},
        "total_tokens":123}}"#;
    assert_eq!(body(answer), cached(36, 87, 6));
}

#[test]
fn a_messages_input_is_with_what_the_cache_read_and_wrote() {
    let answer = r#"{"type":"message","role":"assistant","content":[{"type":"text","text":"Hi"}],
        "usage":{"input_tokens":20,"cache_creation_input_tokens":300,"cache_read_input_tokens":1000,
        "cache_creation":{"ephemeral_5m_input_tokens":300},"output_tokens":7,"service_tier":"standard"}}"#;
    assert_eq!(body(answer), cached(1320, 7, 1000));
}

#[test]
fn a_gateways_total_has_the_caches_tokens_already() {
    for total in [
        r#""prompt_tokens":1320,"completion_tokens":7"#,
        r#""input_tokens":1320,"input_tokens_details":{"cached_tokens":1000},"output_tokens":7"#,
        r#""prompt_tokens":1320,"input_tokens":20,"completion_tokens":7,"output_tokens":7"#,
    ] {
        let cache = r#""cache_creation_input_tokens":300,"cache_read_input_tokens":1000"#;
        assert_eq!(body(format!(r#"{{"usage":{{{total},{cache}}}}}"#)), cached(1320, 7, 1000), "{total}");
    }
}

#[test]
fn a_body_has_content_from_its_first_brace() {
    assert!(!reader(JSON, "\n\n \n").has_content());
    assert!(reader(JSON, "\n{").has_content());
}

#[test]
fn other_answers_are_not_read() {
    let answer = r#"{"usage":{"prompt_tokens":1}}"#;
    for content_type in [None, Some("text/html"), Some("audio/mpeg"), Some(""), Some("application/jsonx")] {
        let mut reader = UsageReader::new(content_type);
        reader.read(answer.as_bytes());
        assert_eq!((reader.usage(), reader.has_content()), (None, false), "{content_type:?}");
    }
    assert_eq!(reader("Application/JSON ; charset=utf-8", answer).usage(), usage(1, 0));
}

#[test]
fn the_last_of_several_usages_counts() {
    let answer = r#"{"usage":{"prompt_tokens":1,"completion_tokens":2},"usage":{"prompt_tokens":3}}"#;
    assert_eq!(body(answer), usage(3, 0));
}

#[test]
fn a_usage_without_counts_is_none() {
    for value in ["null", "{}", "7", "\"x\"", "[1]", r#"{"total_tokens":3}"#] {
        assert_eq!(body(format!(r#"{{"usage":{value}}}"#)), None, "{value}");
    }
}

#[test]
fn an_odd_count_hides_no_other() {
    let odd = ["-1", "1e400", "18446744073709551616", "{}", "[3]", "null", "true", "NaN", "tru", "", "\"x\""];
    for count in odd {
        let answer = format!(r#"{{"usage":{{"prompt_tokens":{count},"completion_tokens":2}},"x":1}}"#);
        assert_eq!(body(&answer), usage(0, 2), "{answer}");
        let answer =
            format!(r#"{{"usage":{{"input_tokens":5,"output_tokens":{count}, "total_tokens":{count}}}}}"#);
        assert_eq!(body(&answer), usage(5, 0), "{answer}");
        let details = format!(r#""prompt_tokens_details":{{"cached_tokens":{count}}}"#);
        let answer = format!(r#"{{"usage":{{{details},"prompt_tokens":5,"completion_tokens":2}}}}"#);
        assert_eq!(body(&answer), usage(5, 2), "{answer}");
        let answer = format!(
            r#"{{"usage":{{"prompt_tokens_details":{count},"prompt_tokens":5,"completion_tokens":2}}}}"#
        );
        assert_eq!(body(&answer), usage(5, 2), "{answer}");
        let answer = format!(r#"{{"usage":{{"prompt_tokens":{count}}}}}"#);
        assert_eq!(body(&answer), None, "{answer}");
    }
}

#[test]
fn a_count_may_be_written_as_a_float_or_as_text() {
    for (written, tokens) in [("11.0", 11), ("1.1e1", 11), ("10.6", 11), ("\"11\"", 11), ("1e3", 1000)] {
        let answer = format!(r#"{{"usage":{{"prompt_tokens":{written},"completion_tokens":2}}}}"#);
        assert_eq!(body(&answer), usage(tokens, 2), "{answer}");
    }
}

/// Of Moonshot's choices, Groq's chunks, and llama.cpp's timings.
#[test]
fn usage_counts_where_only_some_servers_have_it() {
    let elsewhere = [
        r#""choices":[{"index":0,"message":{"content":"Hi"},"usage":{"prompt_tokens":19,"completion_tokens":13}}]"#,
        r#""x_groq":{"id":"req_1","usage":{"queue_time":0.1,"prompt_tokens":19,"completion_tokens":13}}"#,
        r#""timings":{"prompt_n":19,"prompt_ms":4.5,"predicted_n":13,"predicted_per_second":90.5}"#,
    ];
    for member in elsewhere {
        assert_eq!(body(format!(r#"{{"id":"c",{member}}}"#)), usage(19, 13), "{member}");
        assert_eq!(body(format!(r#"{{{member},"usage":null}}"#)), usage(19, 13), "{member}");
        let usual = r#""usage":{"prompt_tokens":1,"completion_tokens":2}"#;
        for answer in [format!("{{{member},{usual}}}"), format!("{{{usual},{member}}}")] {
            assert_eq!(body(&answer), usage(1, 2), "{answer}");
        }
    }
    let timings = r#"{"timings":{"cache_n":100,"prompt_n":19,"predicted_n":13}}"#;
    assert_eq!(body(timings), cached(119, 13, 100));
}

#[test]
fn cached_tokens_have_several_names() {
    for member in [
        // DeepSeek, Moonshot, Mistral.
        r#""prompt_cache_hit_tokens":64,"prompt_cache_miss_tokens":36"#,
        r#""cached_tokens":64"#,
        r#""num_cached_tokens":64"#,
        r#""prompt_tokens_details":{"cached_tokens":64},"cached_tokens":63"#,
    ] {
        let answer = format!(r#"{{"usage":{{"prompt_tokens":100,"completion_tokens":7,{member}}}}}"#);
        assert_eq!(body(&answer), cached(100, 7, 64), "{answer}");
    }
}

#[test]
fn what_a_messages_cache_wrote_may_be_given_by_how_long_it_is_kept() {
    let answer = r#"{"usage":{"input_tokens":20,"cache_read_input_tokens":1000,"output_tokens":7,
        "cache_creation":{"ephemeral_5m_input_tokens":200,"ephemeral_1h_input_tokens":100}}}"#;
    assert_eq!(body(answer), cached(1320, 7, 1000));
}

#[test]
fn sums_beyond_any_count_stay_at_the_most() {
    let most = u64::MAX;
    let answer = format!(r#"{{"usage":{{"input_tokens":{most},"cache_read_input_tokens":{most}}}}}"#);
    assert_eq!(body(answer), cached(most, 0, most));
}

#[test]
fn an_id_is_read_only_where_it_is_asked_for() {
    let mut reader = UsageReader::new(Some(JSON));
    reader.read(br#"{"id": "chatcmpl-1", "usage": {"prompt_tokens": 1}}"#);
    assert_eq!((reader.response_id(), reader.usage()), (None, usage(1, 0)));
}

#[test]
fn a_bodys_id_is_the_responses() {
    let id = |answer: &str| reader(JSON, answer).response_id().map(str::to_owned);
    assert_eq!(
        id(
            r#"{"id":"resp_67ccd2bed1ec8190","object":"response","output":[{"id":"msg_1","content":[{"id":"x"}]}],
            "usage":{"id":"y","input_tokens":3}}"#
        ),
        Some("resp_67ccd2bed1ec8190".to_owned())
    );
    assert_eq!(id(r#"{"object":"response", "id" : "r"}"#), Some("r".to_owned()));
    assert_eq!(id(r#"{"id":"a","id":"b"}"#), Some("b".to_owned()), "the last, as most parsers have it");
    let longest = "x".repeat(128);
    assert_eq!(id(&format!(r#"{{"id":"{longest}"}}"#)), Some(longest.clone()));
    for answer in [
        format!(r#"{{"id":"{longest}x"}}"#),
        format!(r#"{{"id":"{}"}}"#, longest.repeat(10_000)),
        r#"{"id":""}"#.to_owned(),
        r#"{"id":null}"#.to_owned(),
        r#"{"id":7,"x":"r"}"#.to_owned(),
        r#"{"id":["r"]}"#.to_owned(),
        r#"{"id":{"id":"r"}}"#.to_owned(),
        r#"{"id":"r\u0041"}"#.to_owned(),
        r#"{"id":"r\"s"}"#.to_owned(),
        r#"{"id":"r s"}"#.to_owned(),
        r#"{"id":"ré"}"#.to_owned(),
        r#"{"id":"r"#.to_owned(),
        r#"{"response":{"id":"r"}}"#.to_owned(),
        r#"[{"id":"r"}]"#.to_owned(),
    ] {
        assert_eq!(id(&answer), None, "{}", &answer[..answer.len().min(100)]);
    }
}
