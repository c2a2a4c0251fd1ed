//! Classifies many texts in order, with as many in progress as the queue allows, on the engine of `serve`.

use std::sync::Arc;

use anyhow::{Context, Result};
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::mpsc;

use crate::load::Loader;
use crate::metrics::Metrics;
use crate::model::prediction::{Outputs, Prediction};
use crate::model::tokenizer::Prompt;
use crate::pipeline::Pipeline;
use crate::records::{CONTEXT_FIELD, Record, Records};

/// A model with a running engine.
pub struct BatchClassifier {
    pipeline: Pipeline,
    /// The maximum number of texts in progress.
    ahead: usize,
}

impl BatchClassifier {
    /// Loads the model.
    ///
    /// # Errors
    /// If a file is missing or invalid, or the model's first forward pass fails.
    #[cfg(feature = "clap")]
    pub async fn load(args: &crate::args::EngineArgs) -> Result<Self> {
        let pipeline = Loader::new(args, Arc::new(Metrics::default()))?.load().await?;
        Ok(Self { pipeline, ahead: args.queue().max(1) })
    }

    /// The pipeline that classifies.
    pub fn pipeline(&self) -> &Pipeline {
        &self.pipeline
    }

    /// Classifies records with their context, in their order. `text` names the field with the text. The stream ends after an error.
    pub fn predictions(
        &self,
        records: impl Stream<Item = Result<Record>>,
        text: &str,
        outputs: Outputs,
    ) -> impl Stream<Item = Result<(Record, Prediction)>> {
        records
            .map(move |record| async move {
                let record = record?;
                let context = record.texts_if_any(CONTEXT_FIELD)?;
                let prompt = Prompt { text: record.text(text)?, context: &context };
                let prediction = self.pipeline.classify(prompt, outputs, None, None).await;
                Ok((prediction.with_context(|| record.to_string())?, record))
            })
            .buffered(self.ahead)
            .map_ok(|(prediction, record)| (record, prediction))
    }

    /// Classifies all records, and shows the progress.
    ///
    /// # Errors
    /// If a record lacks the text field or cannot be classified.
    pub async fn predict_all(
        &self,
        records: &[Record],
        text: &str,
        outputs: Outputs,
    ) -> Result<Vec<Prediction>> {
        let style = ProgressStyle::with_template("classifying {bar:30} {pos}/{len} prompts, {eta} left")?;
        let progress = ProgressBar::new(records.len() as u64).with_style(style);
        let predictions = self.predictions(stream::iter(records.iter().cloned().map(Ok)), text, outputs);
        let predictions = predictions.map_ok(|(_, prediction)| prediction).inspect(|_| progress.inc(1));
        let predictions = predictions.try_collect().await;
        progress.finish_and_clear();
        predictions
    }
}

/// Reads records on a separate thread, because reading from a pipe blocks.
pub fn read_on_thread(records: Records) -> impl Stream<Item = Result<Record>> {
    let (sender, receiver) = mpsc::channel(64);
    // On exit, tokio would wait for a blocked thread of its own, and so for the next input.
    std::thread::spawn(move || {
        for record in records {
            // The receiver is dropped after an error.
            if sender.blocking_send(record).is_err() {
                break;
            }
        }
    });
    stream::unfold(receiver, |mut receiver| async { Some((receiver.recv().await?, receiver)) })
}
