//! How well a head's logits agree with what it should have answered.

mod numbers;
mod tags;

use anyhow::Result;
use serde::Serialize;
use tch::Tensor;

pub use numbers::ScoreQuality;
pub use tags::Tags;

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
            Self::Score(quality) => quality.score.spearman.unwrap_or(0.0),
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
