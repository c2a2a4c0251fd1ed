//! Trains, evaluates and calibrates prompt classifiers; offline, and not part of the serving image.
//!
//! [`train`] fits heads and adapters, [`eval`] measures them, and [`commands`] has one file per command.

pub mod commands;
pub mod eval;
pub mod train;
