//! Reads server-sent events.
//!
//! <https://html.spec.whatwg.org/multipage/server-sent-events.html>. OpenAI's APIs send one line of `data`
//! for each event, so this reader returns lines.

use std::mem;

/// The line that ends a stream of chat completion chunks.
pub const DONE: &[u8] = b"[DONE]";

/// Finds the `data` lines in the pieces of a response.
#[derive(Debug, Default)]
pub struct EventReader {
    /// The beginning of a line whose end has not arrived yet.
    unfinished: Vec<u8>,
}

impl EventReader {
    /// Takes the next piece, and calls `on_data` with the content of each `data` line that it completes.
    pub fn push(&mut self, piece: &[u8], mut on_data: impl FnMut(&[u8])) {
        let Some(last) = piece.iter().rposition(|byte| *byte == b'\n') else {
            self.unfinished.extend_from_slice(piece);
            return;
        };
        let (complete, rest) = piece.split_at(last);
        let mut lines = mem::replace(&mut self.unfinished, rest.get(1..).unwrap_or_default().to_vec());
        lines.extend_from_slice(complete);
        for line in lines.split(|byte| *byte == b'\n') {
            if let Some(data) = line.strip_prefix(b"data:") {
                on_data(data.trim_ascii());
            }
        }
    }

    /// The length of the line that is not complete yet, in bytes.
    pub fn unfinished(&self) -> usize {
        self.unfinished.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pieces: &[&str]) -> Vec<String> {
        let (mut reader, mut found) = (EventReader::default(), Vec::new());
        for piece in pieces {
            reader.push(piece.as_bytes(), |data| found.push(String::from_utf8(data.to_vec()).unwrap()));
        }
        found
    }

    #[test]
    fn events_are_found_however_the_pieces_are_cut() {
        let stream = ": hello\n\ndata: {\"a\": 1}\r\n\r\nevent: x\ndata:{}\n\ndata: [DONE]\n\n";
        let events = ["{\"a\": 1}", "{}", "[DONE]"];
        assert_eq!(read(&[stream]), events);
        for at in 0..stream.len() {
            assert_eq!(read(&[&stream[..at], &stream[at..]]), events, "cut at {at}");
        }
        let bytes: Vec<_> = stream.split("").collect();
        assert_eq!(read(&bytes), events);
    }

    #[test]
    fn a_line_without_its_end_is_no_event() {
        assert_eq!(read(&["data: 1\ndata: 2"]), ["1"]);
    }
}
