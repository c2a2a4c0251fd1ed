//! Finds the quotes of JSON text, fast also where they are dense, as in code: `memchr` would start anew at each.

use memchr::memchr;

/// The places of the quotes, in order.
pub(super) struct Quotes<'a> {
    bytes: &'a [u8],
    /// Where the block lies that is looked at, and where the next one does.
    block: usize,
    next: usize,
    /// The block's quotes that are still to come, a bit each.
    left: u64,
}

const BLOCK: usize = u64::BITS as usize;
const QUOTE: u8 = b'"';

impl<'a> Quotes<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, block: 0, next: 0, left: 0 }
    }
}

impl Iterator for Quotes<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        while self.left == 0 {
            let rest = self.bytes.get(self.next..).filter(|rest| !rest.is_empty())?;
            self.block = self.next;
            self.next += BLOCK;
            match rest.split_first_chunk() {
                Some((block, rest)) => {
                    self.left = quotes_in(block);
                    if self.left == 0 {
                        // Long texts without any, such as images, are skipped faster so.
                        self.next += memchr(QUOTE, rest)?;
                    }
                }
                None => {
                    self.left = rest.iter().rev().fold(0, |bits, byte| bits << 1 | u64::from(*byte == QUOTE));
                }
            }
        }
        let first = self.left.trailing_zeros() as usize;
        self.left &= self.left - 1;
        Some(self.block + first)
    }
}

/// The quotes among the bytes of a block, the first of them in the lowest bit.
fn quotes_in(block: &[u8; BLOCK]) -> u64 {
    let (words, _) = block.as_chunks();
    words.iter().rev().fold(0, |bits, word| bits << 8 | quotes_in_word(u64::from_le_bytes(*word)))
}

/// Of the sums, one to a byte, only a quote's leaves the high bit clear. Unlike the better-known test for a zero byte,
/// which subtracts, this one is exact for every byte. The product gathers the high bits in the top byte.
fn quotes_in_word(word: u64) -> u64 {
    const LOW_BITS: u64 = u64::from_le_bytes([0x7f; 8]);
    const GATHER: u64 = 0x0102_0408_1020_4080;
    let zero_at_quote = word ^ u64::from_le_bytes([QUOTE; 8]);
    let others = ((zero_at_quote & LOW_BITS) + LOW_BITS) | zero_at_quote | LOW_BITS;
    (!others >> 7).wrapping_mul(GATHER) >> 56
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn all_quotes_are_found(text in "(a{0,150}[\"\u{a2}#!]{0,3}){0,4}", bytes: Vec<u8>) {
            for bytes in [text.as_bytes(), &bytes] {
                let expected: Vec<_> = (0..bytes.len()).filter(|at| bytes[*at] == QUOTE).collect();
                prop_assert_eq!(Quotes::new(bytes).collect::<Vec<_>>(), expected);
            }
        }
    }
}
