//! Options of the commands that read labelled rows.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;

use super::arguments::rename;
use crate::eval::Fields;
use llm_router_classifier::model::prediction::{HeadOutput, Prediction};
use llm_router_classifier::records::{Record, read_all};

/// Where the rows are, and what is where in them.
#[derive(Debug, Clone, Args)]
pub struct RowsArgs {
    /// JSON Lines or CSV files with one prompt a line, or folders of them.
    #[arg(long, required = true, num_args = 1.., value_name = "FILE")]
    data: Vec<PathBuf>,
    #[command(flatten)]
    names: FieldArgs,
}

/// What is where in a row.
#[derive(Debug, Clone, Args)]
pub struct FieldArgs {
    /// The field with the prompt.
    #[arg(long, default_value = "text", value_name = "FIELD")]
    text_field: String,
    /// The field with the label, or with a list of labels.
    #[arg(long, default_value = "label", value_name = "FIELD")]
    label_field: String,
    /// Renames labels of the data.
    #[arg(long, num_args = 1.., value_name = "FROM=TO", value_parser = rename)]
    map: Vec<(String, String)>,
}

impl RowsArgs {
    /// All rows.
    pub(super) fn read(&self) -> Result<Vec<Record>> {
        read_all(&self.data)
    }

    /// What is where in them.
    pub(super) fn fields(&self) -> Fields {
        let FieldArgs { text_field, label_field, map } = self.names.clone();
        Fields { text: text_field, label: label_field, renames: map.into_iter().collect() }
    }
}

/// What one head said.
pub(super) fn of_head(answers: &[Prediction], head: &str) -> Result<Vec<HeadOutput>> {
    let of_head = |answer: &Prediction| answer.scores.iter().find(|scores| *scores.head == *head).cloned();
    answers.iter().map(|answer| of_head(answer).with_context(|| no_head(answer, head))).collect()
}

fn no_head(answer: &Prediction, head: &str) -> String {
    let heads: Vec<_> = answer.scores.iter().map(|scores| &*scores.head).collect();
    format!("--head {head}: the model has no such head, only {heads:?}")
}
