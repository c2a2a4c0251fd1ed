//! `check`: validates the policies of files, and prints who goes where.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;

use crate::policy::{documents, find, table};

/// Options of `check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Policy files, Envoy bootstraps or Kubernetes manifests that hold policies.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Say only what is wrong.
    #[arg(long)]
    quiet: bool,
}

/// Checks all files before it fails.
///
/// # Errors
/// If a file cannot be read, has no policy, or has one that is not valid.
pub fn run(args: &CheckArgs) -> Result<()> {
    let mut wrong = 0;
    for file in &args.files {
        let mut found = Vec::new();
        for document in documents(file)? {
            found.extend(find::find(&document));
        }
        if found.is_empty() {
            eprintln!("{}: has no policy", file.display());
            wrong += 1;
        }
        for found in found {
            let place = if found.place.is_empty() { String::new() } else { format!(" at {}", found.place) };
            match found.policy {
                Ok(config) if !args.quiet => {
                    println!("{}{place}: valid\n{}", file.display(), table::write(&config))
                }
                Ok(_) => {}
                Err(error) => {
                    eprintln!("{}{place}: {error}", file.display());
                    wrong += 1;
                }
            }
        }
    }
    if wrong > 0 {
        bail!("{wrong} not valid");
    }
    Ok(())
}
