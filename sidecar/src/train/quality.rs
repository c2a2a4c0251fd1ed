//! How well a head's logits agree with what it should have answered.

use anyhow::Result;
use serde::Serialize;
use tch::Tensor;

use super::plan::Kind;
use super::task::HeadTask;
use crate::eval::Evaluation;

/// Agreement on one set of rows.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Quality {
    /// Of one label a text.
    Label(Evaluation),
    /// Of several labels a text.
    Labels(Tags),
    /// Of numbers.
    Score(ScoreQuality),
}

/// Agreement of several labels; one is answered if its probability is at least a half.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Tags {
    /// Number of rows.
    pub rows: usize,
    /// F1 of all answers together.
    pub micro_f1: f64,
    /// Each label.
    pub labels: Vec<Tag>,
}

/// Agreement of one of several labels.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Tag {
    /// The label.
    pub label: String,
    /// Rows that have it.
    pub rows: usize,
    /// Harmonic mean of precision and recall.
    pub f1: f64,
}

/// Agreement of numbers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ScoreQuality {
    /// Number of rows.
    pub rows: usize,
    /// Of the mean of the dimensions, over the rows of which all are known.
    pub score: Dimension,
    /// Each dimension, over the rows of which it is known.
    pub dimensions: Vec<Dimension>,
}

/// Agreement of one number.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Dimension {
    /// Its name.
    pub name: String,
    /// Rows of which it is known.
    pub rows: usize,
    /// Rank correlation; 0 if one side is always the same.
    pub spearman: f64,
    /// Mean distance.
    pub mean_absolute_error: f64,
    /// The same of always answering these rows' mean.
    pub of_the_mean: f64,
}

impl Quality {
    /// Compares logits `[rows, outputs]` with targets as [`HeadTask::targets`] makes them.
    ///
    /// # Errors
    /// If libtorch fails.
    pub(super) fn of(task: &HeadTask, logits: &Tensor, targets: &Tensor) -> Result<Self> {
        Ok(match task.kind() {
            Kind::SingleLabel => {
                let predicted = Vec::<i64>::try_from(logits.f_argmax(-1, false)?)?;
                Self::Label(Evaluation::new(&task.labels, &predicted, &Vec::<i64>::try_from(targets)?))
            }
            Kind::MultiLabel => Self::Labels(Tags::new(&task.labels, &columns(logits)?, &columns(targets)?)),
            Kind::Score => {
                let numbers = columns(&logits.f_sigmoid()?)?;
                Self::Score(ScoreQuality::new(task, &numbers, &columns(targets)?))
            }
        })
    }

    /// Number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        match self {
            Self::Label(Evaluation { rows, .. })
            | Self::Labels(Tags { rows, .. })
            | Self::Score(ScoreQuality { rows, .. }) => *rows,
        }
    }

    /// What training tries to make large: accuracy, micro-F1, or the score's rank correlation.
    #[must_use]
    pub fn figure(&self) -> f64 {
        match self {
            Self::Label(evaluation) => evaluation.accuracy,
            Self::Labels(tags) => tags.micro_f1,
            Self::Score(quality) => quality.score.spearman,
        }
    }

    /// What [`Quality::figure`] is.
    #[must_use]
    pub fn figure_name(&self) -> &'static str {
        match self {
            Self::Label(_) => "accuracy",
            Self::Labels(_) => "micro-F1",
            Self::Score(_) => "Spearman",
        }
    }
}

/// `[rows, outputs]` as one vector an output.
fn columns(tensor: &Tensor) -> Result<Vec<Vec<f32>>> {
    Ok(Vec::try_from(tensor.f_transpose(0, 1)?.f_contiguous()?)?)
}

impl Tags {
    fn new(names: &[String], logits: &[Vec<f32>], truth: &[Vec<f32>]) -> Self {
        let (mut right, mut given) = (0, 0);
        let mut labels = Vec::new();
        for ((name, logits), truth) in names.iter().zip(logits).zip(truth) {
            let pairs =
                || logits.iter().map(|logit| *logit >= 0.0).zip(truth.iter().map(|truth| *truth > 0.5));
            let hits = pairs().filter(|(answer, truth)| *answer && *truth).count();
            let answers = pairs().filter(|(answer, _)| *answer).count();
            let rows = pairs().filter(|(_, truth)| *truth).count();
            labels.push(Tag { label: name.clone(), rows, f1: share(2 * hits, answers + rows) });
            right += hits;
            given += answers + rows;
        }
        Self { rows: truth.first().map_or(0, Vec::len), micro_f1: share(2 * right, given), labels }
    }
}

impl ScoreQuality {
    fn new(task: &HeadTask, numbers: &[Vec<f32>], truth: &[Vec<f32>]) -> Self {
        let rows = truth.first().map_or(0, Vec::len);
        let shares = task.shares();
        let score = |columns: &[Vec<f32>]| -> Vec<f32> {
            let of_row = |row| {
                columns
                    .iter()
                    .zip(&shares)
                    .filter(|(_, share)| **share > 0.0)
                    .map(move |(column, share)| column.get(row).copied().unwrap_or(f32::NAN) * share)
            };
            (0..rows).map(|row| of_row(row).sum()).collect()
        };
        let dimensions = task.labels.iter().zip(numbers).zip(truth);
        Self {
            rows,
            score: Dimension::new("score", &score(numbers), &score(truth)),
            dimensions: dimensions
                .map(|((name, numbers), truth)| Dimension::new(name, numbers, truth))
                .collect(),
        }
    }
}

impl Dimension {
    fn new(name: &str, numbers: &[f32], truth: &[f32]) -> Self {
        let known: Vec<(f64, f64)> = numbers
            .iter()
            .zip(truth)
            .filter(|(_, truth)| !truth.is_nan())
            .map(|(number, truth)| (f64::from(*number), f64::from(*truth)))
            .collect();
        let (numbers, truth): (Vec<f64>, Vec<f64>) = known.iter().copied().unzip();
        let middle = mean(&truth);
        let distances: Vec<_> = known.iter().map(|(number, truth)| (number - truth).abs()).collect();
        let of_the_mean: Vec<_> = truth.iter().map(|truth| (truth - middle).abs()).collect();
        Self {
            name: name.to_owned(),
            rows: known.len(),
            spearman: correlation(&ranks(&numbers), &ranks(&truth)),
            mean_absolute_error: mean(&distances),
            of_the_mean: mean(&of_the_mean),
        }
    }
}

fn mean(numbers: &[f64]) -> f64 {
    numbers.iter().sum::<f64>() / numbers.len().max(1) as f64
}

/// Each number's rank; equal ones share the mean of theirs.
fn ranks(numbers: &[f64]) -> Vec<f64> {
    let mut sorted: Vec<_> = numbers.iter().copied().enumerate().collect();
    sorted.sort_by(|a, b| a.1.total_cmp(&b.1));
    let mut ranks = vec![0.0; numbers.len()];
    let mut rank = 0;
    for equal in sorted.chunk_by(|a, b| a.1 == b.1) {
        let shared = rank as f64 + (equal.len() as f64 - 1.0) / 2.0;
        for (index, _) in equal {
            if let Some(place) = ranks.get_mut(*index) {
                *place = shared;
            }
        }
        rank += equal.len();
    }
    ranks
}

/// Pearson's; 0 if one side is always the same.
fn correlation(a: &[f64], b: &[f64]) -> f64 {
    let (mean_a, mean_b) = (mean(a), mean(b));
    let (mut both, mut only_a, mut only_b) = (0.0, 0.0, 0.0);
    for (a, b) in a.iter().zip(b) {
        let (a, b) = (a - mean_a, b - mean_b);
        both += a * b;
        only_a += a * a;
        only_b += b * b;
    }
    let product = only_a * only_b;
    if product > 0.0 { both / product.sqrt() } else { 0.0 }
}

fn share(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_correlate_by_order_alone() {
        let quality = Dimension::new("x", &[0.1, 0.2, 0.9, 0.5], &[0.0, 0.3, 1.0, f32::NAN]);
        assert_eq!((quality.rows, quality.spearman), (3, 1.0));
        assert!((quality.mean_absolute_error - 0.1).abs() < 1e-6);
        assert_eq!(Dimension::new("x", &[0.5, 0.5], &[0.0, 1.0]).spearman, 0.0);
        assert_eq!(ranks(&[3.0, 1.0, 1.0]), [2.0, 0.5, 0.5]);
    }

    #[test]
    fn several_labels_are_counted_together_and_each() {
        let names = ["a", "b"].map(str::to_owned);
        let logits = [vec![1.0, -1.0], vec![1.0, 1.0]];
        let tags = Tags::new(&names, &logits, &[vec![1.0, 1.0], vec![1.0, 0.0]]);
        assert_eq!((tags.rows, tags.micro_f1), (2, 4.0 / 6.0));
        assert_eq!((tags.labels[0].rows, tags.labels[0].f1), (2, 2.0 / 3.0));
    }
}
