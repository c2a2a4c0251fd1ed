//! JSON strings in their encoding, read whole or in parts.

use std::borrow::Cow;
use std::ops::Range;

use memchr::memchr;

use super::escape::{self, Piece};

/// A string in its JSON encoding, without the quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RawString<'a>(&'a [u8]);

impl<'a> RawString<'a> {
    /// From the JSON encoding between the quotes.
    pub(crate) fn new(inner: &'a [u8]) -> Self {
        Self(inner)
    }

    /// The JSON encoding between the quotes.
    pub(crate) fn inner(self) -> &'a [u8] {
        self.0
    }

    /// The length of its JSON encoding with the quotes, in bytes.
    pub(crate) fn written(self) -> usize {
        self.0.len() + "\"\"".len()
    }

    /// The characters. Invalid text becomes replacement characters: lone surrogates, invalid UTF-8, escapes
    /// that JSON does not have.
    pub(crate) fn text(self) -> String {
        let bytes = self.bytes().into_owned();
        String::from_utf8(bytes)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
    }

    /// The characters as bytes, valid UTF-8 or not, for comparisons.
    pub(crate) fn bytes(self) -> Cow<'a, [u8]> {
        if memchr(b'\\', self.0).is_none() {
            return Cow::Borrowed(self.0);
        }
        let mut bytes = Vec::with_capacity(self.0.len());
        for piece in escape::pieces(self.0) {
            match piece {
                Piece::Plain(plain) => bytes.extend_from_slice(plain),
                Piece::Escaped(char) => bytes.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        Cow::Owned(bytes)
    }

    /// Whether it has only white space.
    pub(crate) fn is_blank(self) -> bool {
        // The start suffices for most texts, however long.
        const START: usize = 64;
        is_blank(self.head(START).0) && is_blank(self.0)
    }

    /// A part of it, by positions in its JSON encoding. It must not split an escape or a character.
    pub(crate) fn slice(self, range: Range<usize>) -> Self {
        Self(self.0.get(range).unwrap_or_default())
    }

    /// Without the white space around it.
    pub(crate) fn trim(self) -> Self {
        let mut inner = self.0;
        while let Some(rest) = strip_space(inner, <[u8]>::strip_prefix) {
            inner = rest;
        }
        while let Some(rest) = strip_space(inner, <[u8]>::strip_suffix).filter(|rest| !ends_escaped(rest)) {
            inner = rest;
        }
        Self(inner)
    }

    /// Its first characters: those written in about the first `limit` bytes.
    pub(crate) fn head(self, limit: usize) -> Self {
        Self(self.0.get(..boundary(self.0, limit)).unwrap_or_default())
    }

    /// Its last characters: those written in about the last `limit` bytes.
    pub(crate) fn tail(self, limit: usize) -> Self {
        Self(self.0.get(boundary(self.0, self.0.len().saturating_sub(limit))..).unwrap_or_default())
    }
}

/// White space in its JSON encoding.
const SPACE: [&[u8]; 6] = [b" ", br"\n", br"\t", br"\r", b"\n", b"\t"];

fn strip_space<'b>(inner: &'b [u8], strip: impl Fn(&'b [u8], &[u8]) -> Option<&'b [u8]>) -> Option<&'b [u8]> {
    SPACE.into_iter().find_map(|space| strip(inner, space))
}

/// Whether a backslash that follows is itself escaped, so that it starts no escape such as `\n`.
fn ends_escaped(inner: &[u8]) -> bool {
    inner.iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1
}

fn is_blank(inner: &[u8]) -> bool {
    escape::pieces(inner).all(|piece| match piece {
        Piece::Plain(bytes) => bytes
            .utf8_chunks()
            .all(|chunk| chunk.valid().trim_start().is_empty() && chunk.invalid().is_empty()),
        Piece::Escaped(char) => char.is_whitespace(),
    })
}

/// The first position at or after `at` that splits neither a character, nor an escape, nor a surrogate pair.
fn boundary(inner: &[u8], at: usize) -> usize {
    if at >= inner.len() {
        return inner.len();
    }
    let mut at = escape_around(inner, at).unwrap_or(at);
    while inner.get(at).is_some_and(|byte| is_utf8_continuation(*byte)) {
        at += 1;
    }
    at
}

/// The end of the escape that `at` lies within, if it does.
fn escape_around(inner: &[u8], at: usize) -> Option<usize> {
    let first = at.saturating_sub(escape::LONGEST - 1);
    (first..at).rev().find_map(|start| {
        let bytes = inner.get(start..).filter(|bytes| bytes.starts_with(b"\\"))?;
        let (_, length) = escape::escaped(bytes);
        // A backslash after an odd number of others is itself escaped, so it starts no escape.
        let before = inner.get(..start)?.iter().rev().take_while(|byte| **byte == b'\\').count();
        (before % 2 == 0 && start + length > at).then_some((start + length).min(inner.len()))
    })
}

fn is_utf8_continuation(byte: u8) -> bool {
    byte & 0b1100_0000 == 0b1000_0000
}
