//! What a worker thread computes with.

use anyhow::Result;

use crate::model::Model;
use crate::model::scores::Answer;
use crate::model::tokenizer::Tokens;

/// Scores texts; owned by one worker thread.
pub trait Backend: Send + 'static {
    /// What every head says of each text, in the texts' order.
    ///
    /// # Errors
    /// If the computation fails; the worker goes on with the next texts.
    fn classify(&self, texts: &[&Tokens]) -> Result<Vec<Answer>>;
}

impl Backend for Model {
    fn classify(&self, texts: &[&Tokens]) -> Result<Vec<Answer>> {
        Self::classify(self, texts)
    }
}
