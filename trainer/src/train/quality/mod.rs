//! The quality of a head: how well its logits agree with the targets.

mod multi_label;
mod score;

use anyhow::Result;
use serde::Serialize;
use tch::Tensor;

pub use multi_label::MultiLabelQuality;
pub use score::ScoreQuality;

use super::plan::HeadKind;
use super::task::HeadTask;
use crate::eval::Evaluation;

/// The quality of a head on some rows.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Quality {
    /// Each text has one label.
    SingleLabel(Evaluation),
    /// Each text has any number of labels.
    MultiLabel(MultiLabelQuality),
    /// Each text has a number for each dimension.
    Score(ScoreQuality),
}

impl Quality {
    /// Compares logits `[rows, outputs]` with targets as [`HeadTask::targets`] makes them.
    ///
    /// # Errors
    /// If libtorch fails.
    pub(super) fn compute(task: &HeadTask, logits: &Tensor, targets: &Tensor) -> Result<Self> {
        Ok(match task.kind() {
            HeadKind::SingleLabel => {
                let predicted = Vec::<i64>::try_from(logits.f_argmax(-1, false)?)?;
                let targets = Vec::<i64>::try_from(targets)?;
                Self::SingleLabel(Evaluation::compute(&task.labels, &predicted, &targets))
            }
            HeadKind::MultiLabel => {
                let (logits, targets) = (columns(logits)?, columns(targets)?);
                Self::MultiLabel(MultiLabelQuality::compute(&task.labels, &logits, &targets))
            }
            HeadKind::Score => {
                let predicted = columns(&logits.f_sigmoid()?)?;
                Self::Score(ScoreQuality::compute(task, &predicted, &columns(targets)?))
            }
        })
    }

    /// The number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        match self {
            Self::SingleLabel(Evaluation { rows, .. })
            | Self::MultiLabel(MultiLabelQuality { rows, .. })
            | Self::Score(ScoreQuality { rows, .. }) => *rows,
        }
    }

    /// The metric that training maximizes: accuracy, micro-F1, or the score's rank correlation.
    #[must_use]
    pub fn main_metric(&self) -> f64 {
        match self {
            Self::SingleLabel(evaluation) => evaluation.accuracy,
            Self::MultiLabel(quality) => quality.micro_f1,
            Self::Score(quality) => quality.score.spearman.unwrap_or(0.0),
        }
    }

    /// The name of [`Quality::main_metric`].
    #[must_use]
    pub fn main_metric_name(&self) -> &'static str {
        match self {
            Self::SingleLabel(_) => "accuracy",
            Self::MultiLabel(_) => "micro-F1",
            Self::Score(_) => "Spearman",
        }
    }
}

/// The columns of `[rows, outputs]`: a vector for each output.
fn columns(tensor: &Tensor) -> Result<Vec<Vec<f32>>> {
    Ok(Vec::try_from(tensor.f_transpose(0, 1)?.f_contiguous()?)?)
}
