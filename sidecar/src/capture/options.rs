//! Options of captures.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use llm_router_classifier::args::duration;

use super::Sample;
use super::files::Limits;
use super::redact::Redaction;

/// Which prompts are captured, and how.
#[derive(Debug, Clone, Args)]
pub struct CaptureArgs {
    /// Capture a sample of prompts, with their predictions and routing decisions, as JSON Lines in this folder. Off by default.
    #[arg(long, env = "LLM_ROUTER_CAPTURE", value_name = "FOLDER")]
    capture: Option<PathBuf>,
    /// Fraction of the prompts that are captured, above 0 to 1.
    #[arg(long, env = "LLM_ROUTER_CAPTURE_FRACTION", value_name = "FRACTION", default_value = "0.01", value_parser = fraction)]
    capture_fraction: f64,
    /// Capture only prompts of these policies.
    #[arg(long, env = "LLM_ROUTER_CAPTURE_POLICIES", value_name = "NAME,..", value_delimiter = ',')]
    capture_policies: Vec<String>,
    /// Capture only prompts for which a head predicts one of these labels.
    #[arg(long, env = "LLM_ROUTER_CAPTURE_LABELS", value_name = "LABEL,..", value_delimiter = ',')]
    capture_labels: Vec<String>,
    /// What is redacted in captured prompts: any of emails, numbers (of five digits or more) and keys; or none.
    #[arg(
        long,
        env = "LLM_ROUTER_CAPTURE_REDACT",
        value_name = "KIND,..",
        default_value = "emails,numbers,keys"
    )]
    capture_redact: Redaction,
    /// Maximum size of a file, in megabytes; then a new file is started.
    #[arg(long, env = "LLM_ROUTER_CAPTURE_FILE_SIZE", value_name = "MB", default_value = "16", value_parser = megabytes())]
    capture_file_size: u64,
    /// Maximum size of all files together, in megabytes; the oldest are deleted.
    #[arg(long, env = "LLM_ROUTER_CAPTURE_TOTAL_SIZE", value_name = "MB", default_value = "256", value_parser = megabytes())]
    capture_total_size: u64,
    /// Maximum time that a captured prompt is kept.
    #[arg(long, env = "LLM_ROUTER_CAPTURE_AGE", value_name = "DURATION", default_value = "7d", value_parser = age)]
    capture_age: Duration,
}

impl CaptureArgs {
    pub(super) fn folder(&self) -> Option<&Path> {
        self.capture.as_deref()
    }

    pub(super) fn sample(&self) -> Sample {
        Sample {
            fraction: self.capture_fraction,
            policies: self.capture_policies.iter().cloned().collect(),
            labels: self.capture_labels.iter().cloned().collect(),
        }
    }

    pub(super) fn redaction(&self) -> Redaction {
        self.capture_redact.clone()
    }

    pub(super) fn limits(&self) -> Limits {
        Limits {
            file_size: self.capture_file_size << 20,
            total_size: self.capture_total_size << 20,
            age: self.capture_age,
        }
    }
}

fn fraction(text: &str) -> Result<f64, String> {
    let fraction = text.parse().ok().filter(|fraction: &f64| *fraction > 0.0 && *fraction <= 1.0);
    fraction.ok_or_else(|| "not a number above 0 and up to 1".to_owned())
}

/// At most a terabyte, so that the value in bytes does not overflow.
fn megabytes() -> clap::builder::RangedU64ValueParser {
    clap::value_parser!(u64).range(1..=1 << 20)
}

fn age(text: &str) -> Result<Duration, String> {
    let age = duration(text)?;
    let is_long_enough = age >= Duration::from_secs(60);
    is_long_enough.then_some(age).ok_or_else(|| "must be at least 1m".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        capture: CaptureArgs,
    }

    #[test]
    fn nothing_is_captured_unless_a_folder_is_named() {
        let args = Cli::parse_from(["serve"]).capture;
        assert_eq!(args.folder(), None);
        assert_eq!(args.limits(), Limits::default());
        assert_eq!(args.redaction(), Redaction::default());
    }

    #[test]
    fn implausible_values_are_rejected() {
        for (flag, value) in [
            ("--capture-fraction", "0"),
            ("--capture-fraction", "1.1"),
            ("--capture-fraction", "NaN"),
            ("--capture-redact", "email"),
            ("--capture-file-size", "0"),
            ("--capture-total-size", "99999999999"),
            ("--capture-age", "1s"),
        ] {
            let error = Cli::try_parse_from(["serve", flag, value]).unwrap_err().to_string();
            assert!(error.contains(flag), "{flag} {value}: {error}");
        }
    }
}
