//! Trains heads, alone or together with the encoder, and reports how good they are on rows they have not seen.

mod calibrated;
mod card;
mod data;
mod embed;
mod fine_tune;
mod job;
mod loss;
mod pipeline;
mod plan;
mod probe;
mod progress;
mod quality;
mod regression;
mod report;
mod save;
mod split;
mod task;
mod texts;
mod weighting;

pub use calibrated::Calibration;
pub use data::{Data, Row, Target};
pub use fine_tune::{Decay, Ended, Epoch, History, Method, Settings, Stop};
pub use job::Job;
pub use pipeline::{fine_tune, train_heads};
pub use plan::{HeadPlan, Kind, Plan, Source};
pub use quality::{Quality, ScoreQuality, Tags};
pub use report::{How, Report, SourceQuality, SourceRows, SplitSizes, Trial, TrialSettings};
pub use task::{HeadTask, load};
pub use weighting::ClassWeights;
