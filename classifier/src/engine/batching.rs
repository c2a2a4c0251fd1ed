//! Which texts share a forward pass.
//!
//! There is no waiting for a batch to fill: a worker that is free takes what waits, the oldest text and others of about
//! its length. So a batch is of one text when there is little to do, and grows with the load.

use std::num::NonZeroUsize;

use tch::Device;

/// The longest lengths, in tokens, that may share a forward pass, lane by lane. Texts are padded to the longest beside
/// them, so from one to the next is how much of a batch can be padding: a third. Longer texts are in one more lane.
const LANES: [usize; 13] = [16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024];

/// Tokens that a GPU takes at once. More would make the first answer wait longer, and be little faster for each token.
const CUDA_TOKENS: usize = 16_384;

/// How many texts share a forward pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Batching {
    /// Each text has one of its own. On CPU, where a batch is no faster for each of its texts.
    Alone,
    /// As many as have this many tokens together, padding included; at least one.
    Tokens(NonZeroUsize),
}

impl Batching {
    /// What is best for a device, unless a number of tokens is asked for.
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

    /// The longest lengths of the lanes up to `most` tokens, and that.
    pub(super) fn lengths(most: usize) -> impl Iterator<Item = usize> {
        LANES.into_iter().filter(move |&length| length < most).chain([most])
    }

    /// How many texts of a lane share a forward pass.
    pub(super) fn texts(self, lane: usize) -> usize {
        match (self, LANES.get(lane)) {
            (Self::Tokens(budget), Some(longest)) => (budget.get() / longest).max(1),
            // Nothing is known about how long they are.
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
    fn a_batch_is_full_by_tokens() {
        let batching = Batching::Tokens(NonZeroUsize::new(512).unwrap());
        assert_eq!(batching.texts(Batching::lane(10)), 32);
        assert_eq!(batching.texts(Batching::lane(129)), 2);
        assert_eq!(batching.texts(Batching::lane(600)), 1);
        assert_eq!(batching.texts(Batching::lane(5000)), 1);
        assert_eq!(Batching::Alone.texts(0), 1);
    }
}
