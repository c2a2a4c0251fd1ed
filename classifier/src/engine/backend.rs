//! What a worker thread computes with.

use anyhow::Result;

use crate::model::Model;
use crate::model::prediction::{Outputs, Prediction};
use crate::model::tokenizer::Tokens;

/// Classifies texts; owned by one worker thread.
pub trait Backend: Send + 'static {
    /// Called once by the thread that will classify, before it takes texts.
    fn prepare(&self) {}

    /// What is wanted of each text, in the texts' order.
    ///
    /// # Errors
    /// If the computation fails; the worker goes on with the next texts.
    fn classify(&self, texts: &[&Tokens], want: Outputs) -> Result<Vec<Prediction>>;
}

impl Backend for Model {
    fn classify(&self, texts: &[&Tokens], want: Outputs) -> Result<Vec<Prediction>> {
        Self::classify(self, texts, want)
    }
}
