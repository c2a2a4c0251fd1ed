//! The command line: one file per command.

pub mod calibrate;
pub mod eval;
pub mod rows;
pub mod train;
pub mod two_models;

use anyhow::{Context, Result};
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

/// This command as a shell would take it, with the program's name instead of where it was built.
pub(crate) fn command_line() -> Result<String> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words = std::iter::once("llm-router-train").chain(arguments.iter().map(String::as_str));
    shlex::try_join(words).context("an argument has a NUL character")
}
