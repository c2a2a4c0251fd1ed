//! Short digests that stand for long texts, as keys of caches.

use std::hash::{DefaultHasher, Hash, Hasher};

/// A digest of 128 bits: two different texts do not meet by chance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Digest(u64, u64);

impl Digest {
    /// The digest of these texts in this order.
    pub fn of(texts: &[impl Hash]) -> Self {
        let half = |seed: u8| {
            let mut hasher = DefaultHasher::new();
            seed.hash(&mut hasher);
            texts.hash(&mut hasher);
            hasher.finish()
        };
        Self(half(0), half(1))
    }

    /// The digest of what is a hash already.
    pub fn of_number(hash: u64) -> Self {
        Self(hash, 0)
    }

    /// A number as good as random, the same for the same key.
    pub fn number(self) -> u64 {
        self.0
    }
}
