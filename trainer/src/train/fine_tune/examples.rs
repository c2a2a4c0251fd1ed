//! The texts of all heads as one set: a text that several heads have is computed once for all of them.

use std::collections::HashMap;

use anyhow::{Context, Result};
use tch::{Kind, Tensor};

use crate::train::task::HeadTask;
use llm_router_classifier::model::tokenizer::Tokens;

/// A text with what heads should answer.
pub(super) struct Example {
    pub(super) tokens: Tokens,
    /// Indices of heads, and of rows in [`Examples::heads`].
    pub(super) answers: Vec<(usize, i64)>,
}

/// What one head should answer.
pub(super) struct Answers {
    /// As [`HeadTask::targets`] makes them.
    pub(super) targets: Tensor,
    /// What each row counts, `[rows]`.
    pub(super) weights: Tensor,
}

/// All texts to be fitted, and all heads' answers.
pub(super) struct Examples {
    pub(super) texts: Vec<Example>,
    pub(super) heads: Vec<Answers>,
}

impl Examples {
    /// Of the tasks' rows that are to be fitted; `tokens` are of all their rows.
    pub(super) fn new(tasks: &[HeadTask], tokens: &[Vec<Tokens>]) -> Result<Self> {
        let most = tasks.iter().map(|task| task.split.fit.len()).max().unwrap_or(0);
        let mut examples = Self { texts: Vec::new(), heads: Vec::new() };
        let mut by_text: HashMap<&str, usize> = HashMap::new();
        for (head, (task, tokens)) in tasks.iter().zip(tokens).enumerate() {
            for (position, &row) in (0..).zip(&task.split.fit) {
                let (text, tokens) = task.data.rows.get(row).zip(tokens.get(row)).context("no such row")?;
                let index = *by_text.entry(&text.text).or_insert_with(|| {
                    examples.texts.push(Example { tokens: tokens.clone(), answers: Vec::new() });
                    examples.texts.len() - 1
                });
                examples.texts.get_mut(index).context("no such text")?.answers.push((head, position));
            }
            examples.heads.push(Answers::new(task, most)?);
        }
        Ok(examples)
    }
}

impl Answers {
    /// Rows count by source and label, 1 on average; and heads by the root of their rows, so that a large head does not
    /// drown a small one.
    fn new(task: &HeadTask, most: usize) -> Result<Self> {
        let fit = &task.split.fit;
        let targets = task.targets_of(fit)?;
        let weights = task.row_weights(fit, &targets, task.plan.class_weights)?;
        let factor = task.plan.loss_weight * (most as f64 / fit.len().max(1) as f64).sqrt();
        let weights = weights.f_div(&weights.f_mean(Kind::Float)?)?.f_mul_scalar(factor)?;
        Ok(Self { targets, weights })
    }
}
