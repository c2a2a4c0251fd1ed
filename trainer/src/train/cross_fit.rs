//! Fits a head to all rows, and scores each row by a head that has not seen it.
//!
//! The rows are divided into folds. The rows of a fold are scored by a head that was fitted to all other folds, and its
//! regularisation is chosen on these by the same way: a head that leaves out two folds serves both. So nothing that is
//! reported on a row depends on it.

use std::path::PathBuf;
use std::slice;

use anyhow::{Context, Result, ensure};
use parking_lot::Mutex;
use rayon::prelude::*;
use tch::{Kind, Tensor};

use super::embed::embed;
use super::job::Job;
use super::pipeline::{head_input, tokenize};
use super::probe::{Subset, fit};
use super::progress::ProgressDisplay;
use super::quality::Quality;
use super::regression::LabelledFeatures;
use super::report::{TrainingDetails, TrainingReport, Trial, TrialSettings};
use super::save;
use super::task::HeadTask;
use super::trained::TrainedHead;
use super::weighting::ClassWeights;
use llm_router_classifier::model::heads::Head;
use llm_router_classifier::model::load::load_encoder;

/// The factors of the squared weights that are tried. Few rows with noisy grades need more than labels do.
const L2: [f64; 6] = [3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2];

/// Without a layer in the plan, the head reads one this part of the way up. The last layers represent what a prompt is about,
/// and less of what it asks for.
const MIDDLE: usize = 3;

/// A score head that was fitted to all rows of a task.
#[derive(Debug)]
pub struct CrossFittedHead {
    head: Head,
    report: TrainingReport,
    /// Each row's score by a head that has not seen it.
    scores: Vec<f32>,
    /// The number of tokens of each row's text.
    tokens: Vec<u64>,
}

impl CrossFittedHead {
    /// Fits the head. `folds` are the numbers of the rows' folds, from 0.
    ///
    /// # Errors
    /// If the model cannot be used, there are fewer than three folds, or libtorch fails.
    pub fn fit(task: &HeadTask, folds: &[usize], job: &Job) -> Result<Self> {
        let (encoder, tokenizer) = load_encoder(job.model, job.compute)?;
        let texts = tokenize(slice::from_ref(task), &tokenizer)?.data.pop().unwrap_or_default();
        let mut reads = head_input(task, &encoder, &texts)?;
        if task.plan.layer.is_none() {
            reads.layer = encoder.layers().div_ceil(MIDDLE);
        }
        // Texts and fits are computed in parallel instead. Besides, a sum depends on how many threads share it.
        tch::set_num_threads(1);
        let features = embed(&encoder, &reads, &texts.iter().collect::<Vec<_>>())?;
        let targets = task.targets(&task.data.rows)?;
        let rows = FoldedRows::new(task, LabelledFeatures { kind: task.kind(), features, targets }, folds)?;
        let selection = rows.try_settings()?;
        let logits = rows.held_out_logits(&selection)?;
        let chosen = selection.best(None)?;
        let all: Vec<_> = (0..folds.len()).collect();
        let linear = fit(chosen, task, &Subset::new(task, &rows.all, &all)?)?.into_head();
        let scores = Vec::try_from(logits.f_sigmoid()?.f_view([-1])?)?;
        let trained = TrainedHead {
            linear,
            reads,
            external_validation_logits: Tensor::f_zeros([0, task.outputs()], (Kind::Float, logits.device()))?,
            test_logits: logits,
        };
        let details =
            TrainingDetails::CrossFitted { settings: chosen, folds: rows.count, trials: selection.trials() };
        let report = TrainingReport::new(task, &trained, job.seed, details)?;
        let TrainedHead { linear, reads, .. } = trained;
        let head = Head::new(task.name(), task.labels.clone(), reads, Some(linear), task.output())?;
        let tokens = texts.iter().map(|text| text.read().of as u64).collect();
        Ok(Self { head, report, scores, tokens })
    }

    /// Each row's score by a head that has not seen it, from 0 to 1.
    #[must_use]
    pub fn scores(&self) -> &[f32] {
        &self.scores
    }

    /// The number of tokens of each row's text.
    #[must_use]
    pub fn tokens(&self) -> &[u64] {
        &self.tokens
    }

    /// How it was trained, and how well its scores agree with the rows'.
    #[must_use]
    pub fn report(&self) -> &TrainingReport {
        &self.report
    }

    /// Writes the head with a note into the job's output folder, and returns the head's folder. `section` becomes part of its
    /// card.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn write(self, job: &Job, note: &str, section: &str) -> Result<PathBuf> {
        save::same_encoder(job.model, job.out)?;
        save::head(job.out, &self.head.with_note(Some(note)), &self.report, job.command, section)
    }
}

/// Rows in folds.
struct FoldedRows<'a> {
    task: &'a HeadTask,
    all: LabelledFeatures,
    folds: &'a [usize],
    /// The number of folds.
    count: usize,
}

/// Handles on the same memory for another thread. A tensor can be sent to another thread, but not be shared with it.
struct Handles(Mutex<LabelledFeatures>);

impl Handles {
    fn new(all: &LabelledFeatures) -> Self {
        Self(Mutex::new(all.shallow_clone()))
    }

    fn get(&self) -> LabelledFeatures {
        self.0.lock().shallow_clone()
    }
}

/// What settings give on two folds, by a head that was fitted to all others.
struct PairTrial {
    settings: TrialSettings,
    folds: [usize; 2],
    /// The mean loss on each of the two.
    losses: [f64; 2],
    /// The rank correlation, averaged over the two.
    main_metric: f64,
}

impl PairTrial {
    fn mean_loss(&self) -> f64 {
        let [first, second] = self.losses;
        f64::midpoint(first, second)
    }
}

/// All settings on all pairs of folds.
struct Selection(Vec<PairTrial>);

impl<'a> FoldedRows<'a> {
    fn new(task: &'a HeadTask, all: LabelledFeatures, folds: &'a [usize]) -> Result<Self> {
        let count = folds.iter().max().map_or(0, |last| last + 1);
        ensure!(count >= 3, "there must be at least 3 folds, not {count}");
        Ok(Self { task, all, folds, count })
    }

    /// The rows whose fold meets a condition.
    fn rows(&self, is_meant: impl Fn(usize) -> bool) -> Vec<usize> {
        let folds = self.folds.iter().enumerate();
        folds.filter(|(_, fold)| is_meant(**fold)).map(|(row, _)| row).collect()
    }

    /// Tries all settings on all pairs of folds.
    fn try_settings(&self) -> Result<Selection> {
        let pairs =
            (0..self.count).flat_map(|first| (first + 1..self.count).map(move |second| [first, second]));
        let settings = L2.map(|l2| TrialSettings { l2, class_weights: ClassWeights::Uniform });
        let trials: Vec<_> = pairs.flat_map(|folds| settings.map(|settings| (folds, settings))).collect();
        let progress = ProgressDisplay::counting("fitting", trials.len())?;
        let handles = Handles::new(&self.all);
        let FoldedRows { task, .. } = self;
        let rows = |folds: [usize; 2]| self.rows(|fold| !folds.contains(&fold));
        let fold_rows: Vec<_> = (0..self.count).map(|fold| self.rows(|other| other == fold)).collect();
        let trials: Vec<(_, _, Vec<usize>)> =
            trials.into_iter().map(|(folds, settings)| (folds, settings, rows(folds))).collect();
        let trial = |all: &mut LabelledFeatures,
                     (folds, settings, rows): ([usize; 2], TrialSettings, Vec<usize>)| {
            let regression = fit(settings, task, &Subset::new(task, all, &rows)?)?;
            let measure = |fold: usize| -> Result<(f64, f64)> {
                let rows = fold_rows.get(fold).context("no such fold")?;
                let left_out = Subset::new(task, all, rows)?;
                let loss = regression.log_loss(&left_out.features, &left_out.weights)?;
                let logits = regression.logits(&left_out.features.features)?;
                Ok((loss, Quality::compute(task, &logits, &left_out.features.targets)?.main_metric()))
            };
            let [first, second] = folds;
            let (first, second) = (measure(first)?, measure(second)?);
            progress.add(1);
            let main_metric = f64::midpoint(first.1, second.1);
            Ok(PairTrial { settings, folds, losses: [first.0, second.0], main_metric })
        };
        let trials = trials.into_par_iter().map_init(|| handles.get(), trial).collect::<Result<_>>()?;
        progress.finish();
        Ok(Selection(trials))
    }

    /// Each row's logit by a head that was fitted to the other folds, `[rows, 1]`.
    fn held_out_logits(&self, selection: &Selection) -> Result<Tensor> {
        let handles = Handles::new(&self.all);
        let task = self.task;
        let folds: Vec<_> = (0..self.count)
            .map(|fold| {
                let (others, own) = (self.rows(|other| other != fold), self.rows(|other| other == fold));
                Ok((selection.best(Some(fold))?, others, own))
            })
            .collect::<Result<_>>()?;
        let score = |all: &mut LabelledFeatures,
                     (settings, others, own): (TrialSettings, Vec<usize>, Vec<usize>)| {
            let regression = fit(settings, task, &Subset::new(task, all, &others)?)?;
            let logits = regression.logits(&all.select(&own)?.features)?;
            Ok((own, Vec::<f32>::try_from(logits.f_view([-1])?)?))
        };
        let scored: Vec<(Vec<usize>, Vec<f32>)> =
            folds.into_par_iter().map_init(|| handles.get(), score).collect::<Result<_>>()?;
        let mut logits = vec![0.0f32; self.folds.len()];
        for (row, logit) in scored.iter().flat_map(|(rows, logits)| rows.iter().zip(logits)) {
            *logits.get_mut(*row).context("no such row")? = *logit;
        }
        Ok(Tensor::f_from_slice(&logits)?.f_view([-1, 1])?)
    }
}

impl Selection {
    /// The settings with the lowest loss. With `without`, they are those for heads that leave out this fold, and its rows have no
    /// say.
    fn best(&self, without: Option<usize>) -> Result<TrialSettings> {
        let losses = L2.map(|l2| {
            let of_settings = self.0.iter().filter(|trial| trial.settings.l2 == l2);
            let losses = of_settings.flat_map(|trial| {
                let [first, second] = trial.folds;
                let [on_first, on_second] = trial.losses;
                match without {
                    Some(fold) if fold == first => vec![on_second],
                    Some(fold) if fold == second => vec![on_first],
                    Some(_) => Vec::new(),
                    None => vec![on_first, on_second],
                }
            });
            (l2, losses.sum::<f64>())
        });
        let best = losses.into_iter().min_by(|a, b| a.1.total_cmp(&b.1)).context("no settings to try")?;
        Ok(TrialSettings { l2: best.0, class_weights: ClassWeights::Uniform })
    }

    /// All settings with their mean results.
    fn trials(&self) -> Vec<Trial> {
        let trial = |l2| {
            let of_settings: Vec<_> = self.0.iter().filter(|trial| trial.settings.l2 == l2).collect();
            let count = of_settings.len().max(1) as f64;
            Trial {
                settings: TrialSettings { l2, class_weights: ClassWeights::Uniform },
                log_loss: of_settings.iter().map(|trial| trial.mean_loss()).sum::<f64>() / count,
                main_metric: of_settings.iter().map(|trial| trial.main_metric).sum::<f64>() / count,
            }
        };
        L2.map(trial).into()
    }
}
