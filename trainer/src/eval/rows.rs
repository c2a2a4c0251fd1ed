//! The true labels of rows.

use std::collections::BTreeMap;

use anyhow::{Result, anyhow};

use llm_router_classifier::records::Record;

/// The fields of rows.
#[derive(Debug, Clone)]
pub struct Fields {
    /// The field with the prompt.
    pub text: String,
    /// The field with the label, or a list of labels.
    pub label: String,
    /// New names of labels. Other labels keep theirs.
    pub renames: BTreeMap<String, String>,
}

impl Fields {
    /// The labels of a row, renamed.
    ///
    /// # Errors
    /// If the row has none. The error names file and line.
    pub fn labels<'a>(&'a self, record: &'a Record) -> Result<Vec<&'a str>> {
        let rename = |label: &'a str| self.renames.get(label).map_or(label, String::as_str);
        Ok(record.labels(&self.label)?.into_iter().map(rename).collect())
    }

    /// The labels of a row, renamed. The head must have all of them.
    ///
    /// # Errors
    /// If the row has no list of labels, or a label that the head lacks. The error names file and line.
    pub fn labels_among<'a>(&'a self, record: &'a Record, known: &[String]) -> Result<Vec<&'a str>> {
        let labels = self.labels(record)?;
        match labels.iter().find(|label| !known.iter().any(|known| known == *label)) {
            Some(unknown) => Err(unknown_label(record, unknown, known)),
            None => Ok(labels),
        }
    }

    /// The only label of a row, renamed.
    ///
    /// # Errors
    /// If the row has none or a list.
    pub fn label<'a>(&'a self, record: &'a Record) -> Result<&'a str> {
        let label = record.text(&self.label)?;
        Ok(self.renames.get(label).map_or(label, String::as_str))
    }
}

/// Indices of a head's labels, one per row.
pub type LabelIndices = Vec<i64>;

/// The labels of rows, as indices of a head's labels.
///
/// # Errors
/// If a row has a label that the head lacks. The error names file and line.
pub fn label_indices(records: &[Record], fields: &Fields, labels: &[String]) -> Result<LabelIndices> {
    let index = |record: &Record| {
        let label = fields.label(record)?;
        let index = labels.iter().zip(0i64..).find(|(known, _)| *known == label);
        Ok(index.ok_or_else(|| unknown_label(record, label, labels))?.1)
    };
    records.iter().map(index).collect()
}

fn unknown_label(record: &Record, label: &str, known: &[String]) -> anyhow::Error {
    anyhow!("{record}: the head has no label {label:?}; it has {known:?} (--map renames labels)")
}
