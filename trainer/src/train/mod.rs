//! Trains classifier heads, alone or together with the encoder, and reports how good they are on rows that they have not
//! seen.
//!
//! # Why not Python and PEFT?
//!
//! The encoder that is trained here is the code that serves it, with the same tokenizer, truncation and
//! pooling, so the reported quality is the quality that is served, and users need no second tool chain. With
//! `--method head`, which is all that most users need, a Python program would have to repeat these parts
//! exactly to fit one linear layer. Adapters are trained through the merged weight: its gradient is passed on
//! to the two low-rank factors by the chain rule, so no layer computes an extra product, the trained model is
//! bit for bit the one that is merged at load, and a resumed training ends where an uninterrupted one does.
//! The price is a training loop with its own AdamW ([`fine_tune()`]), which is never part of the serving
//! binary. Adapters have PEFT's file layout in both directions: users who prefer PEFT can train with it and
//! serve the result.

mod calibration;
mod card;
mod cross_fit;
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
mod trained;
mod weighting;

pub use calibration::Calibration;
pub use cross_fit::CrossFittedHead;
pub use data::{Data, TrainingRow, TrainingTarget};
pub use fine_tune::{Decay, Epoch, FineTuneSettings, History, Method, StopReason, StopSignal};
pub use job::Job;
pub use pipeline::{fine_tune, train_heads};
pub use plan::{HeadKind, HeadPlan, Plan, Source};
pub use quality::{MultiLabelQuality, Quality, ScoreQuality};
pub use report::{
    SourceQuality, SourceRows, SplitSizes, TrainingDetails, TrainingReport, Trial, TrialSettings,
};
pub use task::{HeadTask, load};
pub use weighting::ClassWeights;
