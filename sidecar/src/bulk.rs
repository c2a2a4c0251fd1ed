//! Classifies many texts: in their order, with as many under way as may wait, by the engine that `serve` runs.

use std::sync::Arc;

use anyhow::{Context, Result};
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::mpsc;

use crate::ext_proc::Service;
use crate::model::scores::{Answer, Want};
use crate::records::{Record, Records};
use crate::serve::EngineArgs;
use crate::serve::load::Loader;
use crate::telemetry::metrics::Metrics;

/// A model whose engine runs.
pub(crate) struct Bulk {
    service: Service,
    /// Most texts under way.
    ahead: usize,
}

impl Bulk {
    /// Loads the model.
    pub(crate) async fn load(args: &EngineArgs) -> Result<Self> {
        let loader = Arc::new(Loader::new(args, None, Arc::new(Metrics::new()))?);
        Ok(Self { service: loader.load().await?, ahead: args.queue().max(1) })
    }

    /// What serves.
    pub(crate) fn service(&self) -> &Service {
        &self.service
    }

    /// The answers to records, in their order. `text` names the field with the text. After an error there are none.
    pub(crate) fn answers(
        &self,
        records: impl Stream<Item = Result<Record>>,
        text: &str,
        want: Want,
    ) -> impl Stream<Item = Result<(Record, Answer)>> {
        records
            .map(move |record| {
                let service = self.service.clone();
                let task = record.and_then(|record| {
                    let prompt = record.text(text)?.to_owned();
                    // On any thread, so that tokenizing does not hold up the others.
                    Ok(tokio::spawn(async move {
                        let answer = service.score(&prompt, want, None).await;
                        anyhow::Ok((answer.with_context(|| record.to_string())?, record))
                    }))
                });
                async move { task?.await?.map(|(answer, record)| (record, answer)) }
            })
            .buffered(self.ahead)
    }

    /// The answers to all of some records.
    pub(crate) async fn answers_to(&self, records: &[Record], text: &str, want: Want) -> Result<Vec<Answer>> {
        let style = ProgressStyle::with_template("classifying {bar:30} {pos}/{len} prompts, {eta} left")?;
        let progress = ProgressBar::new(records.len() as u64).with_style(style);
        let answers = self.answers(stream::iter(records.iter().cloned().map(Ok)), text, want);
        let answers = answers.map_ok(|(_, answer)| answer).inspect(|_| progress.inc(1)).try_collect().await;
        progress.finish_and_clear();
        answers
    }
}

/// Records as they are read, on a thread of its own, since reading from a pipe blocks.
pub(crate) fn read_aside(records: Records) -> impl Stream<Item = Result<Record>> {
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
