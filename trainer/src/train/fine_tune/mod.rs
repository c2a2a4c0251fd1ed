//! Trains the encoder and heads on it together.

mod batches;
mod checkpoint;
mod clock;
mod evaluation;
mod first_heads;
mod history;
mod network;
mod options;
mod parameters;
mod schedule;
mod settings;
mod step;
mod stop;
mod trainable_weights;
mod trainer;
mod training_set;

use std::path::Path;

use anyhow::Result;
use tch::Tensor;

pub use history::{Epoch, History, StopReason};
pub(super) use options::RunOptions;
pub use settings::{Decay, FineTuneSettings, Method};
pub use stop::StopSignal;

use super::regression::LogisticRegression;
use super::task::HeadTask;
use super::texts::TokenizedTexts;
use super::trained::FineTuned;
use checkpoint::Checkpoint;
use clock::Clock;
use llm_router_classifier::model::encoder::Encoder;
use llm_router_classifier::model::heads::HeadInput;
use llm_router_classifier::model::training::{Dropout, Training};
use network::{Network, TrainableHead};
use parameters::Parameters;
use trainable_weights::TrainableWeights;
use trainer::Trainer;
use training_set::TrainingSet;

/// Trains heads and encoder.
///
/// # Errors
/// If libtorch fails, the loss is not finite, a checkpoint cannot be written, or the training is stopped before its first
/// step.
pub(super) fn train(
    encoder: Encoder,
    training: Training,
    tasks: &[HeadTask],
    reads: Vec<HeadInput>,
    texts: &TokenizedTexts,
    options: &RunOptions,
) -> Result<FineTuned> {
    tch::set_num_threads(options.threads as i32);
    let clock = Clock::start(options.started, options.settings.time_budget);
    let mut network = Network {
        encoder,
        encoder_dropout: training.dropout.clone(),
        head_dropout: Dropout::new(options.settings.dropout),
        heads: Vec::new(),
        device: options.compute.device,
        batch_tokens: options.settings.batch_tokens,
    };
    let mut parameters = Parameters::default();
    let layers = reads.iter().map(|reads| reads.layer).max().unwrap_or(0);
    let regressions = match options.resume {
        true => first_heads::empty(&network, tasks, &reads)?,
        false => tch::no_grad(|| first_heads::fit(&network, tasks, &reads, texts, options))?,
    };
    for ((task, reads), regression) in tasks.iter().zip(reads).zip(regressions) {
        network.heads.push(head(task, reads, regression, options, &mut parameters)?);
    }
    let weights = TrainableWeights::new(training.tensors, layers, options.settings, &mut parameters)?;
    let training_set = TrainingSet::new(tasks, &texts.data)?;
    Trainer { options, tasks, texts, network, weights, parameters, training_set, clock }.train()
}

/// Removes the checkpoint of a training whose results are written.
///
/// # Errors
/// If it cannot be removed.
pub(super) fn remove_checkpoint(out: &Path) -> Result<()> {
    Checkpoint::new(out).remove()
}

/// Makes parameters of a head's weights.
fn head(
    task: &HeadTask,
    reads: HeadInput,
    regression: LogisticRegression,
    options: &RunOptions,
    parameters: &mut Parameters,
) -> Result<TrainableHead> {
    let rate = options.settings.head_learning_rate;
    let mut add = |part: &str, tensor: Tensor| {
        let value = tensor.f_to_device(options.compute.device)?.f_set_requires_grad(true)?;
        parameters.add(format!("heads.{}.{part}", task.name()), value, rate, 0.0)
    };
    Ok(TrainableHead {
        reads,
        kind: task.kind(),
        weight: add("weight", regression.weight)?,
        bias: add("bias", regression.bias)?,
    })
}
