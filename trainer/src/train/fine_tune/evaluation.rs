//! Evaluates heads during and after the training, on rows that they are not fitted to.

use anyhow::{Context, Result};
use tch::{Device, Tensor};

use super::history::Epoch;
use super::parameters::ParameterId;
use super::trainer::Trainer;
use crate::train::progress::ProgressDisplay;
use crate::train::quality::Quality;
use crate::train::task::HeadTask;
use crate::train::trained::TrainedHead;
use llm_router_classifier::model::heads::Linear;
use llm_router_classifier::model::tokenizer::Tokens;
use llm_router_classifier::model::weights::Weight;

impl Trainer<'_> {
    /// Evaluates the heads on the validation rows, after an epoch with this mean loss.
    pub(super) fn evaluate(&self, loss: f64, progress: impl Fn(usize)) -> Result<Epoch> {
        let mut heads = Vec::new();
        for (index, (task, tokens)) in self.tasks.iter().zip(&self.texts.data).enumerate() {
            let rows = &task.split.validation;
            let logits = self.logits(index, tokens, rows, &progress)?;
            heads.push(Quality::compute(task, &logits, &task.targets_of(rows)?)?.main_metric());
        }
        let score = heads.iter().sum::<f64>() / heads.len().max(1) as f64;
        Ok(Epoch { loss, score, heads })
    }

    /// A head's logits of some texts.
    fn logits(
        &self,
        head: usize,
        tokens: &[Tokens],
        rows: &[usize],
        progress: impl Fn(usize),
    ) -> Result<Tensor> {
        let tokens: Vec<_> = rows.iter().filter_map(|&row| tokens.get(row)).collect();
        tch::no_grad(|| self.network.logits(&self.parameters, head, &tokens, progress))
    }

    /// The number of rows that are reported on.
    pub(super) fn reported_rows(&self) -> usize {
        self.count(|task| task.split.test.len() + task.external_validation.rows.len())
    }

    /// The number of validation rows.
    pub(super) fn validation_rows(&self) -> usize {
        self.count(|task| task.split.validation.len())
    }

    fn count(&self, rows: fn(&HeadTask) -> usize) -> usize {
        self.tasks.iter().map(rows).sum()
    }

    /// The heads in their present state, with their predictions for the rows that are reported on.
    pub(super) fn trained_heads(&self) -> Result<Vec<TrainedHead>> {
        let progress = ProgressDisplay::counting("measuring", self.reported_rows())?;
        let add = |texts| progress.add(texts);
        let mut heads = Vec::new();
        for (index, (task, head)) in self.tasks.iter().zip(&self.network.heads).enumerate() {
            let on_cpu = |id: ParameterId| {
                let value = self.parameters.value(id)?.f_detach_copy()?.f_to_device(Device::Cpu)?;
                anyhow::Ok(Weight::new(value))
            };
            let external = self.texts.external_validation.get(index);
            let (data, external) = self.texts.data.get(index).zip(external).context("no texts of a head")?;
            let all: Vec<_> = (0..external.len()).collect();
            heads.push(TrainedHead {
                linear: Linear { weight: on_cpu(head.weight)?, bias: on_cpu(head.bias)? },
                reads: head.reads.clone(),
                test_logits: self.logits(index, data, &task.split.test, add)?,
                external_validation_logits: self.logits(index, external, &all, add)?,
            });
        }
        progress.finish();
        Ok(heads)
    }
}
