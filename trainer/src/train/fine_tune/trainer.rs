//! Runs a training: its epochs, its checkpoints, and the best result.

use std::time::{Duration, Instant};

use anyhow::Result;
use tch::Tensor;

use super::checkpoint::{self, Checkpoint, TrainingState};
use super::clock::Clock;
use super::history::{Epoch, History, StopReason, best_score, epochs_since_best};
use super::network::Network;
use super::options::RunOptions;
use super::parameters::Parameters;
use super::trainable_weights::TrainableWeights;
use super::training_set::TrainingSet;
use super::{batches, schedule};
use crate::train::progress::ProgressDisplay;
use crate::train::task::HeadTask;
use crate::train::texts::TokenizedTexts;
use crate::train::trained::{FineTuned, TrainedEncoder};

/// What is trained, and on what.
pub(super) struct Trainer<'a> {
    pub(super) options: &'a RunOptions<'a>,
    pub(super) tasks: &'a [HeadTask],
    pub(super) texts: &'a TokenizedTexts,
    pub(super) network: Network,
    pub(super) weights: TrainableWeights,
    pub(super) parameters: Parameters,
    pub(super) training_set: TrainingSet,
    pub(super) clock: Clock,
}

/// How far the training has come.
struct Progress {
    state: TrainingState,
    /// The parameters of the best epoch so far.
    best: Vec<Tensor>,
    last_checkpoint: Instant,
    checkpoint: Checkpoint,
    display: ProgressDisplay,
    steps_per_epoch: usize,
}

impl Trainer<'_> {
    /// Trains until the last epoch, or until there is a reason to stop.
    pub(super) fn train(mut self) -> Result<FineTuned> {
        let mut progress = self.start()?;
        let stop_reason = self.run_epochs(&mut progress)?;
        let Progress { mut state, best, display, .. } = progress;
        display.finish();
        state.seconds = self.clock.seconds();
        tch::no_grad(|| {
            self.parameters.restore(&best)?;
            self.weights.apply(&self.parameters)
        })?;
        if !stop_reason.is_final() {
            display.println(&format!(
                "{} after {} steps: writing the best result so far; the same command with --resume continues",
                stop_reason.description(),
                state.steps
            ));
        }
        self.result(state, stop_reason)
    }

    fn start(&mut self) -> Result<Progress> {
        let settings = self.options.settings;
        let fingerprint = checkpoint::fingerprint(settings, self.tasks)?;
        let checkpoint = Checkpoint::new(self.options.out);
        let (mut state, best) = if self.options.resume {
            tch::no_grad(|| checkpoint.load(&fingerprint, &mut self.parameters))?
        } else {
            let state = TrainingState { fingerprint, steps: 0, loss: 0.0, seconds: 0.0, epochs: Vec::new() };
            (state, self.parameters.snapshot()?)
        };
        tch::no_grad(|| self.weights.apply(&self.parameters))?;
        self.clock.resume(state.seconds);
        let evaluation_start = Instant::now();
        if state.epochs.is_empty() {
            let display = ProgressDisplay::counting("measuring before training", self.validation_rows())?;
            state.epochs.push(self.evaluate(0.0, |texts| display.add(texts))?);
            display.finish();
        }
        self.clock.reserve(self.time_to_report(evaluation_start.elapsed()));
        let texts = self.training_set.texts.len();
        let steps_per_epoch = texts.div_ceil(settings.batch.max(1));
        let steps = steps_per_epoch * settings.epochs;
        let display = ProgressDisplay::training(steps, state.steps, self.clock.deadline())?;
        display.println(&format!(
            "{texts} texts, {steps_per_epoch} steps per epoch; validation before training: {:.4}",
            state.epochs.first().map_or(0.0, |epoch| epoch.score)
        ));
        display.set_best_score(best_score(&state.epochs));
        Ok(Progress { state, best, last_checkpoint: Instant::now(), checkpoint, display, steps_per_epoch })
    }

    fn run_epochs(&mut self, progress: &mut Progress) -> Result<StopReason> {
        let settings = self.options.settings;
        let steps_per_epoch = progress.steps_per_epoch;
        let all_steps = steps_per_epoch * settings.epochs;
        while progress.state.steps / steps_per_epoch < settings.epochs {
            if epochs_since_best(&progress.state.epochs) >= settings.patience {
                return Ok(StopReason::NoBetter);
            }
            let epoch = progress.state.steps / steps_per_epoch;
            let steps = batches::steps(self.training_set.texts.len(), settings.batch, settings.seed, epoch);
            for step in steps.iter().skip(progress.state.steps % steps_per_epoch) {
                let spent = self.clock.spent_fraction();
                if let Some(reason) = self.stop_reason(spent) {
                    self.save_checkpoint(progress)?;
                    let done = progress.state.steps % steps_per_epoch;
                    if done > 0 {
                        self.finish_epoch(progress, done)?;
                    }
                    return Ok(reason);
                }
                let done = (progress.state.steps as f64 / all_steps as f64).max(spent);
                let rate = schedule::learning_rate_fraction(done, settings.warm_up, settings.decay);
                let loss = self.step(&mut progress.state, step, rate)?;
                progress.display.step(loss);
                if progress.last_checkpoint.elapsed() >= settings.checkpoint_every {
                    self.save_checkpoint(progress)?;
                }
            }
            self.finish_epoch(progress, steps_per_epoch)?;
            progress.state.loss = 0.0;
            self.save_checkpoint(progress)?;
        }
        Ok(StopReason::Done)
    }

    /// The reason to stop before the next step, if there is one.
    fn stop_reason(&self, spent_fraction: f64) -> Option<StopReason> {
        match self.options.stop.is_requested() {
            true => Some(StopReason::Interrupted),
            false if spent_fraction >= 1.0 => Some(StopReason::TimeBudget),
            false => None,
        }
    }

    /// Saves the state for `--resume`.
    fn save_checkpoint(&self, progress: &mut Progress) -> Result<()> {
        progress.state.seconds = self.clock.seconds();
        progress.checkpoint.save(&progress.state, &self.parameters, &progress.best)?;
        progress.last_checkpoint = Instant::now();
        Ok(())
    }

    /// Evaluates an epoch of this number of steps, and keeps the parameters if they are the best so far. Of epochs with the
    /// same score the later one is better, since it has seen more.
    fn finish_epoch(&self, progress: &mut Progress, steps: usize) -> Result<()> {
        let Progress { state, best, display, .. } = progress;
        let epoch = self.evaluate(state.loss / steps as f64, |_| display.tick())?;
        if epoch.score >= best_score(&state.epochs) {
            *best = self.parameters.snapshot()?;
        }
        display.println(&self.line(state.epochs.len(), &epoch));
        state.epochs.push(epoch);
        display.set_best_score(best_score(&state.epochs));
        Ok(())
    }

    fn line(&self, number: usize, epoch: &Epoch) -> String {
        let Epoch { loss, score, heads } = epoch;
        let heads = self.tasks.iter().zip(heads).map(|(task, metric)| format!("{} {metric:.4}", task.name()));
        let heads = heads.collect::<Vec<_>>().join(", ");
        format!("epoch {number}: loss {loss:.4}, validation {score:.4} ({heads})")
    }

    /// Estimates how long the final report takes, from how long the validation rows took.
    fn time_to_report(&self, validation: Duration) -> Duration {
        let ratio = self.reported_rows() as f64 / self.validation_rows().max(1) as f64;
        validation.mul_f64(1.5 * (1.0 + ratio))
    }

    fn result(self, state: TrainingState, stop_reason: StopReason) -> Result<FineTuned> {
        let heads = self.trained_heads()?;
        let encoder = match self.weights.adapter(&self.parameters)? {
            Some(adapter) => TrainedEncoder::Adapter(adapter),
            None => TrainedEncoder::Weights(self.weights.weights(&self.parameters)?),
        };
        let history = History {
            settings: self.options.settings.clone(),
            device: format!("{:?}, {:?}", self.options.compute.device, self.options.compute.precision),
            threads: self.options.threads,
            parameters: self.parameters.count(),
            steps: state.steps,
            seconds: state.seconds,
            stop_reason,
            epochs: state.epochs,
        };
        Ok(FineTuned { heads, encoder, history })
    }
}
