//! The texts of all heads, tokenized.

use llm_router_classifier::model::tokenizer::Tokens;

/// The texts of all tasks, tokenized.
pub(super) struct TokenizedTexts {
    /// Those of each task's data.
    pub(super) data: Vec<Vec<Tokens>>,
    /// Those of each task's external validation data.
    pub(super) external_validation: Vec<Vec<Tokens>>,
}
