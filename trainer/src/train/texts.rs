//! The texts of all heads, tokenized.

use llm_router_classifier::model::tokenizer::Tokens;

/// The texts of all tasks, tokenized.
pub(super) struct Texts {
    /// Of each task's data.
    pub(super) data: Vec<Vec<Tokens>>,
    /// Of each task's validation.
    pub(super) validation: Vec<Vec<Tokens>>,
}
