//! Short digests of long texts, as cache keys and for weighted choices.

use std::hash::{DefaultHasher, Hash, Hasher};

use sha2::{Digest as _, Sha256};

/// A digest of 128 bits. It is the same on every platform and in every process, so that all replicas choose alike, and it is
/// collision-resistant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Digest(u64, u64);

impl Digest {
    /// A placeholder for a digest that is not needed: computing one takes about a microsecond in Wasm.
    pub const NONE: Self = Self(0, 0);

    /// The digest of these texts in this order.
    pub fn of(texts: &[impl AsRef<[u8]>]) -> Self {
        let mut hasher = Sha256::new();
        for text in texts {
            let text = text.as_ref();
            hasher.update((text.len() as u64).to_be_bytes());
            hasher.update(text);
        }
        let bytes: [u8; 32] = hasher.finalize().into();
        let (words, _) = bytes.as_chunks::<8>();
        let word = |index: usize| words.get(index).map_or(0, |word| u64::from_be_bytes(*word));
        Self(word(0), word(1))
    }

    /// A pseudo-random number, the same for the same key.
    pub fn number(self) -> u64 {
        self.0
    }

    /// All its bytes.
    pub fn bytes(self) -> [u8; 16] {
        (u128::from(self.0) << 64 | u128::from(self.1)).to_be_bytes()
    }

    /// A digest of this one and a name. Only for names that clients do not choose. The result differs between processes.
    pub(crate) fn with_name(self, name: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        Self(self.0, self.1 ^ hasher.finish())
    }
}
