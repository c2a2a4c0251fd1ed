//! The training texts of all heads as one set, so that a text of several heads is computed once for all of
//! them.

use std::collections::HashMap;

use anyhow::{Context, Result};
use tch::{Kind, Tensor};

use crate::train::data::PromptKey;
use crate::train::task::HeadTask;
use llm_router_classifier::model::tokenizer::Tokens;

/// A text, with the heads that learn from it.
pub(super) struct TrainingText {
    pub(super) tokens: Tokens,
    /// Pairs of a head's index in [`TrainingSet::heads`] and a row of its targets.
    pub(super) targets: Vec<(usize, i64)>,
}

/// The targets of one head.
pub(super) struct HeadTargets {
    /// As [`HeadTask::targets`] makes them.
    pub(super) targets: Tensor,
    /// The weight of each row, `[rows]`.
    pub(super) weights: Tensor,
}

/// The training texts of all heads, and the targets of each head.
pub(super) struct TrainingSet {
    pub(super) texts: Vec<TrainingText>,
    pub(super) heads: Vec<HeadTargets>,
}

impl TrainingSet {
    /// Collects the training rows of the tasks. `tokens` has all rows of each.
    pub(super) fn new(tasks: &[HeadTask], tokens: &[Vec<Tokens>]) -> Result<Self> {
        let most_rows = tasks.iter().map(|task| task.split.train.len()).max().unwrap_or(0);
        let mut set = Self { texts: Vec::new(), heads: Vec::new() };
        let mut by_text: HashMap<PromptKey, usize> = HashMap::new();
        for (head, (task, tokens)) in tasks.iter().zip(tokens).enumerate() {
            for (position, &row) in (0..).zip(&task.split.train) {
                let (text, tokens) = task.data.rows.get(row).zip(tokens.get(row)).context("no such row")?;
                let index = *by_text.entry(text.key()).or_insert_with(|| {
                    set.texts.push(TrainingText { tokens: tokens.clone(), targets: Vec::new() });
                    set.texts.len() - 1
                });
                set.texts.get_mut(index).context("no such text")?.targets.push((head, position));
            }
            set.heads.push(HeadTargets::new(task, most_rows)?);
        }
        Ok(set)
    }
}

impl HeadTargets {
    /// Rows are weighted by source and label, 1 on average. Heads are weighted by one over the square root of
    /// their number of rows, so that a large head does not drown a small one.
    fn new(task: &HeadTask, most_rows: usize) -> Result<Self> {
        let rows = &task.split.train;
        let targets = task.targets_of(rows)?;
        let weights = task.row_weights(rows, &targets, task.plan.class_weights)?;
        let factor = task.plan.loss_weight * (most_rows as f64 / rows.len().max(1) as f64).sqrt();
        let weights = weights.f_div(&weights.f_mean(Kind::Float)?)?.f_mul_scalar(factor)?;
        Ok(Self { targets, weights })
    }
}
