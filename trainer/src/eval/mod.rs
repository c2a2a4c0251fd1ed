//! Measures the quality of classifiers, and fits the thresholds and temperatures that they are used with.
//!
//! The rows of a file and the predictions of a head become the sections of an [`EvaluationReport`]: agreement of labels
//! ([`Evaluation`], [`Confusion`], [`Reliability`]), ranking ([`auroc`], [`recall_at`], [`spearman`]), and the value of a
//! router ([`RoutingQuality`], [`tradeoff`]). All of it is computation: nothing here runs a model.

mod abstention;
mod agreement;
mod calibration;
mod confusion;
mod dimension;
mod drawing;
pub mod few_shot;
mod ranking;
mod report;
mod routing;
mod rows;
mod sections;
pub mod temperature;
pub mod tradeoff;

pub use abstention::{Abstention, Coverage};
pub(crate) use agreement::fraction;
pub use agreement::{Evaluation, LabelEvaluation};
pub use calibration::{BINS, Bin, Reliability};
pub use confusion::Confusion;
pub use dimension::Dimension;
pub(crate) use drawing::CostQuality;
pub use ranking::{OperatingPoint, auroc, recall_at, spearman};
pub use report::{EvaluationReport, Section};
pub(crate) use routing::quantile;
pub use routing::{CurvePoint, Grades, RoutingQuality, random_apgr};
pub use rows::{Fields, LabelIndices, label_indices};
pub use sections::{
    ByGroup, Detection, FewShot, Group, GroupDetection, KeptQuality, MultiLabel, Prices, Score, SingleLabel,
    WinRate, WinRateSettings,
};
pub(crate) use sections::{
    KEPT_FRACTIONS, REVERSED, by_length, grades, length, mean_grades, need, ranks_in_reverse, routing_score,
    selection, win_rate_rows,
};
