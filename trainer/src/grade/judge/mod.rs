//! A model that compares two completions.

mod comparison;
mod verdict;

pub(crate) use comparison::{messages, values};
pub(crate) use verdict::{Preference, Verdict};
