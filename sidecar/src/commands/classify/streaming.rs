//! Streams predictions for the rows of a file.

use std::io::{ErrorKind, Write};
use std::path::Path;
use std::pin::pin;

use anyhow::{Result, ensure};
use futures_util::TryStreamExt;
use serde_json::{Map, Value};

use super::heads;
use llm_router_classifier::args::EngineArgs;
use llm_router_classifier::batch::{BatchClassifier, read_on_thread};
use llm_router_classifier::model::prediction::{Outputs, Prediction};
use llm_router_classifier::records::{self, Record};

/// Selects all fields.
const ALL: &str = "*";

/// Prints `{KEPT.., "heads", "read"}` for each row, in order. Rows before an error are printed, too.
pub(super) async fn run(engine: &EngineArgs, input: &Path, text: &str, keep: &[String]) -> Result<()> {
    // First, because loading the model takes longer.
    let records = records::read(input)?;
    let classifier = BatchClassifier::load(engine).await?;
    let mut answers = pin!(classifier.predictions(read_on_thread(records), text, Outputs::Scores));
    let mut out = std::io::stdout();
    while let Some((record, answer)) = answers.try_next().await? {
        match writeln!(out, "{}", Value::Object(row(record, &answer, keep)?)) {
            // The reader has closed the pipe.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => break,
            written => written?,
        }
    }
    Ok(())
}

fn row(mut record: Record, answer: &Prediction, keep: &[String]) -> Result<Map<String, Value>> {
    let mut row = Map::new();
    if keep.iter().any(|field| field == ALL) {
        row = std::mem::take(&mut record.fields);
    } else {
        for field in keep {
            // A row without the field gets null, so that all rows have the same fields.
            row.insert(field.clone(), record.fields.get(field).cloned().unwrap_or_default());
        }
    }
    for (name, said) in [("heads", heads(answer)), ("read", answer.read.to_json())] {
        ensure!(
            !row.contains_key(name),
            "{record}: the field {name:?} cannot be kept: it is a field of the output"
        );
        row.insert(name.to_owned(), said);
    }
    Ok(row)
}
