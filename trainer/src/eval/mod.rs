//! Measures how good classifiers are, and finds the numbers by which they are used.
//!
//! Rows of a file and what a head says of them become the sections of a [`Report`]: agreement of labels
//! ([`Evaluation`], [`Confusion`], [`Reliability`]), ranking ([`auroc`], [`recall_at`], [`spearman`]), and what a router
//! is worth ([`RoutingQuality`], [`tradeoff`]).

mod agreement;
mod calibration;
mod confusion;
mod dimension;
mod drawing;
pub mod examples;
mod ranking;
mod report;
mod routing;
mod rows;
mod sections;
pub mod temperature;
pub mod tradeoff;

pub(crate) use agreement::share;
pub use agreement::{Evaluation, LabelEvaluation};
pub use calibration::{BINS, Bin, Reliability};
pub use confusion::Confusion;
pub use dimension::Dimension;
pub use ranking::{OperatingPoint, auroc, recall_at, spearman};
pub use report::{Report, Section};
pub use routing::{Grades, Point, RoutingQuality, random_apgr};
pub use rows::{Fields, LabelIndices, label_indices};
pub use sections::{
    Detection, Examples, Keeps, MultiLabel, Prices, Score, SingleLabel, WinRate, WinRateSettings,
};
pub(crate) use sections::{routing_score, win_rate_rows};
