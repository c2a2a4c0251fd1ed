//! The options of `win-rate`.

use std::path::PathBuf;

use clap::Args;

use crate::commands::arguments::{feature, fraction};
use llm_router_classifier::args::EngineArgs;
use llm_router_classifier::model::text_features::TextFeature;

/// Options of `win-rate`.
#[derive(Debug, Args)]
pub struct WinRateArgs {
    #[command(flatten)]
    pub(super) engine: EngineArgs,
    /// JSON Lines or CSV files, or folders of them, with one prompt per row. The fields `weak` and `strong` are the grades of
    /// both models' completions, from 0 to 1, as `llm-router-train grade` writes them.
    #[arg(long, required = true, num_args = 1.., value_name = "FILE")]
    pub(super) data: Vec<PathBuf>,
    /// Name of the head, of a-z, 0-9 and `-`. It becomes part of the header `x-llm-NAME`. Default: `win-rate-WEAK-STRONG`, by
    /// the models' names.
    #[arg(long)]
    pub(super) head: Option<String>,
    /// Folder to write the head into. Default: the model's own folder. Another folder becomes a model folder with the same
    /// encoder.
    #[arg(long, value_name = "FOLDER")]
    pub(super) out: Option<PathBuf>,
    /// Name of the weak model, as in the policy.
    #[arg(long, value_name = "MODEL", requires = "strong_name")]
    pub(super) weak_name: Option<String>,
    /// Name of the strong model, as in the policy.
    #[arg(long, value_name = "MODEL", requires = "weak_name")]
    pub(super) strong_name: Option<String>,
    #[command(flatten)]
    pub(super) policy: PolicyArgs,
    #[command(flatten)]
    pub(super) fit: FitArgs,
    /// Fraction of the strong model's mean grade that the printed threshold keeps.
    #[arg(long, default_value_t = 0.95, value_name = "FRACTION", value_parser = fraction)]
    pub(super) quality: f64,
    /// Also write the report into this folder, even if the head is rejected.
    #[arg(long, value_name = "FOLDER")]
    pub(super) report: Option<PathBuf>,
    /// Only report; do not write the head.
    #[arg(long)]
    pub(super) report_only: bool,
    /// Field with the prompt.
    #[arg(long, default_value = "text", value_name = "FIELD")]
    pub(super) text_field: String,
    /// Field whose value dependent prompts have in common, such as a conversation id. They stay in one fold, and are
    /// resampled together.
    #[arg(long, default_value = "group", value_name = "FIELD")]
    pub(super) group_field: String,
}

/// The policy to compare with, and what its models cost.
#[derive(Debug, Args)]
pub(super) struct PolicyArgs {
    /// File with the policy in use. Its decisions for the prompts are also reported, and it provides the names and prices of
    /// the models.
    #[arg(long, value_name = "FILE")]
    pub(super) policy: Option<PathBuf>,
    /// Policy in the file. Default: as for the model `auto`, the rules and the default policy.
    #[arg(long, value_name = "NAME", requires = "policy")]
    pub(super) policy_name: Option<String>,
    /// Assumed length of a completion, in tokens, where rows have no `weak_usage` and `strong_usage`.
    #[arg(long, default_value_t = 300, value_name = "TOKENS")]
    pub(super) completion_tokens: u64,
}

/// How the head is fitted.
#[derive(Debug, Args)]
pub(super) struct FitArgs {
    /// Number of folds.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u8).range(3..=20))]
    pub(super) folds: u8,
    /// Seed of folds and resamples.
    #[arg(long, default_value_t = 1)]
    pub(super) seed: u64,
    /// Encoder layer that the head reads, from 1. Default: a third of the way up, which is better for what a prompt asks to do, as
    /// opposed to its subject.
    #[arg(long)]
    pub(super) layer: Option<usize>,
    /// Text features that the head reads in addition to the encoder's vector. Default: those of log_length and numbers that
    /// differ between the prompts.
    #[arg(long, num_args = 0.., value_parser = feature)]
    pub(super) features: Option<Vec<TextFeature>>,
}
