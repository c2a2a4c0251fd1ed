//! The command line: one file per command.

mod arguments;
pub mod calibrate;
pub mod eval;
pub mod grade;
pub mod rows;
pub mod train;
pub mod two_models;
pub mod win_rate;

use clap::{Parser, Subcommand};

/// Trains, evaluates and calibrates prompt classifiers.
#[derive(Debug, Parser)]
#[command(name = "llm-router-train", version, about)]
pub struct Cli {
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Train heads on labelled prompts.
    Train(Box<train::TrainArgs>),
    /// Measure the quality of a head, or of example routes, on labelled prompts.
    Eval(Box<eval::EvalArgs>),
    /// Find a threshold for routing, or fit the temperature of a head.
    #[command(subcommand)]
    Calibrate(calibrate::CalibrateCommand),
    /// Grade the completions of two models on prompts, by answers, tests or a judge.
    Grade(Box<grade::GradeArgs>),
    /// Fit a head that chooses between two models, from grades of their completions, if it beats prompt length.
    WinRate(Box<win_rate::WinRateArgs>),
}
