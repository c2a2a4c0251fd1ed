//! Bodies as the LLM gets them.

use super::*;

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

/// Go's JSON parser ignores case, also that of some letters beyond ASCII, and takes the last.
#[test]
fn keys_that_servers_take_for_the_models_or_the_prompts_are_removed() {
    let messages = r#""messages":[{"role":"user","content":"x"}]"#;
    for other in [
        r#""MODEL":"a""#,
        r#""Model":{"b":[1]}"#,
        r#""m\u004fdel":null"#,
        r#""NIM-LLM-Router":{"policy":"x"}"#,
        r#""Messages":[]"#,
        r#""me\u017f\u017fages":[]"#,
        r#""MODEL":1,"mODEL":2"#,
    ] {
        for body in [
            format!(r#"{{{other},"model":"auto",{messages}}}"#),
            format!(r#"{{"model":"auto",{other},{messages}}}"#),
            format!(r#"{{"model":"auto",{messages},{other}}}"#),
        ] {
            assert_eq!(chat(&body).model.as_deref(), Some("auto"));
            let expected = format!(r#"{{"model":"big/\"model\"",{messages}}}"#);
            assert_eq!(rewritten(&body), expected, "from {body}");
        }
    }
    let alone = format!(r#"{{"MODEL":"a",{messages}}}"#);
    assert_eq!(chat(&alone).model, None);
    assert_eq!(rewritten(&alone), format!(r#"{{"model":"big/\"model\"",{messages}}}"#));
}

fn rewritten_at(endpoint: Endpoint, body: &str) -> String {
    let rewrite = Request::parse(endpoint, body.as_bytes()).unwrap().into_rewrite();
    let body = rewrite.for_model("m", &BodyEdits::default(), body.as_bytes()).apply(body.as_bytes());
    String::from_utf8(body).unwrap()
}

/// Parsers differ in which of several members counts: the first, the last, or all of them merged. Servers in Go take null for
/// "unchanged".
#[test]
fn of_several_members_that_routing_reads_only_the_last_stays() {
    let evil = r#"{"model":"auto","prompt":"EVIL","prompt":null}"#;
    assert_eq!(rewritten_at(Endpoint::Completions, evil), r#"{"model":"m","prompt":null}"#);
    let evil =
        r#"{"messages":[{"role":"user","content":"EVIL"}],"messages":[{"role":"user"}],"model":"auto"}"#;
    assert_eq!(rewritten_at(CHAT, evil), r#"{"messages":[{"role":"user"}],"model":"m"}"#);
    for endpoint in Endpoint::ALL {
        for name in
            Request::known_members(endpoint).filter(|name| !["model", "nim-llm-router"].contains(name))
        {
            let value = if name == "messages" { r#"[{"role":"user","content":"x"}]"# } else { "null" };
            let other = name.to_uppercase();
            let expected = format!(r#"{{"x":0,"{name}":{value},"model":"m"}}"#);
            for body in [
                format!(r#"{{"{name}":["a"],"x":0,"{name}":{value},"model":"auto"}}"#),
                format!(r#"{{"{name}":["a"],"{name}":{{}},"x":0,"{name}":{value},"model":"auto"}}"#),
                format!(
                    r#"{{"{other}":["a"],"{name}":1,"x":0,"{other}":1,"{name}":{value},"model":"auto"}}"#
                ),
                format!(r#"{{"x":0,"{name}":["a"],"{name}":{value},"{other}":"b","model":"auto"}}"#),
            ] {
                assert_eq!(rewritten_at(endpoint, &body), expected, "{endpoint:?}: {body}");
            }
        }
    }
}

/// A request that is not routed keeps its model.
#[test]
fn of_several_models_only_the_last_stays_where_none_is_chosen() {
    let body = r#"{"model":"large","MODEL":"large","model":"other","input":"x"}"#;
    let rewrite = Request::parse(Endpoint::Embeddings, body.as_bytes()).unwrap().into_rewrite();
    let body = rewrite.without_unwanted().unwrap().apply(body.as_bytes());
    assert_eq!(body, br#"{"model":"other","input":"x"}"#);
    let alone = r#"{"model":"other","input":"x"}"#;
    let rewrite = Request::parse(Endpoint::Embeddings, alone.as_bytes()).unwrap().into_rewrite();
    assert!(rewrite.without_unwanted().is_none());
}

#[test]
fn members_that_differ_in_case_only_do_not_reach_the_llm() {
    for (endpoint, member) in [
        (CHAT, r#""Max_Tokens":1"#),
        (CHAT, r#""TOOLS":[{}]"#),
        (CHAT, r#""tool\u017f":[{}]"#),
        (CHAT, r#""N":128"#),
        (Endpoint::Completions, r#""Best_Of":128"#),
        (Endpoint::Responses, r#""Previous_Response_Id":"r""#),
        (Endpoint::Embeddings, r#""Input":"x""#),
    ] {
        let field =
            if endpoint == CHAT { r#""messages":[{"role":"user","content":"x"}]"# } else { r#""x":0"# };
        let body = format!(r#"{{{member},"model":"auto",{field},{member}}}"#);
        assert_eq!(rewritten_at(endpoint, &body), format!(r#"{{"model":"m",{field}}}"#), "{body}");
    }
}

#[test]
fn a_body_never_grows_by_more_than_is_said() {
    const MODEL: &str = "vendor/\"model\"";
    let messages = r#""messages":[{"role":"user","content":"x"}]"#;
    for models in ["", r#""model":"","#, &r#""model":"","#.repeat(10_000)] {
        let body = format!("{{{models}{messages}}}");
        let rewritten = chat(&body)
            .into_rewrite()
            .for_model(MODEL, &BodyEdits::default(), body.as_bytes())
            .apply(body.as_bytes());
        assert!(rewritten.len() <= body.len() + growth(MODEL, &BodyEdits::default()), "{}", rewritten.len());
    }
}

proptest! {
    /// Whatever a request contains, only the model and the metadata differ in the rewritten one.
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
        let after: Value = serde_json::from_slice(&request.into_rewrite().for_model("new", &BodyEdits::default(), body.as_bytes()).apply(body.as_bytes())).unwrap();
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
