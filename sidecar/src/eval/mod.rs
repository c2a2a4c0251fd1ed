//! Measures how good classifiers are, and sets the numbers by which they are used.

mod agreement;

pub use agreement::{Evaluation, LabelEvaluation};
