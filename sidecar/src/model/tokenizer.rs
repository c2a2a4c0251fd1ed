//! Turns text into token ids, in bounded time for text of any size.

use std::path::Path;

use anyhow::{Result, anyhow};
use tokenizers::{TruncationParams, TruncationStrategy};

/// Longest input in tokens, special tokens included: the `max_seq_length` that all-MiniLM-L6-v2 was trained with. What
/// is longer is cut at its end.
pub const MAX_TOKENS: usize = 256;

/// Longest input in bytes. A tokenizer reads everything before it truncates, so that a megabyte would cost 370 ms; 16
/// bytes a token are more than any ordinary text has (English about 4.5, Chinese 3).
pub const MAX_BYTES: usize = 16 * MAX_TOKENS;

/// A text as the encoder reads it: at most [`MAX_TOKENS`] ids when it comes from a [`Tokenizer`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens(Vec<i64>);

impl From<Vec<i64>> for Tokens {
    fn from(ids: Vec<i64>) -> Self {
        Self(ids)
    }
}

impl Tokens {
    /// The token ids, special tokens included.
    #[must_use]
    pub fn ids(&self) -> &[i64] {
        &self.0
    }
}

/// The model's own tokenizer.
pub struct Tokenizer(tokenizers::Tokenizer);

impl Tokenizer {
    /// Reads a `tokenizer.json`.
    ///
    /// # Errors
    /// If the file is missing or is not a tokenizer; the error names it.
    pub fn load(path: &Path) -> Result<Self> {
        let fail = |error| anyhow!("cannot read {}: {error}", path.display());
        let mut tokenizer = tokenizers::Tokenizer::from_file(path).map_err(fail)?;
        // The file has a truncation and a padding of its own, made for batches of fixed length.
        tokenizer
            .with_padding(None)
            .with_truncation(Some(TruncationParams {
                max_length: MAX_TOKENS,
                strategy: TruncationStrategy::LongestFirst,
                ..TruncationParams::default()
            }))
            .map_err(fail)?;
        Ok(Self(tokenizer))
    }

    /// Tokenizes a text's beginning, up to [`MAX_BYTES`] and [`MAX_TOKENS`].
    ///
    /// # Errors
    /// If the tokenizer has no token for unknown words; BERT's always has.
    pub fn tokenize(&self, text: &str) -> Result<Tokens> {
        let text = cut(text.trim_start(), MAX_BYTES);
        let encoding = self.0.encode_fast(text, true).map_err(|error| anyhow!("cannot tokenize: {error}"))?;
        Ok(encoding.get_ids().iter().map(|&id| i64::from(id)).collect::<Vec<_>>().into())
    }
}

/// The text's beginning of at most `limit` bytes, whole characters only.
fn cut(text: &str, limit: usize) -> &str {
    &text[..text.floor_char_boundary(limit)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_between_characters() {
        assert_eq!(cut("aéé", 2), "a");
        assert_eq!(cut("aéé", 3), "aé");
        assert_eq!(cut("short", 100), "short");
        assert_eq!(cut("", 4), "");
    }
}
