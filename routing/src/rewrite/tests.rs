use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};

use super::*;
use crate::request::{Endpoint, Request};

const MESSAGES: &str = r#""messages":[{"role":"user","content":"x"}]"#;

/// Edits as a policy writes them.
fn edits(set: Value, default: Value, remove: &[&str]) -> BodyEdits {
    let mut edits = BodyEdits::default();
    let mut add = |name: &str, edit| match name.split_once('.') {
        Some((key, inner)) => edits.add(key, Some(inner), edit),
        None => edits.add(name, None, edit),
    };
    for (name, value) in set.as_object().unwrap() {
        add(name, ValueEdit::Set(value.to_string()));
    }
    for (name, value) in default.as_object().unwrap() {
        add(name, ValueEdit::Default(value.to_string()));
    }
    for name in remove {
        add(name, ValueEdit::Remove);
    }
    edits
}

fn apply(body: &str, edits: &BodyEdits) -> String {
    let rewrite = Request::parse(Endpoint::ChatCompletions, body.as_bytes()).unwrap().into_rewrite();
    String::from_utf8(rewrite.for_model("m", edits, body.as_bytes()).apply(body.as_bytes())).unwrap()
}

/// The body with these members, edited, must have exactly these members.
#[track_caller]
fn assert_edited(edits: &BodyEdits, before: &str, after: &str) {
    let body = |members: &str| format!(r#"{{"model":"m",{MESSAGES}{members}}}"#);
    assert_eq!(apply(&body(before), edits), body(after), "{before}");
}

#[test]
fn a_set_member_has_its_value_whatever_the_client_sent() {
    let set = edits(json!({"effort": "high"}), json!({}), &[]);
    for before in [r#""low""#, "null", "1", "[1, 2]", r#"{"a": "}"}"#, r#""a\"b""#] {
        assert_edited(&set, &format!(r#","n": 1.0 , "effort": {before}"#), r#","n": 1.0 , "effort": "high""#);
    }
    assert_edited(&set, r#","effort":"low","n":1,"effort":"lower""#, r#","n":1,"effort":"high""#);
    assert_eq!(
        apply(&format!("{{ {MESSAGES}}}"), &set),
        format!(r#"{{"effort":"high","model":"m", {MESSAGES}}}"#)
    );
}

/// Python's parser takes `NaN`; and an object may be too long to look through.
#[test]
fn the_policy_has_the_last_word_in_an_object_that_cannot_be_read() {
    let edits = edits(json!({"a.set": 1}), json!({"a.default": 2, "b.default": 2}), &["a.removed"]);
    let long = r#""x":0,"#.repeat(110_000);
    for inner in [r#"{"removed":1,"x":NaN,"set":2}"#.to_owned(), format!(r#"{{{long}"set":2,"removed":1}}"#)]
    {
        let before = format!(r#","a":{inner},"b":{inner}"#);
        assert_edited(&edits, &before, &format!(r#","a":{{"set":1,"default":2}},"b":{inner}"#));
    }
}

#[test]
fn a_default_is_added_where_the_member_is_missing_or_null() {
    let default = edits(json!({}), json!({"max_tokens": 8192}), &[]);
    assert_edited(&default, r#","max_tokens":null"#, r#","max_tokens":8192"#);
    assert_edited(&default, r#","max_tokens":0"#, r#","max_tokens":0"#);
    assert_edited(&default, r#","max_tokens":1,"max_tokens":2"#, r#","max_tokens":2"#);
    assert_edited(&default, r#","max_tokens":1,"max_tokens":null"#, r#","max_tokens":8192"#);
    let added = apply(&format!("{{{MESSAGES}}}"), &default);
    assert_eq!(added, format!(r#"{{"max_tokens":8192,"model":"m",{MESSAGES}}}"#));
}

#[test]
fn a_removed_member_is_gone() {
    let remove = edits(json!({}), json!({}), &["logprobs", "seed"]);
    for before in ["", r#","logprobs":true"#, r#","seed":1,"logprobs":[{}], "seed":2"#, r#","logprobs":null"#]
    {
        assert_edited(&remove, before, "");
    }
    assert_eq!(
        apply(&format!(r#"{{"seed": 1, "logprobs": true, {MESSAGES}}}"#), &remove),
        format!(r#"{{"model":"m",{MESSAGES}}}"#)
    );
}

#[test]
fn keys_count_however_they_are_written() {
    let remove = edits(json!({"effort": 1}), json!({}), &["seed"]);
    assert_edited(&remove, r#","\u0065ffort":0,"se\u0065d":2,"s\u0065ed":{}"#, r#","\u0065ffort":1"#);
    assert_edited(&remove, r#","effort":0,"Effort":3,"SEED":1,"\u017feed":1"#, r#","effort":1"#);
    let default = edits(json!({}), json!({"seed": 1}), &[]);
    assert_edited(&default, r#","seed":null,"Seed":3"#, r#","seed":1,"Seed":3"#);
}

#[test]
fn a_member_of_a_member_changes_alone() {
    let inner = edits(json!({"kwargs.thinking": true}), json!({"kwargs.budget": 10}), &["kwargs.verbose"]);
    for (before, after) in [
        (r#"{"a": 1, "thinking": false, "budget": 5}"#, r#"{"a": 1, "thinking": true, "budget": 5}"#),
        (r#"{ "verbose": 1, "thinking" : 0, "budget": null }"#, r#"{ "thinking" : true, "budget": 10 }"#),
        (r#"{"thinking":1,"thinking":2,"Thinking":3,"budget":1}"#, r#"{"thinking":true,"budget":1}"#),
        (r#"{}"#, r#"{"thinking":true,"budget":10}"#),
        (r#"{"verbose": {}}"#, r#"{"thinking":true,"budget":10}"#),
        ("null", r#"{"thinking":true,"budget":10}"#),
        ("[1]", r#"{"thinking":true,"budget":10}"#),
        (r#""on""#, r#"{"thinking":true,"budget":10}"#),
        (r#"{"thinking":0},"kwargs":{"budget":1,"x":[]}"#, r#"{"thinking":true,"budget":1,"x":[]}"#),
    ] {
        assert_edited(&inner, &format!(r#","kwargs":{before}"#), &format!(r#","kwargs":{after}"#));
    }
    let added = apply(&format!("{{{MESSAGES}}}"), &inner);
    assert_eq!(added, format!(r#"{{"kwargs":{{"thinking":true,"budget":10}},"model":"m",{MESSAGES}}}"#));
}

#[test]
fn only_a_set_replaces_a_parent_that_is_no_object() {
    let default = edits(json!({}), json!({"kwargs.budget": 10}), &[]);
    let remove = edits(json!({}), json!({}), &["kwargs.budget"]);
    for other in ["1", "true", r#""x""#, "[]"] {
        let kwargs = format!(r#","kwargs":{other}"#);
        assert_edited(&default, &kwargs, &kwargs);
        assert_edited(&remove, &kwargs, &kwargs);
    }
    assert_edited(&default, r#","kwargs":null"#, r#","kwargs":{"budget":10}"#);
    assert_edited(&remove, r#","kwargs":null"#, r#","kwargs":null"#);
    assert_edited(&remove, r#","kwargs":{"budget":1}"#, r#","kwargs":{}"#);
    assert_edited(&remove, "", "");
}

const KEYS: [&str; 4] = ["a", "b", "model-x", "é"];
const INNER: [&str; 2] = ["x", "y"];

/// A body's members as pairs of a written key and a value, with duplicates, escapes and other cases.
fn any_members() -> impl Strategy<Value = Vec<(String, Value)>> {
    let key = select(vec!["a", "A", "\\u0061", "b", "B", "é", "\\u00e9", "É", "model-x", "z"]);
    let leaf = select(vec![json!(null), json!(1.5), json!("},{\"a\":\\"), json!([{"a": 1}]), json!({})]);
    let inner = prop::collection::btree_map(select(vec!["x", "X", "y", "z"]), leaf.clone(), 0..4);
    let object = inner.prop_map(|map| json!(map));
    prop::collection::vec((key.prop_map(str::to_owned), prop_oneof![leaf, object]), 0..8)
}

fn written(members: &[(String, Value)], place: usize, pretty: bool) -> String {
    let (comma, colon) = if pretty { (" ,\n ", " : ") } else { (",", ":") };
    let mut all: Vec<_> = members.iter().map(|(key, value)| format!("\"{key}\"{colon}{value}")).collect();
    all.insert(place.min(all.len()), MESSAGES.to_owned());
    let space = if pretty { "\n" } else { "" };
    format!("{{{space}{}{space}}}", all.join(comma))
}

fn any_edits() -> impl Strategy<Value = BodyEdits> {
    let edit = || {
        let value = select(vec![json!("set"), json!(0), json!(null), json!({"x": 1}), json!([","])]);
        prop_oneof![
            value.clone().prop_map(|value| ValueEdit::Set(value.to_string())),
            value.prop_map(|value| ValueEdit::Default(value.to_string())),
            Just(ValueEdit::Remove),
        ]
    };
    let whole = edit().prop_map(|edit| vec![(None, edit)]);
    let inner = prop::collection::btree_map(select(INNER.to_vec()), edit(), 1..3);
    let inner =
        inner.prop_map(|map| map.into_iter().map(|(key, edit)| (Some(key), edit)).collect::<Vec<_>>());
    prop::collection::btree_map(select(KEYS.to_vec()), prop_oneof![whole, inner], 0..4).prop_map(|all| {
        let mut edits = BodyEdits::default();
        for (key, changes) in all {
            for (inner, edit) in changes {
                edits.add(key, inner, edit);
            }
        }
        edits
    })
}

/// The members with `model` and routing metadata among them, once or more often.
fn any_body() -> impl Strategy<Value = String> {
    let routed = select(vec![("model", json!("auto")), ("nim-llm-router", json!({"policy": "},"}))]);
    let routed = prop::collection::vec((routed, 0_usize..12), 0..5);
    (any_members(), routed, 0_usize..8, any::<bool>()).prop_map(|(mut members, routed, place, pretty)| {
        for ((key, value), place) in routed {
            members.insert(place.min(members.len()), (key.to_owned(), value));
        }
        written(&members, place, pretty)
    })
}

/// The edits on a JSON tree: the expected result of the splices.
fn expected(body: &str, edits: &BodyEdits) -> Value {
    let mut tree: Map<String, Value> = serde_json::from_str(body).unwrap();
    tree.insert("model".to_owned(), json!("m"));
    for (key, edit) in edits.by_key() {
        edit_tree(&mut tree, key, edit);
    }
    tree.into()
}

fn edit_tree(tree: &mut Map<String, Value>, key: &str, changes: Vec<(Option<&str>, &ValueEdit)>) {
    let is_default = |edit: &ValueEdit| matches!(edit, ValueEdit::Default(_));
    if changes.iter().any(|(_, edit)| !is_default(edit)) {
        tree.retain(|name, _| name == key || name.to_lowercase() != key.to_lowercase());
    }
    // Sets first: they may make the object that the others look into.
    for (inner, edit) in changes
        .iter()
        .filter(|(_, edit)| matches!(edit, ValueEdit::Set(_)))
        .chain(changes.iter().filter(|(_, edit)| !matches!(edit, ValueEdit::Set(_))))
    {
        let value = || serde_json::from_str::<Value>(edit.value().unwrap()).unwrap();
        let Some(inner) = inner else {
            match edit {
                ValueEdit::Set(_) => drop(tree.insert(key.to_owned(), value())),
                ValueEdit::Default(_) if tree.get(key).is_none_or(Value::is_null) => {
                    tree.insert(key.to_owned(), value());
                }
                ValueEdit::Default(_) => {}
                ValueEdit::Remove => drop(tree.remove(key)),
            }
            continue;
        };
        let parent = tree.get(key).cloned().unwrap_or_default();
        let mut object = match (parent, edit) {
            (Value::Object(object), _) => object,
            (Value::Null, ValueEdit::Default(_)) | (_, ValueEdit::Set(_)) => Map::new(),
            _ => continue,
        };
        edit_tree(&mut object, inner, vec![(None, edit)]);
        tree.insert(key.to_owned(), object.into());
    }
}

/// Saved for a retry: a member with this text.
fn saved(text: &str) -> Result<Option<Restore>, TooLarge> {
    let body = format!(r#"{{"model":"m",{MESSAGES},"seed":"{text}"}}"#);
    Restore::new(&edits(json!({}), json!({}), &["seed"]), body.as_bytes())
}

#[test]
fn members_for_retries_are_saved_up_to_a_limit_of_their_json() {
    let least = r#"["\"seed\":\"\""]"#.len();
    let most = MAX_SAVED - least;
    assert!(saved(&"x".repeat(most)).is_ok_and(|saved| saved.is_some()));
    // As text within JSON, an escape takes one more byte, for its backslash, and a control character takes six bytes.
    let too_large = [
        "x".repeat(most + 1),
        r"\u0001".repeat(most / 7 + 1),
        "\u{1}".repeat(most / 6 + 1),
        "x".repeat(8 << 20),
    ];
    for text in too_large {
        assert!(saved(&text).is_err(), "{} bytes", text.len());
    }
    let body = format!(r#"{{"model":"m",{MESSAGES},"other":"{}"}}"#, "x".repeat(1 << 20));
    let unchanged = Restore::new(&edits(json!({"seed": 1}), json!({}), &[]), body.as_bytes());
    assert!(unchanged.is_ok(), "only changed members are saved");
}

proptest! {
    #[test]
    fn edits_are_those_of_a_tree(
        members in any_members(), place in 0_usize..8, pretty: bool, edits in any_edits(),
    ) {
        let body = written(&members, place, pretty);
        let edited = apply(&body, &edits);
        let found: Value = serde_json::from_str(&edited).unwrap();
        prop_assert_eq!(found, expected(&body, &edits), "{} of {}", edits, body);
        prop_assert!(edited.len() <= body.len() + growth("m", &edits), "{} of {}", edits, body);
    }

    #[test]
    fn the_pieces_make_the_body_and_what_follows_the_last_change_stays(body in any_body(), edits in any_edits()) {
        let rewrite = Request::parse(Endpoint::ChatCompletions, body.as_bytes()).unwrap().into_rewrite();
        for rewritten in [Some(rewrite.for_model("m", &edits, body.as_bytes())), rewrite.without_unwanted()] {
            let Some(rewritten) = rewritten else { continue };
            let whole = rewritten.apply(body.as_bytes());
            prop_assert_eq!(rewritten.len(), whole.len());
            let pieces: Vec<_> = rewritten.pieces(body.as_bytes()).collect();
            prop_assert!(pieces.iter().all(|piece| !piece.is_empty()));
            prop_assert_eq!(pieces.concat(), whole.clone());
            let (changed, stays) = body.as_bytes().split_at(rewritten.last_change());
            prop_assert_eq!([&rewritten.apply(changed), stays].concat(), whole);
        }
    }

    #[test]
    fn without_edits_the_text_is_not_read(body in any_body()) {
        let rewrite = Request::parse(Endpoint::ChatCompletions, body.as_bytes()).unwrap().into_rewrite();
        let none = BodyEdits::default();
        let rewritten = rewrite.for_model("m", &none, b"");
        prop_assert_eq!(&rewritten, &rewrite.for_model("m", &none, body.as_bytes()));
        let found: Value = serde_json::from_slice(&rewritten.apply(body.as_bytes())).unwrap();
        let mut tree: Map<String, Value> = serde_json::from_str(&body).unwrap();
        tree.remove("nim-llm-router");
        tree.insert("model".to_owned(), json!("m"));
        prop_assert_eq!(found, Value::from(tree));
    }

    /// No parser can see another value of a member that the policy sets or removes.
    #[test]
    fn no_edited_member_comes_twice(members in any_members(), place in 0_usize..8, edits in any_edits()) {
        let edited = apply(&written(&members, place, false), &edits);
        let mut keys = Vec::new();
        edits::members(edited.as_bytes(), 0, |name, _| keys.push(name.to_vec())).unwrap();
        for (key, _) in edits.by_key() {
            prop_assert!(keys.iter().filter(|name| **name == key.as_bytes()).count() <= 1, "{}", edited);
        }
    }

    /// A retry's body is the one that its model would have got at the first attempt.
    #[test]
    fn a_retry_has_the_clients_members_with_its_own_edits(
        members in any_members(), place in 0_usize..8, pretty: bool, first in any_edits(), retry in any_edits(),
    ) {
        let body = written(&members, place, pretty);
        let edited = apply(&body, &first);
        let clients = match Restore::new(&first, body.as_bytes()).unwrap() {
            Some(restore) => String::from_utf8(restore.apply(edited.as_bytes())).unwrap(),
            None => edited,
        };
        let retried: Value = serde_json::from_str(&apply(&clients, &retry)).unwrap();
        let direct: Value = serde_json::from_str(&apply(&body, &retry)).unwrap();
        prop_assert_eq!(retried, direct, "{} after {} of {}", retry, first, body);
    }
}
