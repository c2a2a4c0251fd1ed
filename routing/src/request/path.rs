//! Normalizes paths as LLM servers do.
//!
//! Servers decode, merge slashes and resolve dots before they compare paths. What they treat as an endpoint must be one
//! here, or a client could bypass the policy, its rules and the limits with another spelling.

use std::fmt::Write;

/// A request's path and query, in the normal form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct NormalPath {
    /// Decoded, without empty segments, dots, parameters or a slash at its end; letters have the client's case.
    pub(super) path: String,
    /// The query with its question mark; empty without a query.
    pub(super) query: String,
    /// The path before `..` was resolved, if it has such a segment.
    pub(super) unresolved: Option<String>,
}

impl NormalPath {
    /// The normal form of a `:path`.
    pub(super) fn new(written: &str) -> Self {
        let written = written.split('#').next().unwrap_or_default();
        let (path, query) = written.split_at(written.find('?').unwrap_or(written.len()));
        let query = query.to_owned();
        if is_normal(path) {
            return Self { path: path.to_owned(), query, unresolved: None };
        }
        let decoded = decode(path);
        let decoded = String::from_utf8_lossy(&decoded);
        let segments = || decoded.split(['/', '\\']).map(plain).filter(|it| !it.is_empty() && *it != ".");
        let unresolved = segments().any(|it| it == "..").then(|| join(segments()));
        let mut resolved = Vec::new();
        for segment in segments() {
            match segment {
                ".." => drop(resolved.pop()),
                segment => resolved.push(segment),
            }
        }
        Self { path: join(resolved), query, unresolved }
    }
}

/// Whether the path is already normal, as nearly all paths are. May be false for a normal path.
fn is_normal(path: &str) -> bool {
    let bytes = path.as_bytes();
    let is_plain = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'%' | b'\\' | b';');
    path.starts_with('/')
        && bytes.iter().all(is_plain)
        && !bytes.windows(2).any(|pair| matches!(pair, b"//" | b"/."))
        && (path.len() == 1 || !path.ends_with('/'))
}

/// Decodes `%XX` until none is left. One pass is enough, because each decoded byte is compared with those before it: a
/// client cannot make this loop forever.
fn decode(path: &str) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(path.len());
    for byte in path.bytes() {
        decoded.push(byte);
        while let [.., b'%', high, low] = *decoded
            && let Some(byte) = hexadecimal(high, low)
        {
            decoded.truncate(decoded.len() - 3);
            decoded.push(byte);
        }
    }
    decoded
}

fn hexadecimal(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

/// A segment without what some servers cut off: matrix parameters, a query or an end of text that was encoded, and white
/// space around it.
fn plain(segment: &str) -> &str {
    let end = segment.find([';', '?', '#', '\0']).unwrap_or(segment.len());
    let segment = segment.get(..end).unwrap_or_default();
    segment.trim_matches(|it: char| it.is_whitespace() || it.is_control())
}

fn join<'s>(segments: impl IntoIterator<Item = &'s str>) -> String {
    let mut path = String::new();
    for segment in segments {
        path.push('/');
        path.push_str(segment);
    }
    path
}

/// Encodes the characters that a `:path` must not contain.
pub(super) fn encode(path: &str) -> String {
    let mut encoded = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'"' | b'#' | b'%' | b'<' | b'>' | b'?' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}' => {
                push_encoded(&mut encoded, byte);
            }
            byte if byte.is_ascii_graphic() => encoded.push(char::from(byte)),
            byte => push_encoded(&mut encoded, byte),
        }
    }
    encoded
}

fn push_encoded(encoded: &mut String, byte: u8) {
    // Writing to a string cannot fail.
    let _ = write!(encoded, "%{byte:02X}");
}

/// Whether a path starts with this prefix, ignoring case, as some servers do.
pub(super) fn starts_with(path: &str, prefix: &str) -> bool {
    path.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

/// The part before `end`, ignoring case.
pub(super) fn strip_suffix<'p>(path: &'p str, end: &str) -> Option<&'p str> {
    let at = path.len().checked_sub(end.len())?;
    let (start, found) = path.split_at_checked(at)?;
    found.eq_ignore_ascii_case(end).then_some(start)
}

/// The parts before and after the first `part`, ignoring case.
pub(super) fn split_once<'p>(path: &'p str, part: &str) -> Option<(&'p str, &'p str)> {
    let at = path.as_bytes().windows(part.len()).position(|it| it.eq_ignore_ascii_case(part.as_bytes()))?;
    Some((path.get(..at)?, path.get(at + part.len()..)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn normal(written: &str) -> String {
        NormalPath::new(written).path
    }

    #[test]
    fn every_spelling_has_the_same_normal_form() {
        for written in [
            "/v1/chat/completions",
            "/v1/%63hat/completions",
            "/v1%2Fchat%2fcompletions",
            "/v1/%2563hat/completions",
            "/v1/%25252525252563hat/completions",
            "/v1/%2%35%36%33hat/completions",
            "//v1///chat/completions",
            "/v1/chat/completions/",
            "/v1/chat/completions//",
            "/./v1/./chat/completions/.",
            "/v1/x/../chat/completions",
            "/v1/x/y/%2e%2E/../chat/completions",
            "/../../v1/chat/completions",
            "/v1/chat/completions/x/..",
            "/v1\\chat\\completions",
            "/v1/x\\..\\chat%5Ccompletions",
            "/v1;a=b/chat;c/completions;d=e;f",
            "/v1/x/..;/chat/completions",
            "/v1/chat/completions%3Bx",
            "/v1/chat/completions%0A",
            "/v1/chat/completions%20",
            "/v1/chat/completions%00.txt",
            "/v1/chat/completions%3Fx=1",
            "/v1/chat/completions%23x",
            "/v1/chat/completions#fragment",
            "v1/chat/completions",
        ] {
            assert_eq!(normal(written), "/v1/chat/completions", "{written}");
        }
    }

    #[test]
    fn case_the_query_and_what_is_not_encoded_stay() {
        let path = NormalPath::new("/Team%20A/50%/%zz?q=%41//..;x#f");
        assert_eq!((path.path.as_str(), path.query.as_str()), ("/Team A/50%/%zz", "?q=%41//..;x"));
        assert_eq!(encode(&path.path), "/Team%20A/50%25/%25zz");
        assert_eq!(normal("/"), "/");
        assert_eq!(normal("//"), "");
        assert_eq!(normal(""), "");
    }

    #[test]
    fn what_was_before_the_dots_is_known() {
        assert_eq!(NormalPath::new("/a/./b/c").unresolved, None);
        let path = NormalPath::new("/a/b;x//%2e./c");
        assert_eq!((path.path.as_str(), path.unresolved.as_deref()), ("/a/c", Some("/a/b/../c")));
    }

    proptest! {
        #[test]
        fn the_normal_form_is_normal(written in "[/.%;\\\\?# a-zA-Z0-9é\u{0}-\u{7f}]{0,60}|(/|%2[eEfF]|%25|;|\\.\\.|[a-c])*") {
            let first = normal(&written);
            prop_assert_eq!(&normal(&encode(&first)), &first);
            prop_assert!(encode(&first).bytes().all(|byte| byte.is_ascii_graphic()));
        }

        #[test]
        fn the_fast_way_gives_what_the_slow_one_gives(path in "(/[a-z0-9.~!:@|_-]{1,4}){1,5}") {
            prop_assume!(is_normal(&path));
            prop_assert_eq!(normal(&format!("{path}/")), path);
        }
    }
}
