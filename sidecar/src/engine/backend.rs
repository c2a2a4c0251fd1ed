//! What a worker thread computes with.

use anyhow::Result;

use crate::model::Model;
use crate::model::scores::Scores;
use crate::model::tokenizer::Tokens;

/// Scores texts; owned by one worker thread.
pub trait Backend: Send + 'static {
    /// The scores of every head for one text.
    ///
    /// # Errors
    /// If the computation fails; the worker goes on with the next text.
    fn classify(&self, text: &Tokens) -> Result<Vec<Scores>>;
}

impl Backend for Model {
    fn classify(&self, text: &Tokens) -> Result<Vec<Scores>> {
        Self::classify(self, text)
    }
}
