//! Classifies by similarity to few-shot examples, whose embeddings are computed once.

mod backlog;
mod similarity;
mod store;

pub use backlog::TooManyExampleSets;
pub use similarity::Similarity;
pub use store::{EmbeddingFailed, PendingEmbedding, Store};
