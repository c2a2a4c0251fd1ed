//! Classifies by nearness to example prompts: learns their embeddings once, and compares.

mod likeness;
mod store;

pub use likeness::Likeness;
pub use store::{Learning, NotLearnt, Store, check};
