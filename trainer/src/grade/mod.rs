//! Grades the completions of two models: sends prompts to both, and compares what they write with an answer, a pattern, tests,
//! or by a judge model.
//!
//! [`input`] reads and checks the rows. [`calls`] pays for completions: budget, retries, and a journal from which an interrupted
//! run continues. [`grader`] grades one row, by [`code`] and [`judge`] where a row needs them. [`run`] does so for all rows, and
//! [`output`] writes the result.

pub(crate) mod calls;
pub(crate) mod code;
mod grader;
pub(crate) mod input;
mod judge;
mod key;
pub(crate) mod money;
mod output;
pub(crate) mod plan;
mod progress;
mod result;
pub(crate) mod run;
pub(crate) mod stop;
mod summary;
