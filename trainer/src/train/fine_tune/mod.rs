//! Trains the encoder and heads on it together.

mod batches;
mod change;
mod checkpoint;
mod clock;
mod evaluation;
mod examples;
mod first_heads;
mod history;
mod network;
mod parameters;
mod run;
mod schedule;
mod settings;
mod step;
mod stop;
mod trained;
mod trainer;

use anyhow::Result;
use tch::Tensor;

pub use history::{Ended, Epoch, History};
pub(super) use run::Run;
pub use settings::{Decay, Method, Settings};
pub use stop::Stop;
pub(super) use trained::{ChangedEncoder, TrainedHead};

use super::regression::Linear;
use super::task::HeadTask;
use super::texts::Texts;
use change::Change;
use clock::Clock;
use examples::Examples;
use llm_router_classifier::model::encoder::Encoder;
use llm_router_classifier::model::heads::Reads;
use llm_router_classifier::model::training::{Dropout, Training};
use network::{HeadInTraining, Network};
use parameters::Parameters;
use trained::Trained;
use trainer::Trainer;

/// Trains heads and encoder.
///
/// # Errors
/// If libtorch fails, the loss is not finite, the state cannot be written, or it is ended before the first step.
pub(super) fn train(
    encoder: Encoder,
    training: Training,
    tasks: &[HeadTask],
    reads: Vec<Reads>,
    texts: &Texts,
    run: &Run,
) -> Result<Trained> {
    tch::set_num_threads(run.threads as i32);
    let clock = Clock::start(run.began, run.settings.time_budget);
    let mut network = Network {
        encoder,
        inner_dropout: training.dropout.clone(),
        outer_dropout: Dropout::new(run.settings.dropout),
        heads: Vec::new(),
        device: run.compute.device,
        batch_tokens: run.settings.batch_tokens,
    };
    let mut parameters = Parameters::default();
    let layers = reads.iter().map(|reads| reads.layer).max().unwrap_or(0);
    let linears = match run.resume {
        true => first_heads::empty(&network, tasks, &reads)?,
        false => tch::no_grad(|| first_heads::fit(&network, tasks, &reads, texts, run))?,
    };
    for ((task, reads), linear) in tasks.iter().zip(reads).zip(linears) {
        network.heads.push(head(task, reads, linear, run, &mut parameters)?);
    }
    let change = Change::new(training.leaves, layers, run.settings, &mut parameters)?;
    let examples = Examples::new(tasks, &texts.data)?;
    Trainer { run, tasks, texts, network, change, parameters, examples, clock }.train()
}

/// A head's numbers as parameters.
fn head(
    task: &HeadTask,
    reads: Reads,
    linear: Linear,
    run: &Run,
    parameters: &mut Parameters,
) -> Result<HeadInTraining> {
    let mut add = |part: &str, tensor: Tensor| {
        let value = tensor.f_to_device(run.compute.device)?.f_set_requires_grad(true)?;
        parameters.add(format!("heads.{}.{part}", task.name()), value, run.settings.head_learning_rate, 0.0)
    };
    Ok(HeadInTraining {
        reads,
        kind: task.kind(),
        weight: add("weight", linear.weight)?,
        bias: add("bias", linear.bias)?,
    })
}
