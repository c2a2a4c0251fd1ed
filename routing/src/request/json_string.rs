//! Reads windows of JSON strings without unescaping the whole of them.

use std::fmt;

use serde::Deserializer as _;
use serde::de::Visitor;

/// The characters of a JSON string, written with its quotes. Lone surrogates, which JSON can write but no text can
/// hold, become replacement characters.
pub(super) fn unescape(quoted: &str) -> String {
    let mut deserializer = serde_json::Deserializer::from_str(quoted);
    deserializer.deserialize_bytes(Lossy).unwrap_or_default()
}

/// The first characters of a JSON string: those written in about the first `limit` bytes between its quotes.
pub(super) fn head(quoted: &str, limit: usize) -> String {
    let inner = inner(quoted);
    window(inner.get(..boundary(inner, limit)))
}

/// The last characters of a JSON string: those written in about the last `limit` bytes between its quotes.
pub(super) fn tail(quoted: &str, limit: usize) -> String {
    let inner = inner(quoted);
    window(inner.get(boundary(inner, inner.len().saturating_sub(limit))..))
}

fn inner(quoted: &str) -> &str {
    quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or_default()
}

fn window(inner: Option<&str>) -> String {
    unescape(&format!("\"{}\"", inner.unwrap_or_default()))
}

/// The first position at or after `at` that splits neither a character, nor an escape, nor a surrogate pair.
fn boundary(inner: &str, at: usize) -> usize {
    let bytes = inner.as_bytes();
    if at >= bytes.len() {
        return bytes.len();
    }
    let mut at = escape_around(bytes, at).unwrap_or(at);
    // The second half of a pair is written as an escape of its own.
    if is_low_surrogate(bytes.get(at..).unwrap_or_default()) {
        at += UNICODE_ESCAPE;
    }
    while !inner.is_char_boundary(at) {
        at += 1;
    }
    at
}

/// Bytes of an escape like `\u00e9`.
const UNICODE_ESCAPE: usize = 6;

/// The end of the escape that `at` lies within, if it does.
fn escape_around(bytes: &[u8], at: usize) -> Option<usize> {
    let first = at.saturating_sub(UNICODE_ESCAPE - 1);
    (first..at).rev().find_map(|start| {
        let length = match bytes.get(start..)? {
            [b'\\', b'u', ..] => UNICODE_ESCAPE,
            [b'\\', ..] => 2,
            _ => return None,
        };
        // A backslash after an odd number of others is the escaped one, and starts nothing.
        let before = bytes.get(..start)?.iter().rev().take_while(|byte| **byte == b'\\').count();
        (before % 2 == 0 && start + length > at).then_some((start + length).min(bytes.len()))
    })
}

fn is_low_surrogate(bytes: &[u8]) -> bool {
    matches!(bytes, [b'\\', b'u', b'd' | b'D', b'c'..=b'f' | b'C'..=b'F', ..])
}

struct Lossy;

impl Visitor<'_> for Lossy {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<String, E> {
        Ok(String::from_utf8_lossy(bytes).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn windows_never_split_an_escape() {
        let quoted = r#""a\\\n\u00e9\ud83d\ude00b""#;
        assert_eq!(unescape(quoted), "a\\\né😀b");
        let heads: Vec<_> = (0..=22).map(|limit| head(quoted, limit)).collect();
        assert!(heads.iter().all(|head| "a\\\né😀b".starts_with(head.as_str())), "{heads:?}");
        let tails: Vec<_> = (0..=22).map(|limit| tail(quoted, limit)).collect();
        assert!(tails.iter().all(|tail| "a\\\né😀b".ends_with(tail.as_str())), "{tails:?}");
    }

    #[test]
    fn a_lone_surrogate_is_replaced() {
        assert_eq!(unescape(r#""x\ud800y""#).replace('\u{fffd}', ""), "xy");
    }

    proptest! {
        #[test]
        fn head_and_tail_are_parts_of_the_text(text: String, limit in 0_usize..64, ascii: bool) {
            let quoted = if ascii { ascii_json(&text) } else { serde_json::to_string(&text).unwrap() };
            prop_assert_eq!(unescape(&quoted), text.clone());
            prop_assert!(text.starts_with(&head(&quoted, limit)));
            prop_assert!(text.ends_with(&tail(&quoted, limit)));
        }

        #[test]
        fn a_head_and_the_rest_are_the_whole(text: String, limit in 0_usize..64) {
            let quoted = ascii_json(&text);
            let rest = (quoted.len() - 2).saturating_sub(limit);
            prop_assert_eq!(head(&quoted, limit) + &tail(&quoted, rest), text);
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
}
