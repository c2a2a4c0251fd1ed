//! Selects the texts that share a forward pass.
//!
//! A worker never waits for a batch to fill: when it is free, it takes the oldest text and others of similar length. So a
//! batch has one text under light load, and grows with the load.

use std::num::NonZeroUsize;

use tch::Device;

/// The maximum length, in tokens, of the texts of each lane. Texts are padded to the longest of their batch,
/// and each maximum is at most 1.5 times the one before, so at most a third of a batch is padding. One more
/// lane takes longer texts.
const LANES: [usize; 13] = [16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024];

/// The number of tokens in a forward pass on a GPU. More would delay the first prediction, and hardly raise the throughput.
const CUDA_TOKENS: usize = 16_384;

/// The number of texts that share a forward pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Batching {
    /// Each text has its own pass. Used on CPU, where a batch is no faster per text.
    Alone,
    /// Texts with at most this many tokens in total, padding included; at least one text.
    Tokens(NonZeroUsize),
}

impl Batching {
    /// The best choice for a device, unless the number of tokens is configured.
    #[must_use]
    pub fn on(device: Device, tokens: Option<NonZeroUsize>) -> Self {
        let default = if device == Device::Cpu { None } else { NonZeroUsize::new(CUDA_TOKENS) };
        tokens.or(default).map_or(Self::Alone, Self::Tokens)
    }

    /// The lane in which a text of this length waits.
    pub(super) fn lane(tokens: usize) -> usize {
        LANES.partition_point(|&longest| longest < tokens)
    }

    /// Number of lanes.
    pub(super) const LANES: usize = LANES.len() + 1;

    /// The maximum lengths of the lanes below `max` tokens, and `max`.
    pub(super) fn lengths(max: usize) -> impl Iterator<Item = usize> {
        LANES.into_iter().filter(move |&length| length < max).chain([max])
    }

    /// The number of texts of a lane that share a forward pass.
    pub(super) fn texts(self, lane: usize) -> usize {
        match (self, LANES.get(lane)) {
            (Self::Tokens(budget), Some(longest)) => (budget.get() / longest).max(1),
            // The texts of the last lane have no maximum length.
            (Self::Alone, _) | (_, None) => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_a_lane_are_of_about_one_length() {
        for (tokens, lane) in [(1, 0), (16, 0), (17, 1), (24, 1), (25, 2), (1024, 12), (1025, 13)] {
            assert_eq!(Batching::lane(tokens), lane, "{tokens}");
        }
        for pair in LANES.windows(2) {
            let (shortest, longest) = (pair[0] + 1, pair[1]);
            assert!(3 * (longest - shortest) <= longest, "more than a third of {longest} can be padding");
        }
    }

    #[test]
    fn the_number_of_tokens_limits_a_batch() {
        let batching = Batching::Tokens(NonZeroUsize::new(512).unwrap());
        assert_eq!(batching.texts(Batching::lane(10)), 32);
        assert_eq!(batching.texts(Batching::lane(129)), 2);
        assert_eq!(batching.texts(Batching::lane(600)), 1);
        assert_eq!(batching.texts(Batching::lane(5000)), 1);
        assert_eq!(Batching::Alone.texts(0), 1);
    }
}
