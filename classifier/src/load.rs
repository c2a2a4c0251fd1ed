//! Loads a model's folder into a warm [`Pipeline`].

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use tch::Device;

use crate::device::Compute;
use crate::engine::{Batching, CudaGraphs, EngineOptions};
use crate::metrics::Metrics;
use crate::model::Model;
use crate::model::prediction::Outputs;
use crate::pipeline::Pipeline;

/// The model to load, and how it runs.
#[derive(Debug, Clone)]
pub struct Loader {
    model: PathBuf,
    compute: Compute,
    workers: NonZeroUsize,
    batching: Batching,
    queue: usize,
    metrics: Arc<Metrics>,
}

impl Loader {
    /// Finds the device.
    ///
    /// # Errors
    /// If the device does not exist, or does not support the precision.
    #[cfg(feature = "clap")]
    pub fn new(args: &crate::args::EngineArgs, metrics: Arc<Metrics>) -> Result<Self> {
        let compute = args.compute()?;
        let device = compute.device;
        Ok(Self {
            model: args.model().to_owned(),
            compute,
            workers: args.workers.unwrap_or(if device == Device::Cpu { cores() } else { NonZeroUsize::MIN }),
            batching: Batching::on(device, args.batch_tokens),
            queue: args.queue,
            metrics,
        })
    }

    /// Reads the model, starts its engine and warms it. The blocking part runs on a separate thread.
    ///
    /// # Errors
    /// If a file is missing or invalid, or the first forward pass fails.
    pub async fn load(&self) -> Result<Pipeline> {
        let loader = self.clone();
        let pipeline = tokio::task::spawn_blocking(move || loader.start()).await??;
        warm(&pipeline).await?;
        Ok(pipeline)
    }

    fn start(&self) -> Result<Pipeline> {
        let (model, tokenizer) = Model::load(&self.model, self.compute)?;
        let heads: Arc<[_]> = model.heads().map(ToString::to_string).collect();
        let Self { compute, workers, batching, queue, .. } = self;
        let folder = self.model.display();
        tracing::info!(model = %folder, ?heads, ?compute, workers, ?batching, queue, "model loaded");
        let options = EngineOptions { queue: *queue, batching: *batching, tokenizers: cores() };
        let (tokenizer, metrics) = (Arc::new(tokenizer), Arc::clone(&self.metrics));
        let notes = model.notes().map(|(head, note)| (head.to_owned(), note.to_owned())).collect();
        let pipeline = if compute.device.is_cuda() {
            let workers = (0..workers.get()).map(|_| CudaGraphs(model.clone())).collect();
            Pipeline::start(tokenizer, workers, heads, options, metrics)
        } else {
            Pipeline::start(tokenizer, vec![model; workers.get()], heads, options, metrics)
        }?;
        Ok(pipeline.with_notes(notes))
    }
}

/// Classifies a short text and one of the maximum length, so that no request pays for the initialisation of
/// libtorch, and a model whose forward pass fails is rejected.
async fn warm(pipeline: &Pipeline) -> Result<()> {
    for words in [8, pipeline.max_tokens()] {
        pipeline.classify("warm ".repeat(words).as_str(), Outputs::ScoresAndEmbedding, None, None).await?;
    }
    Ok(())
}

/// Cores that this process may use, at least one.
#[must_use]
pub fn cores() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}
