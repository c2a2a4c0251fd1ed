//! The heads that a training starts from: regressions on the encoder's vectors before it is trained, so that the encoder
//! does not learn from the gradients of random heads.

use anyhow::Result;
use tch::{Device, Kind, Tensor};

use super::network::Network;
use super::options::RunOptions;
use crate::train::progress::ProgressDisplay;
use crate::train::regression::{LabelledFeatures, LogisticRegression};
use crate::train::task::HeadTask;
use crate::train::texts::TokenizedTexts;
use llm_router_classifier::model::heads::HeadInput;

/// The factor of the squared weights.
const L2: f64 = 1e-5;

/// The maximum number of rows read for a head: more rows cost minutes, and do not improve the start of the
/// training.
const MOST_ROWS: usize = 5000;

/// Fits a regression for each head. Call it without a gradient graph.
pub(super) fn fit(
    network: &Network,
    tasks: &[HeadTask],
    reads: &[HeadInput],
    texts: &TokenizedTexts,
    options: &RunOptions,
) -> Result<Vec<LogisticRegression>> {
    let rows = tasks.iter().map(|task| some_of(&task.split.train).len()).sum();
    let progress = ProgressDisplay::counting("reading", rows)?;
    let done = |texts| {
        progress.add(texts);
        options.stop.check()
    };
    let mut regressions = Vec::new();
    for ((task, reads), tokens) in tasks.iter().zip(reads).zip(&texts.data) {
        let rows = &some_of(&task.split.train);
        let tokens: Vec<_> = rows.iter().filter_map(|&row| tokens.get(row)).collect();
        let features = network.vectors(&tokens, reads, done)?;
        let features = LabelledFeatures { kind: task.kind(), features, targets: task.targets_of(rows)? };
        let weights = task.row_weights(rows, &features.targets, task.plan.class_weights)?;
        let fit = || LogisticRegression::fit(&features, &weights, task.outputs(), L2);
        regressions.push(tch::with_grad(fit)?);
        options.stop.check()?;
    }
    progress.finish();
    Ok(regressions)
}

/// At most [`MOST_ROWS`] rows, at equal distances.
fn some_of(rows: &[usize]) -> Vec<usize> {
    rows.iter().copied().step_by(rows.len().div_ceil(MOST_ROWS).max(1)).collect()
}

/// Heads whose weights will be loaded from a checkpoint.
pub(super) fn empty(
    network: &Network,
    tasks: &[HeadTask],
    reads: &[HeadInput],
) -> Result<Vec<LogisticRegression>> {
    let zeros = |shape: &[i64]| Tensor::f_zeros(shape, (Kind::Float, Device::Cpu));
    let head = |(task, reads): (&HeadTask, &HeadInput)| {
        let (outputs, width) = (task.outputs(), reads.width(network.encoder.hidden_size()));
        Ok(LogisticRegression { weight: zeros(&[outputs, width])?, bias: zeros(&[outputs])? })
    };
    tasks.iter().zip(reads).map(head).collect()
}
