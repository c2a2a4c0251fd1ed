//! `check`: validates the policies in files, and prints their routing tables.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use clap::Args;

use llm_router_routing::documents;

use crate::{lint, policy_file, table};

/// Options of `check`.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Policy files, Envoy bootstraps or Kubernetes manifests that contain policies; `-` is standard input.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Print only errors and warnings.
    #[arg(long)]
    quiet: bool,
}

/// Checks all files before it fails.
///
/// # Errors
/// If a file cannot be read, has no policy, or has one that is not valid.
pub(crate) fn run(args: &CheckArgs) -> Result<()> {
    let wrong = args.files.iter().filter(|file| !check(file, args.quiet)).count();
    ensure!(wrong == 0, "{wrong} of {} files invalid", args.files.len());
    Ok(())
}

/// Whether the file is valid. Errors and warnings go to standard error, tables to standard output.
fn check(file: &Path, quiet: bool) -> bool {
    let name = file.display();
    let parsed = match policy_file::documents(file) {
        Ok(parsed) => parsed,
        Err(error) => {
            // Not the backtrace that anyhow would add.
            eprintln!("error: {error:#}");
            return false;
        }
    };
    let found: Vec<_> = parsed.iter().flat_map(documents::find).collect();
    if found.is_empty() {
        eprintln!(
            "error: {name} has no policy: nothing in it has sidecar, default_policy, models and policies"
        );
    }
    let mut valid = !found.is_empty();
    for found in found {
        let place = if found.place.is_empty() { String::new() } else { format!("\n  in {}", found.place) };
        match found.policy {
            Ok(config) if !quiet => println!("{name}: valid{place}\n\n{}", table::write(&config)),
            Ok(_) => {}
            Err(error) => {
                eprintln!("error: {name}: {error:#}{place}");
                valid = false;
            }
        }
    }
    for warning in parsed.iter().flat_map(lint::warnings) {
        eprintln!("warning: {name}: {warning}");
    }
    valid
}
