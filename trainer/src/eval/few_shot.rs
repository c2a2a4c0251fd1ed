//! Samples a few examples of each label from the rows of a file, such as a policy would have.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};

use super::Fields;
use llm_router_classifier::records::Record;

/// How examples are sampled.
#[derive(Debug, Clone)]
pub struct SampleSettings {
    /// The number of examples of each label.
    pub count: usize,
    /// The seed of the sample.
    pub seed: u64,
    /// A label without examples: its rows are out of the scope of all others.
    pub out_of_scope: Option<String>,
}

/// Samples examples. The same rows and seed give the same examples.
///
/// # Errors
/// If a label has too few rows, or there are no labels.
pub fn sample(
    records: &[Record],
    fields: &Fields,
    settings: &SampleSettings,
) -> Result<BTreeMap<String, Vec<String>>> {
    let mut by_label: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for record in records {
        let label = fields.label(record)?;
        if settings.out_of_scope.as_deref() != Some(label) {
            by_label.entry(label).or_default().push(record.text(&fields.text)?);
        }
    }
    ensure!(!by_label.is_empty(), "--train has no rows with a label");
    let mut random = fastrand::Rng::with_seed(settings.seed);
    let mut examples = BTreeMap::new();
    for (label, mut texts) in by_label {
        let rows = texts.len();
        ensure!(
            rows >= settings.count,
            "--train has {rows} rows of {label:?}, fewer than --examples {}",
            settings.count
        );
        random.shuffle(&mut texts);
        texts.truncate(settings.count);
        examples.insert(label.to_owned(), texts.into_iter().map(str::to_owned).collect());
    }
    Ok(examples)
}
