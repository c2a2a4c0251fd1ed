//! The headers that associate a call to the sidecar with its request: the client's trace (W3C Trace Context, levels 1 and 2), and Envoy's
//! request id.

use llm_router_routing::headers::Headers;

const PARENT: &str = "traceparent";
const STATE: &str = "tracestate";
const REQUEST_ID: &str = "x-request-id";

/// The length that every implementation must propagate, in bytes.
const LONGEST_STATE: usize = 512;

/// The longest request id that is sent, in bytes. Envoy's own are UUIDs.
const LONGEST_ID: usize = 128;

/// `traceparent` and `tracestate`, and the request id, if they are well-formed.
pub fn headers(all: &Headers) -> Vec<(&str, &[u8])> {
    let id = all.only(REQUEST_ID).filter(|value| is_printable(value, LONGEST_ID));
    let parent = all.only(PARENT).filter(|value| is_parent(value));
    let state = all.only(STATE).filter(|value| parent.is_some() && is_printable(value, LONGEST_STATE));
    let found = [(PARENT, parent), (STATE, state), (REQUEST_ID, id)];
    found.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

/// Version, trace, span and flags, in lower-case hexadecimal digits.
fn is_parent(value: &[u8]) -> bool {
    let fields: Vec<_> = value.split(|byte| *byte == b'-').collect();
    let is_hex = |field: &&[u8]| field.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    fields.iter().map(|field| field.len()).eq([2, 32, 16, 2]) && fields.iter().all(is_hex)
}

fn is_printable(value: &[u8], longest: usize) -> bool {
    !value.is_empty() && value.len() <= longest && value.iter().all(|byte| matches!(byte, b' '..=b'~'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn told(headers: &[(&str, &str)]) -> Vec<(String, String)> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let all: Headers = headers.iter().copied().collect();
        super::headers(&all).into_iter().map(|(name, value)| (name.to_owned(), text(value))).collect()
    }

    fn owned(headers: &[(&str, &str)]) -> Vec<(String, String)> {
        headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_trace_is_sent_with_its_state_and_nothing_else() {
        let trace = [(PARENT, TRACE), (STATE, "a=1,b=2")];
        assert_eq!(told(&[trace[0], trace[1], ("authorization", "Bearer x")]), owned(&trace));
        assert_eq!(told(&trace[..1]), owned(&trace[..1]));
        assert_eq!(told(&trace[1..]), []);
    }

    #[test]
    fn a_request_id_is_sent_with_or_without_a_trace() {
        let id = [(REQUEST_ID, "3f0a9c1e-7d7c-4a4e-9b53-0f6a5a0c1c58")];
        assert_eq!(told(&id), owned(&id));
        assert_eq!(told(&[(PARENT, TRACE), id[0]]), owned(&[(PARENT, TRACE), id[0]]));
        for other in ["", "a\nb", &"a".repeat(129)] {
            assert_eq!(told(&[(REQUEST_ID, other)]), [], "{other}");
        }
        assert_eq!(told(&[id[0], (REQUEST_ID, "another")]), []);
    }

    #[test]
    fn an_invalid_trace_is_not_sent() {
        let long = format!("{TRACE}-{}", "0".repeat(9000));
        let upper = TRACE.to_uppercase();
        let broken = TRACE.replace('-', "\n");
        for parent in ["", "-", "---", long.as_str(), &upper, &broken, &TRACE[1..], &TRACE.replace('f', "g")]
        {
            assert_eq!(told(&[(PARENT, parent), (STATE, "a=1")]), [], "{parent}");
        }
        assert_eq!(told(&[(PARENT, TRACE), (PARENT, TRACE)]), []);
    }

    #[test]
    fn an_invalid_state_is_omitted() {
        for state in ["", "a=\n", "a=ü", &"a".repeat(513)] {
            assert_eq!(told(&[(PARENT, TRACE), (STATE, state)]), owned(&[(PARENT, TRACE)]), "{state}");
        }
    }
}
