//! Our encoders compute what `transformers` does.
// Only functions marked as tests are exempt by themselves, not what they call.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod encoders;
mod minilm;
mod precision;
