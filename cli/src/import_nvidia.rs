//! `import-nvidia`: makes a policy and Envoy clusters of a blueprint's configuration.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use serde_json::json;

use crate::nvidia::{Blueprint, Import};

/// Options of `import-nvidia`.
#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// The `config.yaml` of NVIDIA's LLM Router blueprint v1.
    file: PathBuf,
}

/// Prints YAML with our `policy` and Envoy's `clusters`, and says on standard error what could not be carried over.
///
/// # Errors
/// If the file cannot be read, or is no such configuration.
pub(crate) fn run(args: &ImportArgs) -> Result<()> {
    let file = args.file.display();
    let text = std::fs::read_to_string(&args.file).with_context(|| format!("cannot read {file}"))?;
    let blueprint: Blueprint = serde_saphyr::from_str(&text)
        .with_context(|| format!("{file} is not a blueprint's configuration"))?;
    let import = Import::of(&blueprint).with_context(|| file.to_string())?;
    println!("{}", serde_saphyr::to_string(&json!({"policy": import.policy, "clusters": import.clusters}))?);
    for note in &import.notes {
        eprintln!("note: {note}");
    }
    Ok(())
}
