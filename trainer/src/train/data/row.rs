//! One labelled text, made from a record of a file.

use std::slice;

use anyhow::{Result, ensure};

use crate::train::plan::{HeadKind, HeadPlan, Source};
use llm_router_classifier::model::tokenizer::Prompt;
use llm_router_classifier::records::{CONTEXT_FIELD, Record};

/// What a head should predict for a text.
#[derive(Debug, Clone, PartialEq)]
pub enum TrainingTarget {
    /// One label.
    Label(String),
    /// Any number of labels.
    Labels(Vec<String>),
    /// A number for each dimension, or None where it is unknown.
    Numbers(Vec<Option<f32>>),
}

impl TrainingTarget {
    /// The labels, in any order; empty for numbers.
    #[must_use]
    pub fn labels(&self) -> &[String] {
        match self {
            Self::Label(label) => slice::from_ref(label),
            Self::Labels(labels) => labels,
            Self::Numbers(_) => &[],
        }
    }
}

/// A text with its context.
pub(crate) type PromptKey = (String, Vec<String>);

/// One labelled text.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainingRow {
    /// The text that the classifier will read.
    pub text: String,
    /// What the same user said before, oldest first.
    pub context: Vec<String>,
    /// What the head should predict.
    pub target: TrainingTarget,
    /// The row's source: an index into [`super::Data::sources`].
    pub source: usize,
}

impl TrainingRow {
    /// What the classifier will read.
    #[must_use]
    pub fn prompt(&self) -> Prompt<'_> {
        Prompt { text: &self.text, context: &self.context }
    }

    /// What distinguishes it from other prompts.
    pub(crate) fn key(&self) -> PromptKey {
        (self.text.clone(), self.context.clone())
    }

    /// Makes a row from a record of the source with this index. None if the source excludes the record's label.
    ///
    /// # Errors
    /// If a field is missing or invalid. The error names it, the file and the line.
    pub(super) fn read(
        record: &Record,
        source: &Source,
        head: &HeadPlan,
        index: usize,
    ) -> Result<Option<Self>> {
        let text = record.text(source.text_field.as_ref().unwrap_or(&head.text_field))?.to_owned();
        let context = record.texts_if_any(CONTEXT_FIELD)?;
        let target = match head.kind {
            HeadKind::Score => Some(TrainingTarget::Numbers(
                head.score_fields.iter().map(|field| number(record, field)).collect::<Result<_>>()?,
            )),
            HeadKind::SingleLabel | HeadKind::MultiLabel => labels(record, source, head)?,
        };
        Ok(target.map(|target| Self { text, context, target, source: index }))
    }
}

fn labels(record: &Record, source: &Source, head: &HeadPlan) -> Result<Option<TrainingTarget>> {
    let field = source.label_field.as_ref().unwrap_or(&head.label_field);
    let labels = match (&source.label, head.kind) {
        (Some(label), _) => vec![label.as_str()],
        (None, HeadKind::MultiLabel) => record.labels(field)?,
        (None, _) => vec![record.text(field)?],
    };
    if !source.only.is_empty() && !labels.iter().any(|label| source.only.contains(*label)) {
        return Ok(None);
    }
    let labels = labels.into_iter().map(|label| source.map.get(label).map_or(label, String::as_str));
    let labels: Vec<_> = labels.map(str::to_owned).collect();
    ensure!(!labels.iter().any(|label| label.trim().is_empty()), "{record}: the field {field:?} is empty");
    Ok(Some(match <[String; 1]>::try_from(labels) {
        Ok([label]) if head.kind == HeadKind::SingleLabel => TrainingTarget::Label(label),
        Ok([label]) => TrainingTarget::Labels(vec![label]),
        Err(labels) => TrainingTarget::Labels(labels),
    }))
}

/// A number from 0 to 1, or None if the field is absent or empty.
fn number(record: &Record, field: &str) -> Result<Option<f32>> {
    let Some(number) = record.number_if_any(field)? else { return Ok(None) };
    ensure!(
        (0.0..=1.0).contains(&number),
        "{record}: the field {field:?} must be from 0 to 1; it is {number}"
    );
    Ok(Some(number as f32))
}
