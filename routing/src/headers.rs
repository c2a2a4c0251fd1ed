//! HTTP headers: the names that the router reads and writes, and a list of them as a request has it.

use std::mem;
use std::ops::Range;

/// Chooses a policy by name; weaker than the body's metadata, stronger than the body's `model`.
pub const POLICY: &str = "x-llm-policy";

/// The prefix of headers that are reserved for the router. The router removes them from clients' requests, so that they
/// mislead neither Envoy's routes nor an LLM.
pub const OWN_PREFIX: &str = "x-llm-";

/// The prefix of the response headers that explain a decision. Access logs have the same fields without it.
pub const EXPLANATION_PREFIX: &str = "x-llm-router-";

/// Response: the configured name of the chosen model.
pub const MODEL: &str = "x-llm-router-model";
/// Response: the policy that chose, if one did.
pub const CHOSEN_POLICY: &str = "x-llm-router-policy";
/// Response: the classifier's best label, if it was called.
pub const LABEL: &str = "x-llm-router-label";
/// Response: the probability of that label, 0 to 1.
pub const CONFIDENCE: &str = "x-llm-router-confidence";
/// Response: the classifier's score, 0 to 1, if it predicts one.
pub const SCORE: &str = "x-llm-router-score";
/// Response: why this model was chosen; see [`crate::decision::Reason`].
pub const REASON: &str = "x-llm-router-reason";
/// Response: the label again, under the name that NVIDIA's blueprint uses.
pub const CHOSEN_CLASSIFIER: &str = "x-chosen-classifier";

/// Headers with lower-case names, in their order. Values are bytes: a client's need not be UTF-8.
///
/// All names share one allocation, and so do all values: every request has its headers copied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers {
    names: String,
    values: Vec<u8>,
    /// Where each header's name and value end.
    ends: Vec<(usize, usize)>,
}

impl Headers {
    /// No headers, with capacity for this number of headers, whose names and values have this number of bytes.
    pub fn with_capacity(headers: usize, name_bytes: usize, value_bytes: usize) -> Self {
        Self {
            names: String::with_capacity(name_bytes),
            values: Vec::with_capacity(value_bytes),
            ends: Vec::with_capacity(headers),
        }
    }

    /// Adds a header.
    pub fn push(&mut self, name: &str, value: &[u8]) {
        self.names.push_str(name);
        self.values.extend_from_slice(value);
        self.ends.push((self.names.len(), self.values.len()));
    }

    /// The first value of a header.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.all(name).next()
    }

    /// The first value of a header, if it is text.
    pub fn text(&self, name: &str) -> Option<&str> {
        std::str::from_utf8(self.get(name)?).ok()
    }

    /// The value of a header that occurs once.
    pub fn only(&self, name: &str) -> Option<&[u8]> {
        let mut values = self.all(name);
        values.next().filter(|_| values.next().is_none())
    }

    /// Whether `content-encoding` names an encoding, such as gzip. A body with `identity`, or without the header, is not encoded.
    pub fn is_encoded(&self) -> bool {
        let values = self.all("content-encoding");
        let mut codings = values.flat_map(|value| value.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
        codings.any(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity"))
    }

    /// The first charset that `content-type` names and that is neither UTF-8 nor its subset US-ASCII. Servers differ in how they
    /// parse the header, so every `charset` counts, whatever precedes it.
    pub(crate) fn foreign_charset(&self) -> Option<String> {
        let values = self.all("content-type");
        let mut texts = values.map(|value| String::from_utf8_lossy(value).to_ascii_lowercase());
        texts.find_map(|text| charsets(&text).find(|charset| !is_utf8(charset)).map(str::to_owned))
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.places().map(|(name, value)| (self.names.get(name).unwrap_or_default(), self.value(value)))
    }

    /// All values of a header.
    fn all<'h>(&'h self, name: &str) -> impl Iterator<Item = &'h [u8]> {
        let is_wanted = |place: Range<usize>| {
            place.len() == name.len() && self.names.as_bytes().get(place) == Some(name.as_bytes())
        };
        self.places().filter_map(move |(name, value)| is_wanted(name).then(|| self.value(value)))
    }

    /// The positions of each header's name and value.
    fn places(&self) -> impl Iterator<Item = (Range<usize>, Range<usize>)> {
        let mut start = (0, 0);
        self.ends.iter().map(move |end| {
            let start = mem::replace(&mut start, *end);
            (start.0..end.0, start.1..end.1)
        })
    }

    fn value(&self, place: Range<usize>) -> &[u8] {
        self.values.get(place).unwrap_or_default()
    }
}

/// The values of all `charset` parameters in a text of lower case.
fn charsets(text: &str) -> impl Iterator<Item = &str> {
    let after = text.match_indices(CHARSET).filter_map(|(at, _)| text.get(at + CHARSET.len()..));
    after.filter_map(|rest| {
        let rest = rest.trim_start_matches(|char: char| !char.is_ascii_graphic() || char == '"');
        // An extended parameter (RFC 8187), `charset*=…`, counts whole: no client needs one.
        let value = rest.strip_prefix('=').or_else(|| rest.starts_with('*').then_some(rest))?;
        let value = value.split([';', ',']).next()?.trim_matches([' ', '\t']);
        Some(value.strip_prefix('"').and_then(|inner| inner.strip_suffix('"')).unwrap_or(value))
    })
}

const CHARSET: &str = "charset";

fn is_utf8(charset: &str) -> bool {
    matches!(charset, "utf-8" | "utf8" | "us-ascii" | "ascii")
}

impl<N: AsRef<str>, V: AsRef<[u8]>> FromIterator<(N, V)> for Headers {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(headers: I) -> Self {
        let mut all = Self::default();
        for (name, value) in headers {
            all.push(name.as_ref(), value.as_ref());
        }
        all
    }
}

impl From<Vec<(String, Vec<u8>)>> for Headers {
    fn from(headers: Vec<(String, Vec<u8>)>) -> Self {
        headers.into_iter().collect()
    }
}

impl<const N: usize> From<[(&str, &str); N]> for Headers {
    fn from(headers: [(&str, &str); N]) -> Self {
        headers.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_value_counts_unless_there_must_be_only_one() {
        let headers = Headers::from([("a", "1"), ("b", "2"), ("a", "3")]);
        assert_eq!(headers.text("a"), Some("1"));
        assert_eq!((headers.only("a"), headers.only("b")), (None, Some(&b"2"[..])));
        assert_eq!((headers.get("c"), headers.only("c")), (None, None));
    }

    #[test]
    fn only_an_encoding_other_than_identity_encodes() {
        for plain in ["", " ", "identity", "Identity", "identity, identity", " identity ,, "] {
            assert!(!Headers::from([("content-encoding", plain)]).is_encoded(), "{plain:?}");
        }
        for encoded in ["gzip", "identity, br", "zstd,identity", "x"] {
            assert!(Headers::from([("content-encoding", encoded)]).is_encoded(), "{encoded:?}");
        }
        assert!(Headers::from([("content-encoding", "identity"), ("content-encoding", "gzip")]).is_encoded());
        assert!(!Headers::default().is_encoded());
    }

    fn foreign_charset(value: &[u8]) -> Option<String> {
        Headers::from(vec![("content-type".to_owned(), value.to_vec())]).foreign_charset()
    }

    #[test]
    fn utf8_and_its_subset_are_no_foreign_charsets() {
        for value in [
            "",
            "application/json",
            "application/json; charset=utf-8",
            "application/json;charset=UTF-8",
            "Application/JSON ; Charset = \"Utf-8\" ; v=1",
            "application/json; charset=utf8",
            "application/json; charset=US-ASCII, application/json",
            "application/json; charset",
            "application/json; boundary=x",
        ] {
            assert_eq!(foreign_charset(value.as_bytes()), None, "{value:?}");
        }
        assert_eq!(Headers::default().foreign_charset(), None);
    }

    #[test]
    fn a_charset_other_than_utf8_is_found_however_it_is_written() {
        for (value, charset) in [
            ("application/json; charset=utf-7", "utf-7"),
            ("application/json;CHARSET=UTF-7", "utf-7"),
            ("text/plain; charset=\"shift_jis\"; x=1", "shift_jis"),
            ("application/json; charset = utf-16le", "utf-16le"),
            ("application/json; v=1; charset=utf-32", "utf-32"),
            ("application/json; charset=utf-8; charset=utf-7", "utf-7"),
            ("application/json; charset=utf-8, application/json; charset=utf-7", "utf-7"),
            ("application/json charset=utf-7", "utf-7"),
            ("application/json; x=\"; charset=utf-7", "utf-7"),
            ("application/json; charset*=utf-8''utf-7", "*=utf-8''utf-7"),
            ("application/json; charset=\"utf-8", "\"utf-8"),
            ("application/json; charset=\"ut\\f-7\"", "ut\\f-7"),
            ("application/json; charset=", ""),
        ] {
            assert_eq!(foreign_charset(value.as_bytes()).as_deref(), Some(charset), "{value:?}");
        }
        assert!(foreign_charset(b"application/json; charset=\xff").is_some());
        let twice =
            [("content-type", "application/json"), ("content-type", "application/json; charset=utf-7")];
        assert_eq!(Headers::from(twice).foreign_charset().as_deref(), Some("utf-7"));
    }

    #[test]
    fn headers_keep_their_order() {
        let mut headers = Headers::with_capacity(3, 0, 0);
        let all = [("a", &b"1"[..]), ("", b""), ("b", b""), ("c", b"\xff")];
        for (name, value) in all {
            headers.push(name, value);
        }
        assert_eq!(headers.iter().collect::<Vec<_>>(), all);
        assert_eq!(headers, all.into_iter().collect());
    }

    #[test]
    fn a_value_that_is_not_utf8_is_bytes_only() {
        let headers = Headers::from(vec![("a".to_owned(), b"caf\xe9".to_vec())]);
        assert_eq!((headers.get("a"), headers.text("a")), (Some(&b"caf\xe9"[..]), None));
    }
}
