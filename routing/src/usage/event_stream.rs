//! Finds the data in a stream of server-sent events (the WHATWG's HTML standard, section 9.2).

use memchr::memchr2;

use super::scanner::{Form, Scanner};
use super::split::split_at;

/// Splits an event stream while it passes. Nothing is kept, so no line or event is too long.
#[derive(Debug)]
pub(super) struct EventStream {
    line: Line,
    scanner: Scanner,
}

/// Where in a line the next byte is.
#[derive(Clone, Copy, Debug)]
enum Line {
    Start,
    /// At its start, where a line feed still belongs to the carriage return before.
    AfterReturn,
    /// After this number of bytes of [`DATA`].
    Name(usize),
    /// In data. A leading space is kept, because JSON ignores it.
    Data,
    /// In another field or a comment.
    Other,
}

const DATA: &[u8] = b"data:";

impl EventStream {
    pub(super) fn new(reads_id: bool) -> Self {
        Self { line: Line::Start, scanner: Scanner::new(Form::Event, reads_id) }
    }

    pub(super) fn scanner(&self) -> &Scanner {
        &self.scanner
    }

    pub(super) fn read(&mut self, mut bytes: &[u8]) {
        while let Some((first, rest)) = bytes.split_first() {
            (self.line, bytes) = match (self.line, *first) {
                (Line::AfterReturn, b'\n') => (Line::Start, rest),
                (Line::Start | Line::AfterReturn, b'\n' | b'\r') => {
                    self.scanner.restart();
                    (Line::after(*first), rest)
                }
                (Line::Start | Line::AfterReturn, _) => (Line::Name(0), bytes),
                (Line::Name(read), byte) if DATA.get(read) == Some(&byte) => {
                    let read = read + 1;
                    (if read == DATA.len() { Line::Data } else { Line::Name(read) }, rest)
                }
                (Line::Name(_), _) => (Line::Other, bytes),
                (Line::Data | Line::Other, _) => self.read_line(bytes),
            };
        }
    }

    /// Reads up to and including the line's end. Returns the next position in a line, and the remaining bytes.
    fn read_line<'a>(&mut self, bytes: &'a [u8]) -> (Line, &'a [u8]) {
        let (text, end, after) = split_at(bytes, memchr2(b'\n', b'\r', bytes));
        if matches!(self.line, Line::Data) {
            self.scanner.read(text);
            if end.is_some() {
                self.scanner.read(b"\n");
            }
        }
        (end.map_or(self.line, Line::after), after)
    }
}

impl Line {
    fn after(end: u8) -> Self {
        if end == b'\r' { Self::AfterReturn } else { Self::Start }
    }
}
