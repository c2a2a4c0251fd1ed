//! Rows in folds, and the heads that are fitted to some of them.

use anyhow::{Context, Result, ensure};
use parking_lot::Mutex;
use rayon::prelude::*;
use tch::Tensor;

use super::selection::{PairTrial, Selection};
use crate::train::probe::{Subset, fit, measure};
use crate::train::progress::ProgressDisplay;
use crate::train::regression::LabelledFeatures;
use crate::train::report::TrialSettings;
use crate::train::task::HeadTask;

/// Rows in folds.
pub(super) struct FoldedRows<'a> {
    task: &'a HeadTask,
    pub(super) all: LabelledFeatures,
    folds: &'a [usize],
    /// The number of folds.
    pub(super) count: usize,
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

/// The rows whose fold meets a condition.
fn rows_in(folds: &[usize], is_meant: impl Fn(usize) -> bool) -> Vec<usize> {
    let folds = folds.iter().enumerate();
    folds.filter(|(_, fold)| is_meant(**fold)).map(|(row, _)| row).collect()
}

impl<'a> FoldedRows<'a> {
    pub(super) fn new(task: &'a HeadTask, all: LabelledFeatures, folds: &'a [usize]) -> Result<Self> {
        let count = folds.iter().max().map_or(0, |last| last + 1);
        ensure!(count >= 3, "there must be at least 3 folds, not {count}");
        Ok(Self { task, all, folds, count })
    }

    /// Tries all settings on all pairs of folds.
    pub(super) fn try_settings(&self) -> Result<Selection> {
        let pairs =
            (0..self.count).flat_map(|first| (first + 1..self.count).map(move |second| [first, second]));
        let settings = Selection::settings();
        let trials: Vec<_> = pairs.flat_map(|folds| settings.map(|settings| (folds, settings))).collect();
        let progress = ProgressDisplay::counting("fitting", trials.len())?;
        let handles = Handles::new(&self.all);
        let FoldedRows { task, folds, .. } = self;
        let fold_rows: Vec<_> = (0..self.count).map(|fold| rows_in(folds, |other| other == fold)).collect();
        let trial = |all: &mut LabelledFeatures, (pair, settings): ([usize; 2], TrialSettings)| {
            let rows = rows_in(folds, |fold| !pair.contains(&fold));
            let regression = fit(settings, task, &Subset::new(task, all, &rows)?)?;
            let measure = |fold: usize| {
                let rows = fold_rows.get(fold).context("no such fold")?;
                measure(&regression, task, &Subset::new(task, all, rows)?)
            };
            let [first, second] = pair;
            let (first, second) = (measure(first)?, measure(second)?);
            progress.add(1);
            let main_metric = f64::midpoint(first.1, second.1);
            Ok(PairTrial { settings, folds: pair, losses: [first.0, second.0], main_metric })
        };
        let trials = trials.into_par_iter().map_init(|| handles.get(), trial).collect::<Result<_>>()?;
        progress.finish();
        Ok(Selection(trials))
    }

    /// Each row's logit by a head that was fitted to the other folds, `[rows, 1]`.
    pub(super) fn held_out_logits(&self, selection: &Selection) -> Result<Tensor> {
        let handles = Handles::new(&self.all);
        let FoldedRows { task, folds, .. } = self;
        let score = |all: &mut LabelledFeatures, fold: usize| {
            let (others, own) = (rows_in(folds, |it| it != fold), rows_in(folds, |it| it == fold));
            let regression = fit(selection.best(Some(fold))?, task, &Subset::new(task, all, &others)?)?;
            let logits = regression.logits(&all.select(&own)?.features)?;
            Ok((own, Vec::<f32>::try_from(logits.f_view([-1])?)?))
        };
        let scored: Vec<(Vec<usize>, Vec<f32>)> =
            (0..self.count).into_par_iter().map_init(|| handles.get(), score).collect::<Result<_>>()?;
        let mut logits = vec![0.0f32; self.folds.len()];
        for (row, logit) in scored.iter().flat_map(|(rows, logits)| rows.iter().zip(logits)) {
            *logits.get_mut(*row).context("no such row")? = *logit;
        }
        Ok(Tensor::f_from_slice(&logits)?.f_view([-1, 1])?)
    }
}
