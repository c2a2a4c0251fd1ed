//! However a response is split into chunks, the result is the same as for the whole.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Value, json};

use super::{EVENTS, JSON, Usage, UsageReader};

proptest! {
    #[test]
    fn no_bytes_panic(answer in vec(any::<u8>(), 0..200), cuts: Vec<Index>) {
        for content_type in [JSON, EVENTS] {
            prop_assert_eq!(in_pieces(content_type, &answer, &cuts), at_once(content_type, &answer));
        }
    }

    /// Bytes that matter to the scanner, in any order.
    #[test]
    fn no_tokens_panic(
        tokens in vec(select(vec![
            "{", "}", "[", "]", "\"", "\\", ",", ":", "\n", "\r", "data:", " ", "data", "1", "é", "\"usage\":{",
            "\"prompt_tokens\":7", "\"response\":", "\"id\":\"", "\"delta\":\"", "\"choices\":[{", "}}", "}\n\n",
        ]), 0..60),
        cuts: Vec<Index>,
    ) {
        let answer = tokens.concat().into_bytes();
        for content_type in [JSON, EVENTS] {
            prop_assert_eq!(in_pieces(content_type, &answer, &cuts), at_once(content_type, &answer));
        }
    }

    /// Finds the same in any JSON as a parser of the whole.
    #[test]
    fn a_bodys_usage_is_that_of_the_whole_json(answer in any_answer(), pretty: bool, cuts: Vec<Index>) {
        let text = if pretty { serde_json::to_string_pretty(&answer) } else { serde_json::to_string(&answer) };
        let (found, id, _) = in_pieces(JSON, text.unwrap().as_bytes(), &cuts);
        prop_assert_eq!(found, expected(&answer["usage"]).or(in_choices(&answer)));
        prop_assert_eq!(id.as_deref(), answer["id"].as_str().filter(|id| is_plain(id)));
    }

    #[test]
    fn a_streams_usage_is_that_of_its_events(
        answers in vec(any_answer(), 0..5),
        end in select(vec!["\n", "\r\n", "\r"]),
        field in select(vec!["data:", "data: "]),
        pretty: bool,
        cuts: Vec<Index>,
    ) {
        let mut stream = String::new();
        for answer in &answers {
            let text = if pretty { serde_json::to_string_pretty(answer) } else { serde_json::to_string(answer) };
            stream += &format!("event: x{end}");
            for line in text.unwrap().lines() {
                stream += &format!("{field}{line}{end}");
            }
            stream += &format!("{end}: comment{end}{end}");
        }
        let places = |answer: &Value| {
            // In the order in which serde_json writes members, that of their names.
            let parts = [&answer["message"]["usage"], &answer["response"]["usage"], &answer["usage"]];
            parts.map(expected)
        };
        let last = answers.iter().flat_map(places).flatten().last();
        let last = last.or(answers.iter().filter_map(in_choices).next_back());
        prop_assert_eq!(in_pieces(EVENTS, stream.as_bytes(), &cuts).0, last);
    }
}

/// The result for a response: its usage, its id, and whether it has content.
type Found = (Option<Usage>, Option<String>, bool);

fn at_once(content_type: &str, answer: &[u8]) -> Found {
    in_pieces(content_type, answer, &[])
}

fn in_pieces(content_type: &str, answer: &[u8], cuts: &[Index]) -> Found {
    let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(answer.len() + 1)).collect();
    cuts.sort_unstable();
    let mut reader = UsageReader::with_response_id(Some(content_type));
    let mut from = 0;
    for to in cuts.into_iter().chain([answer.len()]) {
        reader.read(&answer[from..to]);
        from = to;
    }
    (reader.usage(), reader.response_id().map(str::to_owned), reader.has_content())
}

/// The usage of the last choice that has one.
fn in_choices(answer: &Value) -> Option<Usage> {
    answer["choices"].as_array()?.iter().filter_map(|choice| expected(&choice["usage"])).next_back()
}

fn is_plain(id: &str) -> bool {
    (1..=128).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"\\".contains(&byte))
}

fn expected(usage: &Value) -> Option<Usage> {
    let usage = usage.as_object()?;
    let count = |name: &str| usage.get(name).and_then(Value::as_u64);
    Some(Usage {
        input_tokens: count("prompt_tokens")?,
        output_tokens: count("completion_tokens")?,
        cached_input_tokens: None,
    })
}

/// Objects full of names and texts that could mislead.
fn any_answer() -> impl Strategy<Value = Value> {
    let name = || {
        prop_oneof![
            select(vec!["usage", "response", "message", "choices", "delta", "text", "prompt_tokens", "id"])
                .prop_map(str::to_owned),
            any::<String>(),
            Just(r#"":{"usage":{"prompt_tokens":9,"completion_tokens":9}},""#.to_owned()),
        ]
    };
    let usage = (any::<u64>(), any::<u64>(), any::<String>()).prop_map(|(input, output, text)| {
        json!({"prompt_tokens": input, "completion_tokens": output, "text": text, "more": {"usage": [{}]}})
    });
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<f64>().prop_map(Value::from),
        name().prop_map(Value::from),
        usage.clone(),
    ];
    let object = move |inner: BoxedStrategy<Value>| {
        prop::collection::btree_map(name(), inner, 0..4)
            .prop_map(|map| Value::Object(map.into_iter().collect()))
    };
    let inner = leaf.prop_recursive(4, 24, 4, move |inner| {
        prop_oneof![vec(inner.clone(), 0..4).prop_map(Value::from), object(inner)]
    });
    (object(inner.boxed()), prop::option::of(usage)).prop_map(|(mut answer, usage)| {
        // Values that are not usage objects are tested above. Here, each is a usage object or is missing.
        for parent in ["message", "response"] {
            if answer[parent]["usage"].is_object() && expected(&answer[parent]["usage"]).is_none() {
                answer[parent] = Value::Null;
            }
        }
        answer.as_object_mut().unwrap().remove("usage");
        if let Some(usage) = usage {
            answer["usage"] = usage;
        }
        answer
    })
}
