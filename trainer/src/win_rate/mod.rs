//! From prompts with the grades of two models to a head that chooses between these models, if it beats prompt
//! length.
//!
//! The head is fitted by cross-fitting, so that each prompt has a score by a head that has not seen it. [`Report`] measures
//! routing by these scores, with confidence intervals, against prompt length, random routing and the policy in use. [`gate`]
//! rejects heads that do not beat prompt length.

mod bootstrap;
mod current_policy;
mod files;
mod folds;
pub mod gate;
mod groups;
mod names;
mod pair;
mod ranking;
mod report;
mod rows;
mod text;
mod usage;

pub use bootstrap::{Bootstrap, Estimate, LEVEL, RESAMPLES};
pub use current_policy::{CurrentPolicy, find as find_policy};
pub use files::ReportFiles;
pub use folds::assign as assign_folds;
pub use names::Names;
pub use pair::Pair;
pub use report::{
    CostUnit, CurrentFigures, CurvePoint, HeldOut, Report, RoutingFigures, ScoredPrompts, Subject, Target,
};
pub use rows::{Completion, GradedFields, GradedPrompt, GradedPrompts, prompt_length};
pub use usage::{TokenCounts, UnreadableUsage};
