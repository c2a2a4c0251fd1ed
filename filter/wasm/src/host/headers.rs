//! Headers as Envoy serializes them: their number, the lengths of each name and value, and then these, each with a zero
//! byte after it. Numbers have 32 bits and are little-endian.

use llm_router_routing::headers::Headers;

/// The headers of a serialized map. Malformed entries are skipped.
pub(super) fn from_pairs(pairs: &[u8]) -> Headers {
    const NUMBER: usize = size_of::<u32>();
    let Some((count, rest)) = number(pairs) else { return Headers::default() };
    let Some((lengths, mut texts)) = rest.split_at_checked(count.saturating_mul(2 * NUMBER)) else {
        return Headers::default();
    };
    let mut headers = Headers::with_capacity(count, texts.len(), texts.len());
    let mut lengths = lengths;
    while let Some((name_length, rest)) = number(lengths)
        && let Some((value_length, rest)) = number(rest)
        && let Some((name, rest_of_texts)) = text(texts, name_length)
        && let Some((value, rest_of_texts)) = text(rest_of_texts, value_length)
    {
        match std::str::from_utf8(name) {
            Ok(name) => headers.push(name, value),
            Err(_) => headers.push(&String::from_utf8_lossy(name), value),
        }
        (lengths, texts) = (rest, rest_of_texts);
    }
    headers
}

fn number(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((usize::try_from(u32::from_le_bytes(*number)).ok()?, rest))
}

/// A text of this length, and what follows its zero byte.
fn text(bytes: &[u8], length: usize) -> Option<(&[u8], &[u8])> {
    let (text, rest) = bytes.split_at_checked(length)?;
    Some((text, rest.get(1..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn serialized(headers: &[(&str, &[u8])]) -> Vec<u8> {
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap().to_le_bytes();
        let mut pairs = u32::try_from(headers.len()).unwrap().to_le_bytes().to_vec();
        for (name, value) in headers {
            pairs.extend([length(name.as_bytes()), length(value)].concat());
        }
        for (name, value) in headers {
            pairs.extend([name.as_bytes(), b"\0", value, b"\0"].concat());
        }
        pairs
    }

    #[test]
    fn headers_are_read_as_they_are() {
        let all = [(":path", &b"/v1"[..]), ("empty", b""), ("x", b"caf\xe9\0"), ("x", b"2")];
        assert_eq!(from_pairs(&serialized(&all)).iter().collect::<Vec<_>>(), all);
        assert_eq!(from_pairs(&serialized(&[])), Headers::default());
    }

    #[test]
    fn truncated_entries_are_omitted() {
        let whole = serialized(&[("a", b"1"), ("b", b"2")]);
        for end in 0..whole.len() {
            let found = from_pairs(&whole[..end]);
            assert!(found.iter().count() <= 1 && found.get("b").is_none(), "{end}");
        }
        assert_eq!(from_pairs(&[0xff; 4]), Headers::default());
    }
}
