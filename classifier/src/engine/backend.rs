//! The backend of a worker thread.

use anyhow::Result;

use crate::model::Model;
use crate::model::prediction::{Outputs, Prediction};
use crate::model::tokenizer::Tokens;

/// Classifies texts. One worker thread owns it.
pub trait Backend: 'static {
    /// The requested outputs of each text, in the texts' order.
    ///
    /// # Errors
    /// If the computation fails. The worker continues with the next texts.
    fn classify(&self, texts: &[&Tokens], outputs: Outputs) -> Result<Vec<Prediction>>;
}

/// Builds a worker's backend on the worker's own thread, because some backends are bound to a thread.
pub trait BackendFactory: Send + 'static {
    /// What it builds.
    type Backend: Backend;

    /// Called once, before the worker takes texts.
    fn build(self) -> Self::Backend;
}

/// A backend that any thread may use needs no preparation.
impl<B: Backend + Send> BackendFactory for B {
    type Backend = Self;

    fn build(self) -> Self {
        self
    }
}

impl Backend for Model {
    fn classify(&self, texts: &[&Tokens], outputs: Outputs) -> Result<Vec<Prediction>> {
        Self::classify(self, texts, outputs)
    }
}
