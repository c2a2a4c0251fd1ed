//! Trains, evaluates and calibrates prompt classifiers. It runs offline, and is not part of the serving image.
//!
//! [`train`] fits heads and adapters, and says why it does not use Python and PEFT. [`eval`] measures them, and [`commands`]
//! has one file per command. [`win_rate`] makes a router between two models of graded prompts. Dependencies point one way:
//! `commands` → `win_rate` → `train` → `eval`.

pub mod commands;
pub mod eval;
mod grade;
mod token_usage;
pub mod train;
pub mod win_rate;
