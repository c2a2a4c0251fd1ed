//! `import-nvidia`: makes a policy and Envoy clusters from a blueprint's configuration.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use serde_json::json;

use crate::nvidia::import;
use crate::policy_file;

/// Options of `import-nvidia`.
#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// The `config.yaml` of NVIDIA's LLM Router blueprint v1, or a file that contains it: a ConfigMap or Secret, Helm values
    /// or a Helm template, a compose file; `-` is standard input.
    file: PathBuf,
}

/// Prints YAML with the `policy` and Envoy's `clusters`, and notes on standard error what could not be converted.
///
/// # Errors
/// If the file cannot be read, or has no such configuration.
pub(crate) fn run(args: &ImportArgs) -> Result<()> {
    let text = policy_file::read(&args.file)?;
    let import = import(&text).with_context(|| args.file.display().to_string())?;
    println!("{}", serde_saphyr::to_string(&json!({"policy": import.policy, "clusters": import.clusters}))?);
    for note in &import.notes {
        eprintln!("note: {note}");
    }
    Ok(())
}
