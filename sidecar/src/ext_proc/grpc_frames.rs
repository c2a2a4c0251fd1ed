//! Which bytes of a gRPC stream belong to request bodies, before any message is decoded.

/// The maximum length of a message that does not count as a body, in bytes. Envoy's limit on headers is 60 KiB by default.
const MAX_SMALL: usize = 64 << 10;

/// The bytes before each message: a flag, and the message's length.
const PREFIX: usize = 5;

/// The first bytes of messages about headers and trailers, and about response bodies: the tags of the fields 2, 3, 5, 6 and 7 of
/// `ProcessingRequest`. Envoy sends the fields of a message in ascending order, and our filter sends only request bodies.
const NOT_REQUEST_BODIES: [u8; 5] = [0x12, 0x1a, 0x2a, 0x32, 0x3a];

/// Reads the framing of a stream as it arrives.
#[derive(Debug, Default)]
pub(super) struct GrpcFrames {
    state: State,
}

/// Numbers of bytes that have arrived.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Arrived {
    /// Of request bodies, and of messages that are not small.
    pub(super) bodies: usize,
    /// Of small messages that are not request bodies.
    pub(super) small: usize,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// This many bytes of a prefix have arrived, and this much of the length.
    Prefix { read: usize, length: u32 },
    /// A message of this length follows.
    Message { length: usize },
    /// This many bytes of a message are missing.
    Content { missing: usize, is_small: bool },
}

impl Default for State {
    fn default() -> Self {
        Self::Prefix { read: 0, length: 0 }
    }
}

impl GrpcFrames {
    /// Counts the next bytes of the stream. A prefix counts with the first byte of its message.
    pub(super) fn count(&mut self, mut data: &[u8]) -> Arrived {
        let mut arrived = Arrived::default();
        while let Some((first, rest)) = data.split_first() {
            match self.state {
                State::Prefix { read, length } => {
                    self.state = after_prefix_byte(read + 1, length, *first);
                    data = rest;
                }
                State::Message { length } => {
                    let is_small = length <= MAX_SMALL && NOT_REQUEST_BODIES.contains(first);
                    arrived.add(PREFIX, is_small);
                    self.state = State::Content { missing: length, is_small };
                }
                State::Content { missing, is_small } => {
                    let length = missing.min(data.len());
                    arrived.add(length, is_small);
                    data = data.get(length..).unwrap_or_default();
                    self.state = match missing - length {
                        0 => State::default(),
                        missing => State::Content { missing, is_small },
                    };
                }
            }
        }
        arrived
    }
}

/// The state after this many bytes of a prefix. The first is the flag, the others are the length.
fn after_prefix_byte(read: usize, length: u32, byte: u8) -> State {
    let length = if read == 1 { 0 } else { (length << 8) | u32::from(byte) };
    match (read, length) {
        // An empty message.
        (PREFIX, 0) => State::default(),
        (PREFIX, length) => State::Message { length: length as usize },
        _ => State::Prefix { read, length },
    }
}

impl Arrived {
    fn add(&mut self, bytes: usize, is_small: bool) {
        if is_small { self.small += bytes } else { self.bodies += bytes }
    }
}

#[cfg(test)]
mod tests {
    use llm_router_proto::contract::{Classifiers, RequestTemplate};

    use super::*;

    const SMALL: [u8; 5] = [2, 3, 5, 6, 7];
    const REQUEST_BODY: u8 = 4;

    fn frame(message: &[u8]) -> Vec<u8> {
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        [&[0][..], &length, message].concat()
    }

    /// A message of this length that begins with this field.
    fn message(field: u8, length: usize) -> Vec<u8> {
        let mut message = vec![0; length];
        message[0] = (field << 3) | 2;
        frame(&message)
    }

    fn count(stream: &[u8], length: usize) -> Arrived {
        let mut frames = GrpcFrames::default();
        let mut total = Arrived::default();
        for data in stream.chunks(length) {
            let arrived = frames.count(data);
            total.bodies += arrived.bodies;
            total.small += arrived.small;
        }
        total
    }

    #[test]
    fn each_kind_of_message_is_counted_however_it_arrives() {
        let small = SMALL.map(|field| [message(field, 2), message(field, MAX_SMALL)].concat()).concat();
        let large = SMALL.map(|field| message(field, MAX_SMALL + 1)).concat();
        let bodies = [message(REQUEST_BODY, 2), message(REQUEST_BODY, 1000)].concat();
        let stream = [&small[..], &frame(b""), &bodies, &small, &large].concat();
        let expected = Arrived { bodies: bodies.len() + large.len(), small: 2 * small.len() };
        for length in [1, 2, 5, 6, 7, 1000, stream.len()] {
            assert_eq!(count(&stream, length), expected, "{length}");
        }
    }

    #[test]
    fn a_request_of_our_filter_counts_as_a_body() {
        let request = RequestTemplate::new(Classifiers::All, None, None).encode("{}".into());
        let stream = frame(&request);
        assert_eq!(count(&stream, stream.len()), Arrived { bodies: stream.len(), small: 0 });
    }
}
