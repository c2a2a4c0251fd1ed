//! The results of a training.

use std::collections::BTreeMap;

use tch::Tensor;

use super::fine_tune::History;
use llm_router_classifier::model::adapter::Adapter;
use llm_router_classifier::model::heads::{HeadInput, Linear};

/// A trained head, with its predictions for the rows that are reported on.
pub(super) struct TrainedHead {
    pub(super) linear: Linear,
    pub(super) reads: HeadInput,
    /// Logits of the test rows.
    pub(super) test_logits: Tensor,
    /// Logits of the external validation data.
    pub(super) external_validation_logits: Tensor,
}

/// An encoder and heads that were trained together.
pub(super) struct FineTuned {
    pub(super) heads: Vec<TrainedHead>,
    pub(super) encoder: TrainedEncoder,
    pub(super) history: History,
}

/// How an encoder differs from the one that it was trained from.
pub(super) enum TrainedEncoder {
    /// By an adapter.
    Adapter(Adapter),
    /// By these tensors, which have the checkpoint's names.
    Weights(BTreeMap<String, Tensor>),
}
