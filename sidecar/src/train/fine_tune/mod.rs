//! Trains the encoder and heads on it together.

mod batches;
mod change;
mod checkpoint;
mod examples;
mod network;
mod parameters;
mod progress;
mod schedule;
mod settings;
mod stop;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use tch::{Device, Tensor};

pub use settings::{Decay, Method, Settings};
pub use stop::Stop;

use super::class_weights_of;
use super::quality::Quality;
use super::regression::{self, Linear};
use super::task::HeadTask;
use crate::device::Compute;
use crate::model::encoder::Encoder;
use crate::model::heads::{self, Reads};
use crate::model::tokenizer::Tokens;
use crate::model::training::{Dropout, Training};
use crate::model::weights::Weight;
use change::Change;
use checkpoint::{Checkpoint, State};
use examples::Examples;
use network::{HeadInTraining, Network};
use parameters::{ParameterId, Parameters};
use progress::Progress;

/// Factor of the squared weights where heads begin: at a regression on what the encoder says before it is trained, so
/// that it does not learn from heads that know nothing.
const FIRST_L2: f64 = 1e-5;

/// One pass over the data; the 0th is none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Epoch {
    /// Mean loss of the steps.
    pub loss: f64,
    /// The mean of the heads' figures on the choosing rows, by which the best epoch is chosen.
    pub score: f64,
    /// Each head's, in the plan's order.
    pub heads: Vec<f64>,
}

/// Why a training ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// After the last epoch.
    Done,
    /// The score had not become better for too many epochs.
    NoBetter,
    /// The time was up.
    TimeBudget,
    /// By Ctrl-C.
    Interrupted,
}

/// How a training went.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct History {
    /// The settings.
    #[serde(flatten)]
    pub settings: Settings,
    /// Where it ran, and in which precision.
    pub device: String,
    /// Threads of libtorch.
    pub threads: usize,
    /// Numbers that were trained.
    pub parameters: usize,
    /// Steps of the optimiser.
    pub steps: usize,
    /// How long it took.
    pub seconds: f64,
    /// Why it ended.
    pub ended: Ended,
    /// The epochs; the first is the encoder as it was.
    pub epochs: Vec<Epoch>,
}

/// A head with its numbers and what it says of the rows that are reported on.
pub(super) struct TrainedHead {
    pub(super) linear: heads::Linear,
    pub(super) reads: Reads,
    /// Logits of the held-out rows.
    pub(super) held_out: Tensor,
    /// Logits of the rows for validation.
    pub(super) validation: Tensor,
}

/// What was trained.
pub(super) struct Trained {
    pub(super) heads: Vec<TrainedHead>,
    pub(super) encoder: ChangedEncoder,
    pub(super) history: History,
}

/// What became of the encoder.
pub(super) enum ChangedEncoder {
    /// An adapter belongs to it.
    Adapter(crate::model::adapter::Adapter),
    /// Some of its tensors, by the checkpoint's names.
    Weights(std::collections::BTreeMap<String, Tensor>),
}

/// The texts of all tasks, tokenized.
pub(super) struct Texts {
    /// Of each task's data.
    pub(super) data: Vec<Vec<Tokens>>,
    /// Of each task's validation.
    pub(super) validation: Vec<Vec<Tokens>>,
}

/// Where, how, and how long.
pub(super) struct Run<'a> {
    pub(super) settings: &'a Settings,
    pub(super) compute: Compute,
    pub(super) threads: usize,
    /// The folder that the state is kept in.
    pub(super) out: &'a Path,
    pub(super) resume: bool,
    pub(super) stop: &'a Stop,
    /// When the command began, which the time budget counts from.
    pub(super) began: Instant,
}

/// A training under way.
struct Trainer<'a> {
    run: &'a Run<'a>,
    tasks: &'a [HeadTask],
    texts: &'a Texts,
    network: Network,
    change: Change,
    parameters: Parameters,
    examples: Examples,
    checkpoint: Checkpoint,
    /// When this process began to train, and how long others had before.
    since: Instant,
}

/// Trains heads and encoder.
///
/// # Errors
/// If libtorch fails, the loss is not finite, or the state cannot be written.
pub(super) fn train(
    encoder: Encoder,
    training: Training,
    tasks: &[HeadTask],
    reads: Vec<Reads>,
    texts: &Texts,
    run: &Run,
) -> Result<Trained> {
    tch::set_num_threads(run.threads as i32);
    let since = Instant::now();
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
        true => tasks
            .iter()
            .zip(&reads)
            .map(|(task, reads)| empty(task, reads, &network))
            .collect::<Result<_>>()?,
        false => tch::no_grad(|| first_heads(&network, tasks, &reads, texts))?,
    };
    for ((task, reads), linear) in tasks.iter().zip(reads).zip(linears) {
        network.heads.push(head(task, reads, linear, run, &mut parameters)?);
    }
    let change = Change::new(training.leaves, layers, run.settings, &mut parameters)?;
    let examples = Examples::new(tasks, &texts.data)?;
    let checkpoint = Checkpoint::of(run.out);
    Trainer { run, tasks, texts, network, change, parameters, examples, checkpoint, since }.train()
}

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

/// A head that will be read from a file.
fn empty(task: &HeadTask, reads: &Reads, network: &Network) -> Result<Linear> {
    let zeros = |shape: &[i64]| Tensor::f_zeros(shape, (tch::Kind::Float, Device::Cpu));
    let width = reads.width(network.encoder.hidden_size());
    Ok(Linear { weight: zeros(&[task.outputs(), width])?, bias: zeros(&[task.outputs()])? })
}

/// A regression for each head on what the encoder says before it is trained.
fn first_heads(network: &Network, tasks: &[HeadTask], reads: &[Reads], texts: &Texts) -> Result<Vec<Linear>> {
    let count = tasks.iter().map(|task| task.split.fit.len()).sum();
    let progress = Progress::counting("reading", count)?;
    let mut linears = Vec::new();
    for ((task, reads), tokens) in tasks.iter().zip(reads).zip(&texts.data) {
        let fit = &task.split.fit;
        let tokens: Vec<_> = fit.iter().filter_map(|&row| tokens.get(row)).collect();
        let vectors = network.vectors(&tokens, &[reads], |texts| progress.add(texts))?;
        let rows: Vec<_> = fit.iter().filter_map(|&row| task.data.rows.get(row)).cloned().collect();
        let examples = regression::Examples {
            kind: task.kind(),
            features: vectors.into_iter().next().context("no vectors")?,
            targets: task.targets(&rows)?,
        };
        let weights = class_weights_of(task, fit, &examples.targets, task.plan.class_weights)?;
        linears.push(tch::with_grad(|| Linear::fit(&examples, &weights, task.outputs(), FIRST_L2))?);
    }
    progress.finish();
    Ok(linears)
}

impl Trainer<'_> {
    fn train(mut self) -> Result<Trained> {
        let settings = self.run.settings;
        let fingerprint = checkpoint::fingerprint(settings, self.tasks)?;
        let (mut state, mut best) = if self.run.resume {
            tch::no_grad(|| self.checkpoint.load(&fingerprint, &mut self.parameters))?
        } else {
            let state = State { fingerprint, steps: 0, loss: 0.0, seconds: 0.0, epochs: Vec::new() };
            (state, self.parameters.snapshot()?)
        };
        tch::no_grad(|| self.change.apply(&self.parameters))?;
        let before = state.seconds;
        let evaluating = Instant::now();
        if state.epochs.is_empty() {
            state.epochs.push(self.evaluate(f64::NAN)?);
        }
        let reserve = self.reserve(evaluating.elapsed());
        let per_epoch = self.examples.texts.len().div_ceil(settings.batch.max(1));
        let all = per_epoch * settings.epochs;
        let progress = Progress::training(all, state.steps)?;
        progress.println(&format!(
            "{} texts, {per_epoch} steps an epoch; as it is: {:.4}",
            self.examples.texts.len(),
            state.epochs.first().map_or(0.0, |epoch| epoch.score)
        ));
        progress.score(&state.epochs);
        let mut kept = Instant::now();
        let ended = 'epochs: loop {
            let epoch = state.steps / per_epoch;
            if epoch >= settings.epochs {
                break Ended::Done;
            }
            let steps = batches::steps(self.examples.texts.len(), settings.batch, settings.seed, epoch);
            for step in steps.iter().skip(state.steps % per_epoch) {
                let spent = self.spent(reserve);
                let interrupted = self.run.stop.wanted();
                if interrupted || spent >= 1.0 {
                    state.seconds = before + self.since.elapsed().as_secs_f64();
                    self.checkpoint.save(&state, &self.parameters, &best)?;
                    let done = state.steps % per_epoch;
                    if done > 0 {
                        let epoch = self.evaluate(state.loss / done as f64)?;
                        self.close(&mut state, epoch, &mut best, &progress)?;
                    }
                    break 'epochs if interrupted { Ended::Interrupted } else { Ended::TimeBudget };
                }
                let share = (state.steps as f64 / all as f64).max(spent);
                let loss =
                    self.step(&mut state, step, schedule::share(share, settings.warm_up, settings.decay))?;
                progress.step(loss);
                if kept.elapsed() >= settings.checkpoint_every {
                    state.seconds = before + self.since.elapsed().as_secs_f64();
                    self.checkpoint.save(&state, &self.parameters, &best)?;
                    kept = Instant::now();
                }
            }
            let epoch = self.evaluate(state.loss / per_epoch as f64)?;
            state.loss = 0.0;
            self.close(&mut state, epoch, &mut best, &progress)?;
            state.seconds = before + self.since.elapsed().as_secs_f64();
            self.checkpoint.save(&state, &self.parameters, &best)?;
            kept = Instant::now();
            if no_better(&state.epochs) >= settings.patience {
                break Ended::NoBetter;
            }
        };
        progress.finish();
        state.seconds = before + self.since.elapsed().as_secs_f64();
        tch::no_grad(|| {
            self.parameters.restore(&best)?;
            self.change.apply(&self.parameters)
        })?;
        if matches!(ended, Ended::Done | Ended::NoBetter) {
            self.checkpoint.remove()?;
        }
        self.result(state, ended)
    }

    /// One step of the optimiser. Chance depends on the step alone, so that a resumed training goes the same way.
    fn step(&mut self, state: &mut State, texts: &[usize], share: f64) -> Result<f64> {
        let settings = self.run.settings;
        tch::manual_seed(settings.seed.wrapping_add(state.steps as u64).cast_signed());
        self.network.train(true);
        let length = |text: usize| self.examples.texts.get(text).map_or(0, |text| text.tokens.ids().len());
        let parts = batches::parts(texts, length, settings.batch_tokens);
        let mut sum = 0.0;
        for part in parts {
            let loss =
                self.network.loss(&self.parameters, &self.examples, &part, settings.label_smoothing)?;
            let loss = loss.f_div_scalar(texts.len() as f64)?;
            sum += f64::try_from(&loss)?;
            loss.f_backward()?;
            tch::no_grad(|| self.collect())?;
        }
        self.network.train(false);
        if !sum.is_finite() {
            bail!("the loss is not finite after {} steps; try a lower learning rate", state.steps);
        }
        state.steps += 1;
        state.loss += sum;
        tch::no_grad(|| {
            self.parameters.step(state.steps, share, settings.clip)?;
            self.change.apply(&self.parameters)
        })?;
        Ok(sum)
    }

    fn collect(&mut self) -> Result<()> {
        self.change.collect(&mut self.parameters)?;
        for head in &self.network.heads {
            for id in [head.weight, head.bias] {
                let mut gradient = self.parameters.value(id)?.f_grad()?;
                if gradient.defined() {
                    self.parameters.accumulate(id, &gradient)?;
                    let _ = gradient.f_zero_()?;
                }
            }
        }
        Ok(())
    }

    fn evaluate(&self, loss: f64) -> Result<Epoch> {
        let mut figures = Vec::new();
        for (index, (task, tokens)) in self.tasks.iter().zip(&self.texts.data).enumerate() {
            let logits = self.logits(index, tokens, &task.split.choose)?;
            let rows: Vec<_> =
                task.split.choose.iter().filter_map(|&row| task.data.rows.get(row)).cloned().collect();
            figures.push(Quality::of(task, &logits, &task.targets(&rows)?)?.figure());
        }
        let score = figures.iter().sum::<f64>() / figures.len().max(1) as f64;
        Ok(Epoch { loss: if loss.is_finite() { loss } else { 0.0 }, score, heads: figures })
    }

    /// A head's logits of some texts.
    fn logits(&self, head: usize, tokens: &[Tokens], rows: &[usize]) -> Result<Tensor> {
        let tokens: Vec<_> = rows.iter().filter_map(|&row| tokens.get(row)).collect();
        tch::no_grad(|| self.network.logits(&self.parameters, head, &tokens))
    }

    /// Ends an epoch: keeps the parameters if they are the best so far. Of equals the later is better: it has seen more.
    fn close(
        &self,
        state: &mut State,
        epoch: Epoch,
        best: &mut Vec<Tensor>,
        progress: &Progress,
    ) -> Result<()> {
        if state.epochs.iter().all(|before| before.score <= epoch.score) {
            *best = self.parameters.snapshot()?;
        }
        let names = self.tasks.iter().map(HeadTask::name);
        let heads: Vec<_> =
            names.zip(&epoch.heads).map(|(name, figure)| format!("{name} {figure:.4}")).collect();
        progress.println(&format!(
            "epoch {}: loss {:.4}, validation {:.4} ({})",
            state.epochs.len(),
            epoch.loss,
            epoch.score,
            heads.join(", ")
        ));
        state.epochs.push(epoch);
        progress.score(&state.epochs);
        Ok(())
    }

    /// Time that the report at the end needs, by that of an evaluation.
    fn reserve(&self, evaluation: Duration) -> Duration {
        let rows = |of: fn(&HeadTask) -> usize| self.tasks.iter().map(of).sum::<usize>() as f64;
        let reported = rows(|task| task.split.held_out.len() + task.validation.rows.len());
        evaluation.mul_f64(1.5 * (1.0 + reported / rows(|task| task.split.choose.len()).max(1.0)))
    }

    /// The share of the time budget that is used up; 0 without one.
    fn spent(&self, reserve: Duration) -> f64 {
        let Some(budget) = self.run.settings.time_budget else { return 0.0 };
        let before = self.since - self.run.began;
        let budget = budget.saturating_sub(reserve).saturating_sub(before);
        self.since.elapsed().as_secs_f64() / budget.as_secs_f64().max(1e-3)
    }

    fn result(self, state: State, ended: Ended) -> Result<Trained> {
        let mut heads = Vec::new();
        for (index, (task, head)) in self.tasks.iter().zip(&self.network.heads).enumerate() {
            let on_cpu = |id: ParameterId| {
                let value = self.parameters.value(id)?.f_detach_copy()?.f_to_device(Device::Cpu)?;
                anyhow::Ok(Weight::new(value))
            };
            let (Some(data), Some(validation)) =
                (self.texts.data.get(index), self.texts.validation.get(index))
            else {
                bail!("no texts of head {:?}", task.name());
            };
            let all: Vec<_> = (0..validation.len()).collect();
            heads.push(TrainedHead {
                linear: heads::Linear { weight: on_cpu(head.weight)?, bias: on_cpu(head.bias)? },
                reads: head.reads.clone(),
                held_out: self.logits(index, data, &task.split.held_out)?,
                validation: self.logits(index, validation, &all)?,
            });
        }
        let encoder = match self.change.adapter(&self.parameters)? {
            Some(adapter) => ChangedEncoder::Adapter(adapter),
            None => ChangedEncoder::Weights(self.change.weights(&self.parameters)?),
        };
        let history = History {
            settings: self.run.settings.clone(),
            device: format!("{:?}, {:?}", self.run.compute.device, self.run.compute.precision),
            threads: self.run.threads,
            parameters: self.parameters.count(),
            steps: state.steps,
            seconds: state.seconds,
            ended,
            epochs: state.epochs,
        };
        Ok(Trained { heads, encoder, history })
    }
}

/// Epochs since the best.
fn no_better(epochs: &[Epoch]) -> usize {
    let best = epochs.iter().map(|epoch| epoch.score).fold(f64::NEG_INFINITY, f64::max);
    epochs.iter().rev().take_while(|epoch| epoch.score < best).count()
}
