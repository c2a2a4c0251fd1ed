use proptest::prelude::*;
use serde_json::{Value, json};

use super::{RawString, Scanner, SyntaxError};

fn raw(quoted: &str) -> RawString<'_> {
    Scanner::new(quoted.as_bytes()).string().unwrap()
}

fn skip(text: &[u8]) -> Result<std::ops::Range<usize>, SyntaxError> {
    let mut scanner = Scanner::new(text);
    let range = scanner.skip()?;
    scanner.end()?;
    Ok(range)
}

/// The members of an object, each stepped over as a whole.
fn members(text: &[u8]) -> Result<Vec<(String, Vec<u8>)>, SyntaxError> {
    let mut all = Vec::new();
    let mut scanner = Scanner::new(text);
    scanner.object(|scanner, key| {
        all.push((String::from_utf8(key.name.into_owned()).unwrap(), scanner.raw()?.to_vec()));
        Ok::<(), SyntaxError>(())
    })?;
    scanner.end()?;
    Ok(all)
}

#[test]
fn values_are_stepped_over_whole() {
    for text in
        ["{}", "[]", "\"\"", "-1.5e3", "true", "null", r#"{"a":[1,{"b":"]}\\\""}]}"#, r#""\\""#, r#""a\"b""#]
    {
        assert_eq!(skip(format!(" \n{text}\t ").as_bytes()), Ok(2..2 + text.len()), "{text}");
    }
}

#[test]
fn broken_structure_is_an_error() {
    for text in [
        "",
        " ",
        "{",
        "[",
        "\"",
        "\"\\\"",
        "{]",
        "[}",
        "{\"a\":[}]",
        "tru",
        "nulll",
        "}",
        "]",
        ",",
        "1 2",
        "{} x",
        "'a'",
    ] {
        assert!(skip(text.as_bytes()).is_err(), "{text:?}");
    }
    for text in ["[]", "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "{a:1}", "{\"a\":1 \"b\":2}", "{,}", "{\"a\":1"] {
        assert!(members(text.as_bytes()).is_err(), "{text:?}");
    }
}

#[test]
fn nesting_is_bounded() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(skip(nested(128).as_bytes()).is_ok());
    assert!(skip(nested(129).as_bytes()).is_err());
    assert!(skip("[".repeat(10_000_000).as_bytes()).is_err());
}

#[test]
fn a_key_is_known_however_it_is_written() {
    let keys = members(br#"{"model": 1, "\u006d\u006fdel": 2, "mode\\l": 3}"#).unwrap();
    let names: Vec<_> = keys.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["model", "model", "mode\\l"]);
}

#[test]
fn windows_never_split_an_escape() {
    let quoted = r#""a\\\n\u00e9\ud83d\ude00b""#;
    assert_eq!(raw(quoted).text(), "a\\\né😀b");
    let heads: Vec<_> = (0..=22).map(|limit| raw(quoted).head(limit).text()).collect();
    assert!(heads.iter().all(|head| "a\\\né😀b".starts_with(head.as_str())), "{heads:?}");
    let tails: Vec<_> = (0..=22).map(|limit| raw(quoted).tail(limit).text()).collect();
    assert!(tails.iter().all(|tail| "a\\\né😀b".ends_with(tail.as_str())), "{tails:?}");
}

#[test]
fn a_window_never_ends_a_string_early_or_late() {
    let text = raw(r#""a\u0\\\"b\q\u\"\\\\\ud83d\\\"""#);
    for limit in 0..=text.written() {
        for window in [text.head(limit), text.tail(limit)] {
            let quoted = [b"\"", window.inner(), b"\""].concat();
            assert_eq!(skip(&quoted), Ok(0..quoted.len()), "{}", String::from_utf8_lossy(&quoted));
        }
    }
}

#[test]
fn what_no_text_can_hold_is_replaced() {
    assert_eq!(raw(r#""x\ud800y""#).text().replace('\u{fffd}', ""), "xy");
    assert_eq!(RawString::new(b"x\xffy").text(), "x\u{fffd}y");
    for (written, text) in [
        (r#""x\q\ny""#, "x\u{fffd}\ny"),
        (r#""x\u12""#, "x\u{fffd}12"),
        (r#""x\u+041""#, "x\u{fffd}+041"),
        (r#""x\ud800\u0041y""#, "x\u{fffd}Ay"),
    ] {
        assert_eq!(raw(written).text(), text);
    }
}

#[test]
fn white_space_is_blank_however_it_is_written() {
    let long = " ".repeat(1000);
    for blank in ["", " \t", r"\n\t\r\u0020\u00a0", "\u{2003}\u{a0}", &long] {
        assert!(raw(&format!("\"{blank}\"")).is_blank(), "{blank:?}");
        for said in ["x", "é", r"\\", r"\u00e9", r"\q"] {
            assert!(!raw(&format!("\"{blank}{said}{blank}\"")).is_blank(), "{blank:?} {said}");
        }
    }
}

proptest! {
    #[test]
    fn any_object_has_the_members_that_serde_sees(value in any_object(), pretty: bool) {
        let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
        let seen: serde_json::Map<String, Value> = members(text.as_bytes()).unwrap().into_iter()
            .map(|(key, raw)| (key, serde_json::from_slice(&raw).unwrap()))
            .collect();
        prop_assert_eq!(Value::Object(seen), value);
    }

    #[test]
    fn what_serde_reads_is_stepped_over(text in "[\\[\\]{},:\"a\\\\1 ]{0,24}") {
        if serde_json::from_str::<Value>(&text).is_ok() {
            prop_assert_eq!(skip(text.as_bytes()).map(|range| text[range].len()), Ok(text.trim().len()));
        }
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        let _ = skip(&bytes);
        let _ = members(&bytes);
    }

    #[test]
    fn head_and_tail_are_parts_of_the_text(text: String, limit in 0_usize..64, ascii: bool) {
        let quoted = if ascii { ascii_json(&text) } else { serde_json::to_string(&text).unwrap() };
        prop_assert_eq!(raw(&quoted).text(), text.clone());
        prop_assert!(text.starts_with(&raw(&quoted).head(limit).text()));
        prop_assert!(text.ends_with(&raw(&quoted).tail(limit).text()));
    }

    #[test]
    fn a_head_and_the_rest_are_the_whole(text: String, limit in 0_usize..64) {
        let quoted = ascii_json(&text);
        let rest = (quoted.len() - 2).saturating_sub(limit);
        prop_assert_eq!(raw(&quoted).head(limit).text() + &raw(&quoted).tail(rest).text(), text);
    }
}

/// As Python's `json.dumps` writes it: everything beyond ASCII escaped.
fn ascii_json(text: &str) -> String {
    let mut quoted = String::new();
    for c in serde_json::to_string(text).unwrap().chars() {
        if c.is_ascii() {
            quoted.push(c);
        } else {
            c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| quoted += &format!("\\u{unit:04x}"));
        }
    }
    quoted
}

fn any_object() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    let value = leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(any::<String>(), inner, 0..4).prop_map(|map| json!(map)),
        ]
    });
    prop::collection::btree_map(any::<String>(), value, 0..4).prop_map(|map| json!(map))
}
