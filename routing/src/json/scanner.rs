//! Walks over JSON text. Of skipped values, it checks only the structure: brackets match, strings end. Code that reads
//! numbers and escapes must check that they are well formed.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use super::RawString;
use super::quotes::Quotes;

/// The maximum depth. Legitimate requests are not deeper, and deeper ones crash the parsers of some LLM servers.
const MAX_DEPTH: u32 = 128;

/// The maximum number of members and items that are read. A legitimate request of a million tokens has a few thousand, and each
/// takes tens of nanoseconds. Skipped ones do not count.
pub(crate) const MAX_ITEMS: u32 = 100_000;

/// Shorter strings than this, in bytes, are read faster byte by byte.
const SHORT: usize = 16;

/// A position in JSON text.
#[derive(Clone, Debug)]
pub(crate) struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
    /// How many more members and items may be read.
    items_left: u32,
}

/// What is wrong with the text, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SyntaxError {
    problem: &'static str,
    at: usize,
    /// Whether there are more than [`MAX_ITEMS`] members and items, well formed or not.
    pub(crate) is_too_long: bool,
}

impl fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}", self.problem, self.at)
    }
}

/// A member's key and its position.
pub(crate) struct Key<'a> {
    /// Its characters, however they are written.
    pub(crate) name: Cow<'a, [u8]>,
    /// Where it starts.
    pub(crate) start: usize,
    /// Where the comma before it is; none before the first.
    pub(crate) comma: Option<usize>,
    /// How many members come before it.
    pub(crate) place: usize,
}

impl<'a> Scanner<'a> {
    /// At the start of a text.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, items_left: MAX_ITEMS }
    }

    /// The first byte of the next value, which determines its type.
    pub(crate) fn peek(&mut self) -> Option<u8> {
        let rest = self.bytes.get(self.at..)?;
        self.at += rest.iter().take_while(|byte| matches!(byte, b' ' | b'\n' | b'\r' | b'\t')).count();
        self.bytes.get(self.at).copied()
    }

    /// The position of the next byte.
    pub(crate) fn position(&self) -> usize {
        self.at
    }

    /// Whether nothing but white space is left.
    pub(crate) fn end(&mut self) -> Result<(), SyntaxError> {
        if self.peek().is_none() {
            Ok(())
        } else {
            Err(self.error("more text after the end of the JSON value"))
        }
    }

    /// Calls `member` for each key of an object, with the scanner at its value, which it must skip.
    pub(crate) fn object<E: From<SyntaxError>>(
        &mut self,
        mut member: impl FnMut(&mut Self, Key<'a>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.expect(b'{', "expected an object")?;
        if self.take(b'}') {
            return Ok(());
        }
        let mut comma = None;
        for place in 0.. {
            self.count_item()?;
            self.peek();
            let start = self.at;
            let name = self.string().map_err(|error| SyntaxError { problem: "expected a key", ..error })?;
            self.expect(b':', "expected a colon")?;
            member(self, Key { name: name.bytes(), start, comma, place })?;
            if self.take(b'}') {
                break;
            }
            self.expect(b',', "expected a comma or the end of the object")?;
            comma = Some(self.at - 1);
        }
        Ok(())
    }

    /// Calls `item` for each item of an array, with the scanner at it, which it must skip.
    pub(crate) fn array<E: From<SyntaxError>>(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        self.expect(b'[', "expected an array")?;
        if self.take(b']') {
            return Ok(());
        }
        loop {
            self.count_item()?;
            item(self)?;
            if self.take(b']') {
                return Ok(());
            }
            self.expect(b',', "expected a comma or the end of the array")?;
        }
    }

    /// Whether an array comes whose first item is a number.
    pub(crate) fn starts_with_number(&self) -> bool {
        let mut ahead = self.clone();
        ahead.take(b'[') && matches!(ahead.peek(), Some(b'-' | b'0'..=b'9'))
    }

    /// Skips a string.
    pub(crate) fn string(&mut self) -> Result<RawString<'a>, SyntaxError> {
        if self.peek() != Some(b'"') {
            return Err(self.error("expected a string"));
        }
        let start = self.at;
        self.skip_string()?;
        let inner = self.bytes.get(start + 1..self.at - 1);
        Ok(RawString::new(inner.unwrap_or_default()))
    }

    /// Skips any value, and returns its range.
    pub(crate) fn skip(&mut self) -> Result<Range<usize>, SyntaxError> {
        let first = self.peek();
        let start = self.at;
        match first {
            Some(b'"') => self.skip_string()?,
            Some(b'{' | b'[') => self.skip_container()?,
            Some(b'-' | b'0'..=b'9') => self.skip_scalar(),
            Some(b't' | b'f' | b'n') => {
                self.skip_scalar();
                if !matches!(self.since(start), b"true" | b"false" | b"null") {
                    return Err(SyntaxError { at: start, ..self.error("expected a value") });
                }
            }
            _ => return Err(self.error("expected a value")),
        }
        Ok(start..self.at)
    }

    /// Skips any value, and returns its text.
    pub(crate) fn raw(&mut self) -> Result<&'a [u8], SyntaxError> {
        self.skip().map(|range| self.bytes.get(range).unwrap_or_default())
    }

    /// A quote ends the string unless an odd number of backslashes precedes it. So it is enough to search for quotes,
    /// however many other escapes there are.
    fn skip_string(&mut self) -> Result<(), SyntaxError> {
        let start = self.at + 1;
        let text = self.bytes.get(start..).unwrap_or_default();
        // Most keys end here.
        let short = text.iter().take(SHORT).position(|byte| matches!(byte, b'"' | b'\\'));
        if let Some(end) = short.filter(|end| text.get(*end) == Some(&b'"')) {
            self.at = start + end + 1;
            return Ok(());
        }
        let end = Quotes::new(text).find(|quote| {
            let before = text.get(..*quote).unwrap_or_default();
            before.iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 0
        });
        self.at = start + end.ok_or_else(|| self.error("a string without end"))? + 1;
        Ok(())
    }

    /// Without recursion: the kinds of the open brackets are the bits of a number.
    fn skip_container(&mut self) -> Result<(), SyntaxError> {
        let mut open: u128 = 0;
        let mut depth = 0;
        while let Some(byte) = self.bytes.get(self.at) {
            match byte {
                b'"' => {
                    self.skip_string()?;
                    continue;
                }
                b'{' | b'[' => {
                    if depth == MAX_DEPTH {
                        return Err(self.error("nested too deeply"));
                    }
                    open = open << 1 | u128::from(*byte == b'{');
                    depth += 1;
                }
                b'}' | b']' => {
                    if (open & 1 == 1) != (*byte == b'}') {
                        return Err(self.error("a bracket that closes another kind"));
                    }
                    open >>= 1;
                    depth -= 1;
                    if depth == 0 {
                        self.at += 1;
                        return Ok(());
                    }
                }
                _ => {}
            }
            self.at += 1;
        }
        Err(self.error("the text ends within a value"))
    }

    fn skip_scalar(&mut self) {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let ends = |byte: u8| matches!(byte, b',' | b']' | b'}' | b' ' | b'\n' | b'\r' | b'\t');
        self.at += rest.iter().take_while(|byte| !ends(**byte)).count();
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, byte: u8, problem: &'static str) -> Result<(), SyntaxError> {
        if self.take(byte) { Ok(()) } else { Err(self.error(problem)) }
    }

    /// The text from an earlier position up to this one.
    pub(crate) fn since(&self, start: usize) -> &'a [u8] {
        self.bytes.get(start..self.at).unwrap_or_default()
    }

    /// Lowers this scanner's limit by what another scanner of the same text has read.
    pub(crate) fn count_items_of(&mut self, other: &Self) {
        self.items_left = self.items_left.min(other.items_left);
    }

    fn count_item(&mut self) -> Result<(), SyntaxError> {
        let left = self.items_left.checked_sub(1);
        self.items_left = left
            .ok_or_else(|| SyntaxError { is_too_long: true, ..self.error("too many members and items") })?;
        Ok(())
    }

    fn error(&self, problem: &'static str) -> SyntaxError {
        SyntaxError { problem, at: self.at, is_too_long: false }
    }
}
