//! What comes of a training.

use std::collections::BTreeMap;

use tch::Tensor;

use super::history::History;
use llm_router_classifier::model::adapter::Adapter;
use llm_router_classifier::model::heads::{Linear, Reads};

/// A head with its numbers and what it says of the rows that are reported on.
pub(in crate::train) struct TrainedHead {
    pub(in crate::train) linear: Linear,
    pub(in crate::train) reads: Reads,
    /// Logits of the held-out rows.
    pub(in crate::train) held_out: Tensor,
    /// Logits of the rows for validation.
    pub(in crate::train) validation: Tensor,
}

/// What was trained.
pub(in crate::train) struct Trained {
    pub(in crate::train) heads: Vec<TrainedHead>,
    pub(in crate::train) encoder: ChangedEncoder,
    pub(in crate::train) history: History,
}

/// What became of the encoder.
pub(in crate::train) enum ChangedEncoder {
    /// An adapter belongs to it.
    Adapter(Adapter),
    /// Some of its tensors, by the checkpoint's names.
    Weights(BTreeMap<String, Tensor>),
}
