//! How the encoder is trained.

use std::time::Duration;

use serde::Serialize;

/// What of the encoder is trained.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// Low-rank adapters on all linear layers.
    Lora {
        /// Columns of B, rows of A.
        rank: i64,
        /// B · A is multiplied with this by the rank.
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
    /// Along half a cosine to 0.
    Cosine,
}

/// How the encoder and the heads on it are trained.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Settings {
    /// What of the encoder is trained.
    pub method: Method,
    /// Most passes over the data.
    pub epochs: usize,
    /// Epochs without a better validation score before it stops.
    pub patience: usize,
    /// Texts of one step of the optimiser.
    pub batch: usize,
    /// Tokens, with padding, that are computed at once; a batch with more goes in parts, whose gradients add up.
    pub batch_tokens: usize,
    /// The encoder's highest learning rate.
    pub learning_rate: f64,
    /// The heads' highest learning rate; their weights are large, since what they read has length 1.
    pub head_learning_rate: f64,
    /// Share of the steps until the learning rate is highest.
    pub warm_up: f64,
    /// How it falls then.
    pub decay: Decay,
    /// AdamW's weight decay, of matrices.
    pub weight_decay: f64,
    /// Longest gradient, of all parameters together.
    pub clip: f64,
    /// Share of numbers that are zeroed by chance, in the encoder and in what heads read.
    pub dropout: f64,
    /// Share of the probability that is spread over all labels.
    pub label_smoothing: f64,
    /// Decides order, dropout and the adapters' first numbers.
    pub seed: u64,
    /// When it stops at the latest.
    #[serde(skip)]
    pub time_budget: Option<Duration>,
    /// How often the state is kept for `--resume`, beside every epoch's end.
    #[serde(skip)]
    pub checkpoint_every: Duration,
}
