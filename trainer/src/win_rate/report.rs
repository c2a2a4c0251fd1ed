//! The results of routing between two models by a head, with confidence intervals, compared with simpler
//! routers.

mod compute;

use serde::Serialize;

use super::bootstrap::{Bootstrap, Estimate, LEVEL, RESAMPLES};
use super::names::Names;
use super::ranking::Ranking;
use crate::eval::mean_grades;
use crate::eval::tradeoff::{GradedRow, StrongWhen, ThresholdPoint};

/// Scored prompts, each by a head that has not seen it.
#[derive(Debug)]
pub struct ScoredPrompts {
    /// Scores, grades and costs. A low score goes to the strong model.
    pub rows: Vec<GradedRow>,
    /// Prompt lengths in characters.
    pub lengths: Vec<f64>,
    /// The fold of each prompt.
    pub folds: Vec<usize>,
    /// The group of each prompt. Intervals are over groups.
    pub groups: Vec<usize>,
    /// Whether a policy sends each prompt to the strong model now; none for prompts that it sends elsewhere.
    pub current: Option<Vec<Option<bool>>>,
}

/// What the report is about.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Subject {
    /// The head's name.
    pub head: String,
    /// The models' names, if they are known.
    pub models: Option<Names>,
    /// The files and folders of the rows.
    pub sources: Vec<String>,
    /// The number of graded rows. Rows with the same prompt are one prompt.
    pub rows: usize,
    /// The number of rows without grades, which were left out.
    pub ungraded: usize,
    /// The unit of costs.
    pub cost_unit: CostUnit,
    /// The name of the policy that is compared, if there is one.
    pub policy: Option<String>,
}

/// The unit of costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CostUnit {
    /// Dollars.
    Dollars,
    /// Strong calls: prices are not known.
    StrongCalls,
}

/// The value of a head for routing between two models.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// What it is about.
    #[serde(flatten)]
    pub subject: Subject,
    /// The number of prompts.
    pub prompts: usize,
    /// The number of groups of prompts, which were resampled.
    pub groups: usize,
    /// The number of folds.
    pub folds: usize,
    /// The seed of folds and resamples.
    pub seed: u64,
    /// The number of resamples.
    pub resamples: u64,
    /// The probability that an interval covers the true value.
    pub level: f64,
    /// The number of prompts on which the weak model has the better grade.
    pub weak_better: usize,
    /// The number of prompts on which the strong model has the better grade.
    pub strong_better: usize,
    /// The weak model's mean grade.
    pub weak: Estimate,
    /// The strong model's mean grade.
    pub strong: Estimate,
    /// Their difference.
    pub gap: Estimate,
    /// The results of routing; none if the strong model is not better on these prompts.
    pub routing: Option<RoutingFigures>,
}

/// The results of routing.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RoutingFigures {
    /// The average performance gap recovered by the head. Random routing has 0.5.
    pub head_apgr: Estimate,
    /// The same by prompt length.
    pub length_apgr: Estimate,
    /// The head's minus that by prompt length, on the same resamples.
    pub apgr_difference: Estimate,
    /// The APGR of a router that knows the grades.
    pub oracle_apgr: f64,
    /// Which lengths go to the strong model: the better direction on these prompts.
    pub strong_when_length: StrongWhen,
    /// Mean cost of weak calls alone.
    pub weak_cost: f64,
    /// Mean cost of strong calls alone.
    pub strong_cost: f64,
    /// The strong calls that keep fractions of the strong model's quality.
    pub targets: Vec<Target>,
    /// The results of the current policy.
    pub current: Option<CurrentFigures>,
    /// The head's curve, by rising fraction of strong calls.
    pub curve: Vec<CurvePoint>,
    /// The results of the head's thresholds; an even selection if there are many.
    pub tradeoff: Vec<ThresholdPoint>,
    /// The same for prompt length.
    pub tradeoff_by_length: Vec<ThresholdPoint>,
}

/// The strong calls that keep a fraction of the strong model's mean grade.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Target {
    /// The fraction of the strong model's mean grade to keep.
    pub quality: f64,
    /// The fraction of the gap between the models that this recovers; not positive where the weak model alone keeps as much.
    pub recovered: f64,
    /// The head's threshold with the fewest strong calls. Scores up to it go to the strong model.
    pub threshold: f32,
    /// The fewest strong calls that keep it, by the head's score.
    pub head: Estimate,
    /// The same by prompt length.
    pub length: Estimate,
    /// The same at random.
    pub random: Estimate,
    /// The head's strong calls minus those by prompt length, on the same resamples.
    pub difference: Estimate,
    /// Mean cost at the threshold.
    pub cost: f64,
    /// The results with thresholds that were chosen on the prompts of other folds.
    pub held_out: HeldOut,
}

/// The head's results on prompts that did not influence the threshold.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HeldOut {
    /// The fraction of strong calls.
    pub strong_fraction: Estimate,
    /// The mean grade as a fraction of the strong model's.
    pub kept: Estimate,
    /// The fraction of the gap that is recovered.
    pub recovered: Estimate,
    /// Mean cost.
    pub cost: Estimate,
}

/// The results of the current policy on the prompts that it sends to either model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CurrentFigures {
    /// The number of these prompts.
    pub prompts: usize,
    /// The number of prompts that it rejects or sends to other models.
    pub elsewhere: usize,
    /// The fraction of strong calls.
    pub strong_fraction: Estimate,
    /// The mean grade.
    pub quality: Estimate,
    /// The mean grade as a fraction of the strong model's.
    pub kept: Estimate,
    /// Mean cost.
    pub cost: f64,
    /// The head's mean grade at the same fraction of strong calls, minus the policy's.
    pub head_minus_current: Estimate,
}

/// A point of the head's curve.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct CurvePoint {
    /// The fraction of strong calls.
    pub strong_fraction: f64,
    /// Mean cost.
    pub cost: f64,
    /// The mean grade.
    pub quality: Estimate,
}

impl Report {
    /// Computes the report. `quality` is a fraction of the strong model's quality to report on, in addition to the usual ones.
    ///
    /// None without prompts.
    #[must_use]
    pub fn compute(subject: Subject, prompts: &ScoredPrompts, quality: f64, seed: u64) -> Option<Self> {
        let rows = &prompts.rows;
        let bootstrap = Bootstrap::new(&prompts.groups, seed);
        let head = Ranking::by_head(rows.clone());
        let [weak, strong, gap] = bootstrap.estimate(|sample| {
            let means = mean_grades(&head.sample(sample));
            (!sample.is_empty()).then_some([means.weak, means.strong, means.strong - means.weak])
        })?;
        let better = |strong: bool| {
            let gains = rows.iter().map(|row| row.strong.quality - row.weak.quality);
            gains.filter(|gain| if strong { *gain > 0.0 } else { *gain < 0.0 }).count()
        };
        Some(Self {
            prompts: rows.len(),
            groups: bootstrap.groups(),
            folds: prompts.folds.iter().max().map_or(0, |last| last + 1),
            seed,
            resamples: RESAMPLES,
            level: LEVEL,
            weak_better: better(false),
            strong_better: better(true),
            weak,
            strong,
            gap,
            routing: RoutingFigures::compute(&head, prompts, quality, &bootstrap),
            subject,
        })
    }

    /// The number of prompts on which the models have different grades.
    #[must_use]
    pub fn different(&self) -> usize {
        self.weak_better + self.strong_better
    }

    /// The strong calls that keep this fraction of the strong model's quality, if they were computed.
    #[must_use]
    pub fn target(&self, quality: f64) -> Option<&Target> {
        self.routing.as_ref()?.targets.iter().find(|target| target.quality == quality)
    }
}

#[cfg(test)]
mod tests;
