//! Decodes the escapes of a JSON string.

use std::iter;

use memchr::memchr;

/// Bytes of an escape like `\u00e9`.
const UNICODE: usize = 6;

/// Bytes of the longest escape: two for one character.
pub(super) const LONGEST: usize = 2 * UNICODE;

/// A piece of a string.
pub(super) enum Piece<'a> {
    /// Unescaped bytes.
    Plain(&'a [u8]),
    /// The character of an escape, or of two escapes.
    Escaped(char),
}

/// The pieces of the text between a string's quotes. A backslash and a byte that are not an escape in JSON become a
/// replacement character; the rest of such a string is kept.
pub(super) fn pieces(mut inner: &[u8]) -> impl Iterator<Item = Piece<'_>> {
    iter::from_fn(move || {
        let (piece, length) = match memchr(b'\\', inner) {
            Some(0) => {
                let (char, length) = escaped(inner);
                (Piece::Escaped(char), length)
            }
            None if inner.is_empty() => return None,
            backslash => {
                let plain = inner.get(..backslash.unwrap_or(inner.len()))?;
                (Piece::Plain(plain), plain.len())
            }
        };
        inner = inner.get(length..).unwrap_or_default();
        Some(piece)
    })
}

/// The character of the escape at the start of the bytes, and the length of the escape.
pub(super) fn escaped(bytes: &[u8]) -> (char, usize) {
    let char = match bytes.get(1) {
        Some(b'n') => '\n',
        Some(b'"') => '"',
        Some(b'\\') => '\\',
        Some(b'/') => '/',
        Some(b't') => '\t',
        Some(b'r') => '\r',
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(b'u') => return unicode(bytes),
        _ => char::REPLACEMENT_CHARACTER,
    };
    (char, 2)
}

/// A character beyond the first 65536 is a pair of escapes.
fn unicode(bytes: &[u8]) -> (char, usize) {
    let Some(first) = utf16_unit(bytes) else { return (char::REPLACEMENT_CHARACTER, 2) };
    let second = bytes.get(UNICODE..).and_then(utf16_unit);
    match char::decode_utf16(iter::once(first).chain(second)).next() {
        Some(Ok(char)) => (char, UNICODE * char.len_utf16()),
        _ => (char::REPLACEMENT_CHARACTER, UNICODE),
    }
}

fn utf16_unit(bytes: &[u8]) -> Option<u16> {
    let digits = bytes.strip_prefix(br"\u")?.get(..4)?;
    digits.iter().try_fold(0, |unit, digit| {
        let digit = char::from(*digit).to_digit(16).and_then(|digit| u16::try_from(digit).ok())?;
        Some(unit << 4 | digit)
    })
}
