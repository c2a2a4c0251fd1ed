//! Where heads begin: at a regression on what the encoder says before it is trained, so that it does not learn from heads
//! that know nothing.

use anyhow::Result;
use tch::{Device, Kind, Tensor};

use super::network::Network;
use super::run::Run;
use crate::train::progress::Progress;
use crate::train::regression::{Examples, Linear};
use crate::train::task::HeadTask;
use crate::train::texts::Texts;
use llm_router_classifier::model::heads::Reads;

/// Factor of the squared weights.
const L2: f64 = 1e-5;

/// A regression for each head. Call it without a gradient graph.
pub(super) fn fit(
    network: &Network,
    tasks: &[HeadTask],
    reads: &[Reads],
    texts: &Texts,
    run: &Run,
) -> Result<Vec<Linear>> {
    let progress = Progress::counting("reading", tasks.iter().map(|task| task.split.fit.len()).sum())?;
    let done = |texts| {
        progress.add(texts);
        run.stop.check()
    };
    let mut linears = Vec::new();
    for ((task, reads), tokens) in tasks.iter().zip(reads).zip(&texts.data) {
        let fit = &task.split.fit;
        let tokens: Vec<_> = fit.iter().filter_map(|&row| tokens.get(row)).collect();
        let features = network.vectors(&tokens, reads, done)?;
        let examples = Examples { kind: task.kind(), features, targets: task.targets_of(fit)? };
        let weights = task.row_weights(fit, &examples.targets, task.plan.class_weights)?;
        linears.push(tch::with_grad(|| Linear::fit(&examples, &weights, task.outputs(), L2))?);
        run.stop.check()?;
    }
    progress.finish();
    Ok(linears)
}

/// Heads that will be read from a file.
pub(super) fn empty(network: &Network, tasks: &[HeadTask], reads: &[Reads]) -> Result<Vec<Linear>> {
    let zeros = |shape: &[i64]| Tensor::f_zeros(shape, (Kind::Float, Device::Cpu));
    let head = |(task, reads): (&HeadTask, &Reads)| {
        let (outputs, width) = (task.outputs(), reads.width(network.encoder.hidden_size()));
        Ok(Linear { weight: zeros(&[outputs, width])?, bias: zeros(&[outputs])? })
    };
    tasks.iter().zip(reads).map(head).collect()
}
