//! Reads JSON Lines and CSV.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value};

/// One line of a file, with where it is for error messages.
pub(super) struct Record {
    pub(super) fields: Map<String, Value>,
    pub(super) line: usize,
}

/// The path itself, or the `.jsonl` and `.csv` files of a folder.
pub(super) fn files(path: &Path) -> Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in path.read_dir().with_context(|| format!("cannot read {}", path.display()))? {
        files.push(entry?.path());
    }
    let readable = |path: &PathBuf| path.extension().is_some_and(|it| it == "jsonl" || it == "csv");
    files.retain(readable);
    files.sort();
    ensure!(!files.is_empty(), "{} has no .jsonl or .csv files", path.display());
    Ok(files)
}

/// All records of a file: CSV with a header if its name ends so, else JSON Lines.
pub(super) fn read(path: &Path) -> Result<Vec<Record>> {
    let read = if path.extension().is_some_and(|it| it == "csv") { csv(path) } else { json_lines(path) };
    read.with_context(|| format!("cannot read {}", path.display()))
}

fn json_lines(path: &Path) -> Result<Vec<Record>> {
    let mut records = Vec::new();
    for (line, text) in (1..).zip(std::fs::read_to_string(path)?.lines()) {
        if !text.trim().is_empty() {
            let fields = serde_json::from_str(text).with_context(|| format!("line {line}"))?;
            records.push(Record { fields, line });
        }
    }
    Ok(records)
}

fn csv(path: &Path) -> Result<Vec<Record>> {
    let mut reader = csv::Reader::from_path(path)?;
    let header = reader.headers()?.clone();
    let mut records = Vec::new();
    for row in reader.records() {
        let row = row?;
        let line = row.position().map_or(0, csv::Position::line) as usize;
        let fields = header.iter().zip(&row).map(|(name, value)| (name.to_owned(), value.into())).collect();
        records.push(Record { fields, line });
    }
    Ok(records)
}
