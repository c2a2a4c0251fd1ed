//! Splits a small JSON object into members, even with invalid values: `NaN`, `1e400` and half a word hide no other member.

use std::iter;

/// The members of an object, as they are written: the keys without quotes, the values without space around them.
/// Anything but an object has none.
pub(super) fn members(object: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    object.trim_ascii_start().strip_prefix(b"{").into_iter().flat_map(members_after_brace)
}

/// The members of an object whose first brace is left out.
pub(super) fn members_after_brace(object: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut rest = Some(object);
    iter::from_fn(move || {
        let text = rest?;
        let (end, is_last) = end_of_member(text);
        let member = text.get(..end).unwrap_or_default();
        rest = text.get(end + 1..).filter(|_| !is_last);
        Some(member)
    })
    .filter_map(key_and_value)
}

/// Where a member ends, at a comma or at the end of its object; and which of both it is.
fn end_of_member(text: &[u8]) -> (usize, bool) {
    let mut depth: usize = 0;
    let mut in_string = false;
    let mut is_escaped = false;
    for (at, byte) in text.iter().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if in_string => is_escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth == 0 => return (at, true),
            b'}' | b']' => depth -= 1,
            b',' if depth == 0 => return (at, false),
            _ => {}
        }
    }
    (text.len(), true)
}

fn key_and_value(member: &[u8]) -> Option<(&[u8], &[u8])> {
    let quoted = member.trim_ascii().strip_prefix(b"\"")?;
    let (key, rest) = quoted.split_at_checked(quoted.iter().position(|byte| *byte == b'"')?)?;
    let value = rest.strip_prefix(b"\"")?.trim_ascii_start().strip_prefix(b":")?;
    Some((key, value.trim_ascii()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_found_beside_odd_ones() {
        let object = br#" { "a" : 1, "b":{"x":[1,"}",2],"y":2} ,odd,"c":NaN,"d":tru, "e\"f": 3,"g":"x,\"y" ,"a":2 } , "z": 4"#;
        let found: Vec<_> = members(object).map(|(key, value)| (str(key), str(value))).collect();
        let expected = [
            ("a", "1"),
            ("b", r#"{"x":[1,"}",2],"y":2}"#),
            ("c", "NaN"),
            ("d", "tru"),
            ("g", r#""x,\"y""#),
            ("a", "2"),
        ];
        assert_eq!(found, expected);
        for none in ["", "{", "{}", "[1]", "7", "\"a\"", "{,}"] {
            assert_eq!(members(none.as_bytes()).count(), 0, "{none}");
        }
    }

    fn str(bytes: &[u8]) -> &str {
        std::str::from_utf8(bytes).unwrap()
    }
}
