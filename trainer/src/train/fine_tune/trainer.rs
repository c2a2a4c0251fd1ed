//! A training under way: epochs, and what is kept of them.

use std::time::{Duration, Instant};

use anyhow::Result;
use tch::Tensor;

use super::change::Change;
use super::checkpoint::{self, Checkpoint, State};
use super::clock::Clock;
use super::examples::Examples;
use super::history::{Ended, Epoch, History, best, no_better};
use super::network::Network;
use super::parameters::Parameters;
use super::run::Run;
use super::trained::{ChangedEncoder, Trained};
use super::{batches, schedule};
use crate::train::progress::Progress;
use crate::train::task::HeadTask;
use crate::train::texts::Texts;

/// What is trained, and on what.
pub(super) struct Trainer<'a> {
    pub(super) run: &'a Run<'a>,
    pub(super) tasks: &'a [HeadTask],
    pub(super) texts: &'a Texts,
    pub(super) network: Network,
    pub(super) change: Change,
    pub(super) parameters: Parameters,
    pub(super) examples: Examples,
    pub(super) clock: Clock,
}

/// How far it is.
struct Course {
    state: State,
    /// The parameters of the best epoch so far.
    best: Vec<Tensor>,
    /// When the state was kept last.
    kept: Instant,
    checkpoint: Checkpoint,
    progress: Progress,
    steps_an_epoch: usize,
}

impl Trainer<'_> {
    /// Trains to the end, whatever ends it.
    pub(super) fn train(mut self) -> Result<Trained> {
        let mut course = self.begin()?;
        let ended = self.epochs(&mut course)?;
        let Course { mut state, best, checkpoint, progress, .. } = course;
        progress.finish();
        state.seconds = self.clock.seconds();
        tch::no_grad(|| {
            self.parameters.restore(&best)?;
            self.change.apply(&self.parameters)
        })?;
        match ended {
            Ended::Done | Ended::NoBetter => checkpoint.remove()?,
            Ended::TimeBudget | Ended::Interrupted => {
                let (why, steps) = (ended.why(), state.steps);
                progress.println(&format!(
                    "{why} after {steps} steps: the best so far is written, and the same command with --resume goes on"
                ));
            }
        }
        self.result(state, ended)
    }

    fn begin(&mut self) -> Result<Course> {
        let settings = self.run.settings;
        let fingerprint = checkpoint::fingerprint(settings, self.tasks)?;
        let checkpoint = Checkpoint::of(self.run.out);
        let (mut state, best_yet) = if self.run.resume {
            tch::no_grad(|| checkpoint.load(&fingerprint, &mut self.parameters))?
        } else {
            let state = State { fingerprint, steps: 0, loss: 0.0, seconds: 0.0, epochs: Vec::new() };
            (state, self.parameters.snapshot()?)
        };
        tch::no_grad(|| self.change.apply(&self.parameters))?;
        self.clock.resume(state.seconds);
        let evaluating = Instant::now();
        if state.epochs.is_empty() {
            let progress = Progress::counting("measuring the encoder as it is,", self.choosing())?;
            state.epochs.push(self.evaluate(0.0, |texts| progress.add(texts))?);
            progress.finish();
        }
        self.clock.reserve(self.time_to_report(evaluating.elapsed()));
        let texts = self.examples.texts.len();
        let steps_an_epoch = texts.div_ceil(settings.batch.max(1));
        let progress = Progress::training(steps_an_epoch * settings.epochs, state.steps, self.clock.until())?;
        progress.println(&format!(
            "{texts} texts, {steps_an_epoch} steps an epoch; as it is: {:.4}",
            state.epochs.first().map_or(0.0, |epoch| epoch.score)
        ));
        progress.score(best(&state.epochs));
        Ok(Course { state, best: best_yet, kept: Instant::now(), checkpoint, progress, steps_an_epoch })
    }

    fn epochs(&mut self, course: &mut Course) -> Result<Ended> {
        let settings = self.run.settings;
        let steps_an_epoch = course.steps_an_epoch;
        let all = steps_an_epoch * settings.epochs;
        while course.state.steps / steps_an_epoch < settings.epochs {
            let epoch = course.state.steps / steps_an_epoch;
            let steps = batches::steps(self.examples.texts.len(), settings.batch, settings.seed, epoch);
            for step in steps.iter().skip(course.state.steps % steps_an_epoch) {
                let spent = self.clock.spent();
                if let Some(ended) = self.over(spent) {
                    self.keep(course)?;
                    let done = course.state.steps % steps_an_epoch;
                    if done > 0 {
                        self.close(course, done)?;
                    }
                    return Ok(ended);
                }
                let share = (course.state.steps as f64 / all as f64).max(spent);
                let share = schedule::share(share, settings.warm_up, settings.decay);
                let loss = self.step(&mut course.state, step, share)?;
                course.progress.step(loss);
                if course.kept.elapsed() >= settings.checkpoint_every {
                    self.keep(course)?;
                }
            }
            self.close(course, steps_an_epoch)?;
            course.state.loss = 0.0;
            self.keep(course)?;
            if no_better(&course.state.epochs) >= settings.patience {
                return Ok(Ended::NoBetter);
            }
        }
        Ok(Ended::Done)
    }

    /// What ends it before its last epoch.
    fn over(&self, spent: f64) -> Option<Ended> {
        match self.run.stop.wanted() {
            true => Some(Ended::Interrupted),
            false if spent >= 1.0 => Some(Ended::TimeBudget),
            false => None,
        }
    }

    /// Keeps the state for `--resume`.
    fn keep(&self, course: &mut Course) -> Result<()> {
        course.state.seconds = self.clock.seconds();
        course.checkpoint.save(&course.state, &self.parameters, &course.best)?;
        course.kept = Instant::now();
        Ok(())
    }

    /// Ends an epoch of so many steps: keeps the parameters if they are the best so far. Of equals the later is better: it
    /// has seen more.
    fn close(&self, course: &mut Course, steps: usize) -> Result<()> {
        let Course { state, best: best_yet, progress, .. } = course;
        let epoch = self.evaluate(state.loss / steps as f64, |_| progress.beat())?;
        if epoch.score >= best(&state.epochs) {
            *best_yet = self.parameters.snapshot()?;
        }
        progress.println(&self.line(state.epochs.len(), &epoch));
        state.epochs.push(epoch);
        progress.score(best(&state.epochs));
        Ok(())
    }

    fn line(&self, number: usize, epoch: &Epoch) -> String {
        let Epoch { loss, score, heads } = epoch;
        let heads = self.tasks.iter().zip(heads).map(|(task, figure)| format!("{} {figure:.4}", task.name()));
        let heads = heads.collect::<Vec<_>>().join(", ");
        format!("epoch {number}: loss {loss:.4}, validation {score:.4} ({heads})")
    }

    /// How long the report at the end takes, by how long the choosing rows took.
    fn time_to_report(&self, choosing: Duration) -> Duration {
        choosing.mul_f64(1.5 * (1.0 + self.reported() as f64 / self.choosing().max(1) as f64))
    }

    fn result(self, state: State, ended: Ended) -> Result<Trained> {
        let heads = self.trained_heads()?;
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
