//! Routing policies in files: found, checked, shown, and made from NVIDIA's.

pub mod find;
pub mod lint;
pub mod nvidia;
pub mod table;

use std::fs;
use std::io::{self, Read};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// The YAML or JSON documents of a file, or of standard input if its name is `-`.
///
/// # Errors
/// If it cannot be read, is empty, or is neither.
pub fn documents(path: &Path) -> Result<Vec<Value>> {
    let name = path.display();
    ensure!(!path.is_dir(), "{name} is a folder; name its files, as in {}", path.join("*.yaml").display());
    let mut text = String::new();
    if path == Path::new("-") {
        io::stdin().read_to_string(&mut text).context("cannot read standard input")?;
    } else {
        text = fs::read_to_string(path).with_context(|| format!("cannot read {name}"))?;
    }
    let documents: Vec<Value> = serde_saphyr::from_multiple(&text)
        .map_err(|error| anyhow::anyhow!("{name} is neither YAML nor JSON: {error}"))?;
    ensure!(documents.iter().any(|document| !document.is_null()), "{name} is empty");
    Ok(documents)
}
