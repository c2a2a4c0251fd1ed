//! Options of commands that read labelled rows.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;

use super::arguments::rename;
use crate::eval::Fields;
use llm_router_classifier::model::prediction::{HeadOutput, Prediction};
use llm_router_classifier::records::{Record, read_all};

/// The files with the rows, and their fields.
#[derive(Debug, Clone, Args)]
pub struct RowsArgs {
    /// JSON Lines or CSV files with one prompt per row, or folders of such files.
    #[arg(long, required = true, num_args = 1.., value_name = "FILE")]
    data: Vec<PathBuf>,
    #[command(flatten)]
    names: FieldArgs,
}

/// The fields of a row.
#[derive(Debug, Clone, Args)]
pub struct FieldArgs {
    /// Field with the prompt.
    #[arg(long, default_value = "text", value_name = "FIELD")]
    text_field: String,
    /// Field with the label, or a list of labels.
    #[arg(long, default_value = "label", value_name = "FIELD")]
    label_field: String,
    /// Rename labels of the data.
    #[arg(long, num_args = 1.., value_name = "FROM=TO", value_parser = rename)]
    map: Vec<(String, String)>,
}

impl RowsArgs {
    /// Reads all rows.
    pub(super) fn read(&self) -> Result<Vec<Record>> {
        read_all(&self.data)
    }

    /// The fields of the rows.
    pub(super) fn fields(&self) -> Fields {
        let FieldArgs { text_field, label_field, map } = self.names.clone();
        Fields { text: text_field, label: label_field, renames: map.into_iter().collect() }
    }
}

/// The outputs of one head in all predictions.
pub(super) fn outputs_of(predictions: &[Prediction], head: &str) -> Result<Vec<HeadOutput>> {
    let output =
        |prediction: &Prediction| prediction.scores.iter().find(|scores| *scores.head == *head).cloned();
    predictions.iter().map(|it| output(it).with_context(|| no_head(it, head))).collect()
}

fn no_head(prediction: &Prediction, head: &str) -> String {
    let heads: Vec<_> = prediction.scores.iter().map(|scores| &*scores.head).collect();
    format!("--head {head}: the model has no such head; it has {heads:?}")
}
