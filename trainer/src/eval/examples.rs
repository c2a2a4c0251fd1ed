//! Draws a few examples of each label from the rows of a file, as a policy would have them.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};

use super::Fields;
use llm_router_classifier::records::Record;

/// What is drawn, and how.
#[derive(Debug, Clone)]
pub struct Draw {
    /// Examples of each label.
    pub count: usize,
    /// Decides which.
    pub seed: u64,
    /// A label that has no examples, since its rows have none of the others.
    pub out_of_scope: Option<String>,
}

/// Draws the examples, the same for the same rows and seed.
///
/// # Errors
/// If a label has too few rows, or there is none.
pub fn draw(records: &[Record], fields: &Fields, draw: &Draw) -> Result<BTreeMap<String, Vec<String>>> {
    let mut by_label: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for record in records {
        let label = fields.label(record)?;
        if draw.out_of_scope.as_deref() != Some(label) {
            by_label.entry(label).or_default().push(record.text(&fields.text)?);
        }
    }
    ensure!(!by_label.is_empty(), "--train has no rows with a label");
    let mut random = fastrand::Rng::with_seed(draw.seed);
    let mut drawn = BTreeMap::new();
    for (label, mut texts) in by_label {
        let rows = texts.len();
        ensure!(
            rows >= draw.count,
            "--train has {rows} rows of {label:?}, fewer than --examples {}",
            draw.count
        );
        random.shuffle(&mut texts);
        texts.truncate(draw.count);
        drawn.insert(label.to_owned(), texts.into_iter().map(str::to_owned).collect());
    }
    Ok(drawn)
}
