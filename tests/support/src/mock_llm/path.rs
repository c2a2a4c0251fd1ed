//! How LLM servers read a path. They accept other spellings, which a filter in front of them must recognize, too.

/// The path without its query: decoded as uvicorn does, then with slashes merged, dots resolved and letters of one case, as frameworks
/// and proxies behind it do.
pub(super) fn understood(written: &str) -> String {
    let path = written.split(['?', '#']).next().unwrap_or_default();
    let decoded = decode(path);
    let mut segments = Vec::new();
    for segment in decoded.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            segment => segments.push(segment.trim_end()),
        }
    }
    format!("/{}", segments.join("/").to_ascii_lowercase())
}

/// Decodes once.
fn decode(path: &str) -> String {
    let mut decoded = Vec::new();
    let mut rest = path.as_bytes();
    while let [first, after @ ..] = rest {
        let encoded = after.get(..2).filter(|_| *first == b'%').and_then(|it| std::str::from_utf8(it).ok());
        let byte = encoded.and_then(|it| u8::from_str_radix(it, 16).ok());
        decoded.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_spellings_are_the_same_path() {
        for path in ["/v1/%63hat/completions?x", "//v1/./x/..%2fChat/completions/", "/v1/chat/completions%0A"]
        {
            assert_eq!(understood(path), "/v1/chat/completions", "{path}");
        }
        assert_eq!(understood("/v1/%2563hat"), "/v1/%63hat");
    }
}
