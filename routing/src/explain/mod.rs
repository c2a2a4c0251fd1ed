//! Explains a decision in words, for people who ask why a request goes where it goes.

mod narrator;
mod phrases;

pub use narrator::Narrator;
pub use phrases::{conditions, outcome_cell, target_cell};
