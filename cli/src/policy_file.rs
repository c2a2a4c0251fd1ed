//! Reads files that hold policies; `-` is standard input.

use std::fs;
use std::io::{self, Read};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use llm_router_routing::documents;
use serde_json::Value;

/// The text of a file, or of standard input.
pub(crate) fn read(path: &Path) -> Result<String> {
    let name = path.display();
    ensure!(!path.is_dir(), "{name} is a folder; name its files, as in {}", path.join("*.yaml").display());
    if path == Path::new("-") {
        let mut text = String::new();
        io::stdin().read_to_string(&mut text).context("cannot read standard input")?;
        return Ok(text);
    }
    fs::read_to_string(path).with_context(|| format!("cannot read {name}"))
}

/// The YAML or JSON documents of a file.
pub(crate) fn documents(path: &Path) -> Result<Vec<Value>> {
    documents::parse(&read(path)?).with_context(|| path.display().to_string())
}
