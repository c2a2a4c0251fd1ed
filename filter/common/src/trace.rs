//! The client's trace, which the call to the sidecar belongs to (W3C Trace Context, levels 1 and 2).

use llm_router_routing::headers::Headers;

const PARENT: &str = "traceparent";
const STATE: &str = "tracestate";

/// The length that every implementation must propagate, in bytes.
const LONGEST_STATE: usize = 512;

/// `traceparent` and `tracestate`, if they are well-formed.
pub fn headers(all: &Headers) -> Vec<(&str, &[u8])> {
    let Some(parent) = all.only(PARENT).filter(|value| is_parent(value)) else { return Vec::new() };
    let state = all.only(STATE).filter(|value| is_state(value));
    [(PARENT, parent)].into_iter().chain(state.map(|state| (STATE, state))).collect()
}

/// Version, trace, span and flags, in lower-case hexadecimal digits.
fn is_parent(value: &[u8]) -> bool {
    let fields: Vec<_> = value.split(|byte| *byte == b'-').collect();
    let is_hex = |field: &&[u8]| field.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    fields.iter().map(|field| field.len()).eq([2, 32, 16, 2]) && fields.iter().all(is_hex)
}

fn is_state(value: &[u8]) -> bool {
    !value.is_empty() && value.len() <= LONGEST_STATE && value.iter().all(|byte| matches!(byte, b' '..=b'~'))
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
    fn a_trace_is_told_with_its_state_and_nothing_else() {
        let trace = [(PARENT, TRACE), (STATE, "a=1,b=2")];
        assert_eq!(told(&[trace[0], trace[1], ("authorization", "Bearer x")]), owned(&trace));
        assert_eq!(told(&trace[..1]), owned(&trace[..1]));
        assert_eq!(told(&trace[1..]), []);
    }

    #[test]
    fn what_is_no_trace_is_not_told() {
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
    fn a_state_that_is_none_is_left_out() {
        for state in ["", "a=\n", "a=ü", &"a".repeat(513)] {
            assert_eq!(told(&[(PARENT, TRACE), (STATE, state)]), owned(&[(PARENT, TRACE)]), "{state}");
        }
    }
}
