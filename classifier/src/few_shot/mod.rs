//! Classifies by nearness to example prompts: learns their embeddings once, and compares.

mod similarity;
mod store;

pub use similarity::Similarity;
pub use store::{EmbeddingFailed, PendingEmbedding, Store, check};
