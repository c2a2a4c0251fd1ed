//! Splits bytes at a byte of interest.

/// The bytes before the position, the byte there, and the bytes after it. Without one, all are before.
pub(super) fn split_at(bytes: &[u8], at: Option<usize>) -> (&[u8], Option<u8>, &[u8]) {
    let (before, from) = at.and_then(|at| bytes.split_at_checked(at)).unwrap_or((bytes, &[]));
    match from.split_first() {
        Some((byte, after)) => (before, Some(*byte), after),
        None => (before, None, &[]),
    }
}
