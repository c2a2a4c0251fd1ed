//! gRPC over HTTP/2, for calls with one message in each direction.

use std::time::Duration;

/// The length of the prefix of each message: a compression flag and the message's length.
const PREFIX: usize = 5;
/// The longest response that is read. The sidecar's responses have a few hundred bytes.
const MAX_RESPONSE: usize = 1 << 20;
/// Codes of `google.rpc.Code`.
const OK: u32 = 0;
const UNKNOWN: u32 = 2;
const UNAVAILABLE: u32 = 14;
const INTERNAL: u32 = 13;

/// The message with its prefix.
pub(crate) fn frame(message: &[u8]) -> Vec<u8> {
    let mut framed = Vec::with_capacity(PREFIX + message.len());
    framed.push(0);
    framed.extend_from_slice(&u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes());
    framed.extend_from_slice(message);
    framed
}

/// The value of `grpc-timeout`, so that a server can give up when the caller has.
pub(crate) fn timeout(limit: Duration) -> String {
    // The protocol allows eight digits, in milliseconds more than a day.
    format!("{}m", limit.as_millis().clamp(1, 99_999_999))
}

/// A response that is being received.
#[derive(Debug, Default)]
pub(crate) struct Response {
    body: Vec<u8>,
    is_too_large: bool,
    http_status: Option<u32>,
    status: Option<u32>,
    message: String,
}

/// How a call ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The response's message.
    Message(Vec<u8>),
    /// A status that is not OK, with its message.
    Status(u32, String),
}

impl Response {
    /// Reads a header or a trailer.
    pub(crate) fn header(&mut self, name: &[u8], value: &[u8]) {
        match name {
            b":status" => self.http_status = number(value),
            b"grpc-status" => self.status = Some(number(value).unwrap_or(UNKNOWN)),
            b"grpc-message" => self.message = percent_decoded(value),
            _ => {}
        }
    }

    /// Reads a piece of the body.
    pub(crate) fn data(&mut self, piece: &[u8]) {
        if self.body.len().saturating_add(piece.len()) > MAX_RESPONSE {
            self.is_too_large = true;
            self.body = Vec::new();
        } else if !self.is_too_large {
            self.body.extend_from_slice(piece);
        }
    }

    /// The response has ended, or was reset.
    pub(crate) fn end(self, was_reset: bool) -> Outcome {
        match (self.status, self.http_status) {
            (Some(OK), _) if was_reset => Outcome::Status(UNAVAILABLE, "the stream was reset".to_owned()),
            (Some(OK), _) if self.is_too_large => {
                Outcome::Status(INTERNAL, "the response is too large".to_owned())
            }
            (Some(OK), _) => match message(&self.body) {
                Some(message) => Outcome::Message(message.to_vec()),
                None => Outcome::Status(INTERNAL, "the response is not one whole message".to_owned()),
            },
            (Some(status), _) => Outcome::Status(status, self.message),
            (None, _) if was_reset => Outcome::Status(UNAVAILABLE, "the stream was reset".to_owned()),
            (None, Some(status)) if status != 200 => {
                Outcome::Status(UNAVAILABLE, format!("HTTP status {status}"))
            }
            (None, _) => Outcome::Status(UNKNOWN, "the response has no gRPC status".to_owned()),
        }
    }
}

fn number(value: &[u8]) -> Option<u32> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// The message of a body, if that is exactly one uncompressed message.
fn message(body: &[u8]) -> Option<&[u8]> {
    let (prefix, message) = body.split_at_checked(PREFIX)?;
    let [0, length @ ..] = prefix else { return None };
    let length = u32::from_be_bytes(length.try_into().ok()?);
    (usize::try_from(length) == Ok(message.len())).then_some(message)
}

/// Decodes `grpc-message`, which is percent-encoded UTF-8. Invalid escapes are kept.
fn percent_decoded(value: &[u8]) -> String {
    let mut decoded = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some((&byte, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match hex.and_then(|digits| u8::from_str_radix(digits, 16).ok()).filter(|_| byte == b'%') {
            Some(escaped) => {
                decoded.push(escaped);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                decoded.push(byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn response(headers: &[(&str, &str)], pieces: &[&[u8]], trailers: &[(&str, &str)]) -> Response {
        let mut response = Response::default();
        for (name, value) in headers {
            response.header(name.as_bytes(), value.as_bytes());
        }
        pieces.iter().for_each(|piece| response.data(piece));
        for (name, value) in trailers {
            response.header(name.as_bytes(), value.as_bytes());
        }
        response
    }

    fn status(outcome: Outcome) -> (u32, String) {
        match outcome {
            Outcome::Status(code, message) => (code, message),
            Outcome::Message(message) => panic!("{message:?}"),
        }
    }

    proptest! {
        #[test]
        fn a_message_arrives_in_whatever_pieces(message: Vec<u8>, size in 1_usize..9) {
            let framed = frame(&message);
            let pieces: Vec<_> = framed.chunks(size).collect();
            let response = response(&[(":status", "200")], &pieces, &[("grpc-status", "0")]);
            prop_assert_eq!(response.end(false), Outcome::Message(message));
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(pieces: Vec<Vec<u8>>, name: Vec<u8>, value: Vec<u8>, reset: bool) {
            let mut response = Response::default();
            response.header(&name, &value);
            response.header(b"grpc-message", &value);
            response.header(b"grpc-status", &value);
            pieces.iter().for_each(|piece| response.data(piece));
            response.end(reset);
        }
    }

    #[test]
    fn a_status_after_a_body_counts() {
        let framed = frame(b"late");
        let trailers = [("grpc-status", "9"), ("grpc-message", "no such%20examples%0a%zz")];
        let response = response(&[(":status", "200")], &[&framed], &trailers);
        assert_eq!(status(response.end(false)), (9, "no such examples\n%zz".to_owned()));
    }

    #[test]
    fn what_is_not_one_whole_message_is_an_error() {
        let whole = frame(b"message");
        let two = [whole.clone(), whole.clone()].concat();
        let compressed = [&[1], &whole[1..]].concat();
        for body in [&whole[..4], &whole[..8], &two, &compressed, b""] {
            let response = response(&[(":status", "200")], &[body], &[("grpc-status", "0")]);
            assert_eq!(status(response.end(false)).0, INTERNAL, "{body:?}");
        }
    }

    #[test]
    fn a_large_response_is_not_kept() {
        let mut large = response(&[(":status", "200")], &[&vec![0; MAX_RESPONSE], b"x", b"y"], &[]);
        assert_eq!(large.body.capacity(), 0);
        large.header(b"grpc-status", b"0");
        assert_eq!(status(large.end(false)), (INTERNAL, "the response is too large".to_owned()));
    }

    #[test]
    fn without_a_grpc_status_the_http_status_or_the_reset_says_why() {
        let http = |code| response(&[(":status", code)], &[], &[]);
        assert_eq!(status(http("503").end(false)), (UNAVAILABLE, "HTTP status 503".to_owned()));
        assert_eq!(status(http("200").end(false)).0, UNKNOWN);
        assert_eq!(status(http("200").end(true)), (UNAVAILABLE, "the stream was reset".to_owned()));
        let answered = response(&[(":status", "200"), ("grpc-status", "0")], &[&frame(b"x")], &[]);
        assert_eq!(status(answered.end(true)).0, UNAVAILABLE);
    }

    #[test]
    fn a_timeout_is_in_milliseconds_of_at_most_eight_digits() {
        assert_eq!(timeout(Duration::from_millis(200)), "200m");
        assert_eq!(timeout(Duration::from_micros(10)), "1m");
        assert_eq!(timeout(Duration::MAX), "99999999m");
    }
}
