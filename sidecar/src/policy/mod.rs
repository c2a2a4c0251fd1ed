//! Routing policies in files: found, checked, shown, and made from NVIDIA's.

pub mod find;
pub mod nvidia;
pub mod table;

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

/// The YAML or JSON documents of a file.
///
/// # Errors
/// If it cannot be read, or is neither.
pub fn documents(path: &Path) -> Result<Vec<Value>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_saphyr::from_multiple(&text).with_context(|| format!("{} is not YAML or JSON", path.display()))
}
