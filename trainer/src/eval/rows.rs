//! What rows say is true.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

use llm_router_classifier::records::Record;

/// Where rows have what.
#[derive(Debug, Clone)]
pub struct Fields {
    /// The field with the prompt.
    pub text: String,
    /// The field with the label, or a list of labels.
    pub label: String,
    /// New names for labels; others stay as they are.
    pub renames: BTreeMap<String, String>,
}

impl Fields {
    /// A row's labels, renamed.
    ///
    /// # Errors
    /// If it has none, naming file and line.
    pub fn labels<'a>(&'a self, record: &'a Record) -> Result<Vec<&'a str>> {
        let rename = |label: &'a str| self.renames.get(label).map_or(label, String::as_str);
        Ok(record.labels(&self.label)?.into_iter().map(rename).collect())
    }

    /// A row's only label, renamed.
    ///
    /// # Errors
    /// If it has none, or a list.
    pub fn label<'a>(&'a self, record: &'a Record) -> Result<&'a str> {
        let label = record.text(&self.label)?;
        Ok(self.renames.get(label).map_or(label, String::as_str))
    }
}

/// Indices of a head's labels, row by row.
pub type LabelIndices = Vec<i64>;

/// The rows' labels as indices of a head's.
///
/// # Errors
/// If a row has another label, naming file and line.
pub fn label_indices(records: &[Record], fields: &Fields, labels: &[String]) -> Result<LabelIndices> {
    let index = |record: &Record| {
        let label = fields.label(record)?;
        let index = labels.iter().zip(0i64..).find(|(known, _)| *known == label);
        let index = index.with_context(|| {
            format!("{record}: the head has no label {label:?}; it has {labels:?} (--map renames labels)")
        })?;
        Ok(index.1)
    };
    records.iter().map(index).collect()
}
