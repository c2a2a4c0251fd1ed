//! How the encoder and heads on it are trained.

use std::time::Duration;

use serde::Serialize;

/// Which part of the encoder is trained.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// Low-rank adapters of all linear layers.
    Lora {
        /// Columns of B and rows of A.
        rank: i64,
        /// B · A is scaled by `alpha` / `rank`.
        alpha: f64,
    },
    /// All weights but the embeddings.
    Full,
}

/// How the learning rate falls after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Decay {
    /// Along a straight line to 0.
    Linear,
    /// Along half a cosine wave to 0.
    Cosine,
}

/// How the encoder and the heads on it are trained.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FineTuneSettings {
    /// Which part of the encoder is trained.
    pub method: Method,
    /// Maximum number of passes over the data.
    pub epochs: usize,
    /// Training stops after this number of epochs without a better validation score.
    pub patience: usize,
    /// Texts of one step of the optimiser.
    pub batch: usize,
    /// Tokens of one forward pass, padding included. The gradients of a batch with more tokens are accumulated.
    pub batch_tokens: usize,
    /// The encoder's highest learning rate.
    pub learning_rate: f64,
    /// The heads' highest learning rate. Their weights are large, since their input has length 1.
    pub head_learning_rate: f64,
    /// The fraction of the steps in which the learning rate rises.
    pub warm_up: f64,
    /// How it falls after that.
    pub decay: Decay,
    /// AdamW's weight decay. It applies to matrices.
    pub weight_decay: f64,
    /// The maximum length of the gradient of all parameters together.
    pub clip: f64,
    /// The fraction of values that dropout zeroes, in the encoder and in the heads' input.
    pub dropout: f64,
    /// The fraction of the probability that is spread over all labels.
    pub label_smoothing: f64,
    /// The seed of the order of the texts, of dropout and of the adapters' initial values.
    pub seed: u64,
    /// The latest time at which training stops.
    #[serde(skip)]
    pub time_budget: Option<Duration>,
    /// Interval between checkpoints for `--resume`. There is one after each epoch, too.
    #[serde(skip)]
    pub checkpoint_every: Duration,
}
