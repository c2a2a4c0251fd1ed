//! The command line: one file per command.

mod arguments;
pub mod calibrate;
pub mod eval;
pub mod rows;
pub mod train;
pub mod two_models;

use clap::{Parser, Subcommand};

/// Trains, evaluates and calibrates prompt classifiers.
#[derive(Debug, Parser)]
#[command(name = "llm-router-train", version, about)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Train a head on labelled prompts.
    Train(Box<train::TrainArgs>),
    /// Measure a head, or example routes, on labelled prompts.
    Eval(Box<eval::EvalArgs>),
    /// Find a threshold to route by, or a head's temperature.
    #[command(subcommand)]
    Calibrate(calibrate::CalibrateCommand),
}
