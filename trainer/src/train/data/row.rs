//! One labelled text, from a record of a file.

use std::slice;

use anyhow::{Result, ensure};

use crate::train::plan::{HeadPlan, Kind, Source};
use llm_router_classifier::records::Record;

/// What a head should answer to a text.
#[derive(Debug, Clone, PartialEq)]
pub enum Target {
    /// One label.
    Label(String),
    /// Any number of labels.
    Labels(Vec<String>),
    /// A number for each dimension; none where it is not known.
    Numbers(Vec<Option<f32>>),
}

impl Target {
    /// The labels, in any order; none of numbers.
    #[must_use]
    pub fn labels(&self) -> &[String] {
        match self {
            Self::Label(label) => slice::from_ref(label),
            Self::Labels(labels) => labels,
            Self::Numbers(_) => &[],
        }
    }
}

/// One labelled text.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The text, as the classifier will read it.
    pub text: String,
    /// What the head should answer.
    pub target: Target,
    /// Where it is from: an index into [`super::Data::sources`].
    pub source: usize,
}

impl Row {
    /// The record's row, of the source with this index; none if the source leaves its label out.
    ///
    /// # Errors
    /// If a field is missing or wrong, naming it, file and line.
    pub(super) fn read(
        record: &Record,
        source: &Source,
        head: &HeadPlan,
        index: usize,
    ) -> Result<Option<Self>> {
        let text = record.text(source.text_field.as_ref().unwrap_or(&head.text_field))?.to_owned();
        let target = match head.kind {
            Kind::Score => Some(Target::Numbers(
                head.score_fields.iter().map(|field| number(record, field)).collect::<Result<_>>()?,
            )),
            Kind::SingleLabel | Kind::MultiLabel => labels(record, source, head)?,
        };
        Ok(target.map(|target| Self { text, target, source: index }))
    }
}

fn labels(record: &Record, source: &Source, head: &HeadPlan) -> Result<Option<Target>> {
    let field = source.label_field.as_ref().unwrap_or(&head.label_field);
    let labels = match (&source.label, head.kind) {
        (Some(label), _) => vec![label.as_str()],
        (None, Kind::MultiLabel) => record.labels(field)?,
        (None, _) => vec![record.text(field)?],
    };
    if !source.only.is_empty() && !labels.iter().any(|label| source.only.contains(*label)) {
        return Ok(None);
    }
    let labels = labels.into_iter().map(|label| source.map.get(label).map_or(label, String::as_str));
    let labels: Vec<_> = labels.map(str::to_owned).collect();
    ensure!(!labels.iter().any(|label| label.trim().is_empty()), "{record}: the field {field:?} is empty");
    Ok(Some(match <[String; 1]>::try_from(labels) {
        Ok([label]) if head.kind == Kind::SingleLabel => Target::Label(label),
        Ok([label]) => Target::Labels(vec![label]),
        Err(labels) => Target::Labels(labels),
    }))
}

/// A number from 0 to 1; none if it is not there or empty.
fn number(record: &Record, field: &str) -> Result<Option<f32>> {
    let Some(number) = record.number_if_any(field)? else { return Ok(None) };
    ensure!(
        (0.0..=1.0).contains(&number),
        "{record}: the field {field:?} must be from 0 to 1; it is {number}"
    );
    Ok(Some(number as f32))
}
