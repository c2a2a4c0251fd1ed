//! Keys of members, as servers that ignore case read them.

/// A key in lower case, if it can be a known one in another spelling. Servers in Go, for example, also ignore the case of some
/// letters beyond ASCII.
pub(super) fn lower_case(key: &[u8]) -> Option<Vec<u8>> {
    // No known key is longer, or has more letters that can be written with others beyond ASCII.
    const LONGEST: usize = 64;
    const MOST_BEYOND_ASCII: usize = 8;
    let may_change = |byte: &u8| byte.is_ascii_uppercase() || !byte.is_ascii();
    if key.len() > LONGEST || !key.iter().any(may_change) {
        return None;
    }
    let mut lower = String::with_capacity(key.len());
    let mut left = MOST_BEYOND_ASCII;
    for char in std::str::from_utf8(key).ok()?.chars() {
        if char.is_ascii() {
            lower.push(char.to_ascii_lowercase());
            continue;
        }
        left = left.checked_sub(1)?;
        let start = lower.len();
        lower.extend(char.to_uppercase().flat_map(char::to_lowercase));
        // Known keys have only letters of ASCII.
        lower.get(start..).filter(|it| it.is_ascii())?;
    }
    Some(lower.into_bytes())
}

/// Reads a member by its key as written or, if that is not a known one, in lower case. `read` returns whether it knows a key; so
/// does this.
///
/// # Errors
/// Those of `read`.
pub(super) fn in_any_case<E>(key: &[u8], mut read: impl FnMut(&[u8]) -> Result<bool, E>) -> Result<bool, E> {
    if read(key)? {
        return Ok(true);
    }
    lower_case(key).map_or(Ok(false), |key| read(&key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_in_another_spelling_are_the_known_ones() {
        for (key, expected) in [
            ("Messages", Some("messages")),
            ("me\u{17f}\u{17f}ages", Some("messages")),
            ("meßages", Some("messages")),
            ("thin\u{212a}ing", Some("thinking")),
            ("messages", None),
            ("mêssages", None),
            ("", None),
        ] {
            assert_eq!(lower_case(key.as_bytes()).as_deref(), expected.map(str::as_bytes), "{key}");
        }
        assert_eq!(lower_case(b"A\xff"), None);
        assert_eq!(lower_case("A".repeat(100).as_bytes()), None);
    }
}
