//! Finds the quotes of JSON text: by `memchr` where they are sparse, as in prose and code, and by blocks where they are dense, as
//! in JSON within JSON.

use memchr::memchr;

/// The positions of the quotes, in order.
pub(super) struct Quotes<'a> {
    bytes: &'a [u8],
    /// The start of the bytes that were not searched yet.
    next: usize,
    /// Whether the last quotes were near each other.
    are_dense: bool,
    /// The start of the current block with dense quotes.
    block: usize,
    /// One bit for each quote of the block that was not returned yet.
    left: u64,
}

const BLOCK: usize = u64::BITS as usize;
const QUOTE: u8 = b'"';

/// If quotes are closer than this, in bytes, reading a block is faster than calling `memchr` for each quote.
const NEAR: usize = 12;

impl<'a> Quotes<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, next: 0, are_dense: false, block: 0, left: 0 }
    }

    /// Reads the next block. `None` if fewer bytes than a block are left.
    fn read_block(&mut self) -> Option<()> {
        let block = self.bytes.get(self.next..)?.first_chunk()?;
        self.left = quotes_in(block);
        self.block = self.next;
        self.next += BLOCK;
        Some(())
    }
}

impl Iterator for Quotes<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        if self.left == 0 && self.are_dense {
            self.are_dense = self.read_block().is_some() && self.left.count_ones() > 2;
        }
        if self.left != 0 {
            let first = self.left.trailing_zeros() as usize;
            self.left &= self.left - 1;
            return Some(self.block + first);
        }
        let distance = memchr(QUOTE, self.bytes.get(self.next..)?)?;
        let place = self.next + distance;
        self.next = place + 1;
        self.are_dense = distance < NEAR;
        Some(place)
    }
}

/// The quotes among the bytes of a block, the first of them in the lowest bit.
fn quotes_in(block: &[u8; BLOCK]) -> u64 {
    let (words, _) = block.as_chunks();
    words.iter().rev().fold(0, |bits, word| bits << 8 | quotes_in_word(u64::from_le_bytes(*word)))
}

/// Adds to each byte such that the high bit stays clear only for a quote. Unlike the better-known test for a zero byte,
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
