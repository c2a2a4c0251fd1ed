//! Classifies many texts: in their order, with as many under way as may wait, by the engine that `serve` runs.

use std::sync::Arc;

use anyhow::{Context, Result};
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::mpsc;

use crate::load::Loader;
use crate::metrics::Metrics;
use crate::model::prediction::{Outputs, Prediction};
use crate::pipeline::Pipeline;
use crate::records::{Record, Records};

/// A model whose engine runs.
pub struct BatchClassifier {
    pipeline: Pipeline,
    /// Most texts under way.
    ahead: usize,
}

impl BatchClassifier {
    /// Loads the model.
    ///
    /// # Errors
    /// If a file is missing or unfit, or the model cannot be computed with.
    #[cfg(feature = "clap")]
    pub async fn load(args: &crate::args::EngineArgs) -> Result<Self> {
        let pipeline = Loader::new(args, Arc::new(Metrics::default()))?.load().await?;
        Ok(Self { pipeline, ahead: args.queue().max(1) })
    }

    /// What classifies.
    pub fn pipeline(&self) -> &Pipeline {
        &self.pipeline
    }

    /// The answers to records, in their order. `text` names the field with the text. After an error there are none.
    pub fn answers(
        &self,
        records: impl Stream<Item = Result<Record>>,
        text: &str,
        want: Outputs,
    ) -> impl Stream<Item = Result<(Record, Prediction)>> {
        records
            .map(move |record| {
                let pipeline = self.pipeline.clone();
                let task = record.and_then(|record| {
                    let prompt = record.text(text)?.to_owned();
                    // On any thread, so that tokenizing does not hold up the others.
                    Ok(tokio::spawn(async move {
                        let answer = pipeline.classify(&prompt, want, None, None).await;
                        anyhow::Ok((answer.with_context(|| record.to_string())?, record))
                    }))
                });
                async move { task?.await?.map(|(answer, record)| (record, answer)) }
            })
            .buffered(self.ahead)
    }

    /// The answers to all of some records.
    pub async fn answers_to(&self, records: &[Record], text: &str, want: Outputs) -> Result<Vec<Prediction>> {
        let style = ProgressStyle::with_template("classifying {bar:30} {pos}/{len} prompts, {eta} left")?;
        let progress = ProgressBar::new(records.len() as u64).with_style(style);
        let answers = self.answers(stream::iter(records.iter().cloned().map(Ok)), text, want);
        let answers = answers.map_ok(|(_, answer)| answer).inspect(|_| progress.inc(1)).try_collect().await;
        progress.finish_and_clear();
        answers
    }
}

/// Records as they are read, on a thread of its own, since reading from a pipe blocks.
pub fn read_on_thread(records: Records) -> impl Stream<Item = Result<Record>> {
    let (sender, receiver) = mpsc::channel(64);
    // None of tokio's, which would hold up the program's end until there is something to read.
    std::thread::spawn(move || {
        for record in records {
            // Nobody listens any more after an error.
            if sender.blocking_send(record).is_err() {
                break;
            }
        }
    });
    stream::unfold(receiver, |mut receiver| async { Some((receiver.recv().await?, receiver)) })
}
