//! What heads in training say of rows that they are not fitted to.

use anyhow::{Context, Result};
use tch::{Device, Tensor};

use super::history::Epoch;
use super::parameters::ParameterId;
use super::trained::TrainedHead;
use super::trainer::Trainer;
use crate::train::progress::Progress;
use crate::train::quality::Quality;
use crate::train::task::HeadTask;
use llm_router_classifier::model::heads::Linear;
use llm_router_classifier::model::tokenizer::Tokens;
use llm_router_classifier::model::weights::Weight;

impl Trainer<'_> {
    /// How good the heads are on the choosing rows after an epoch with this loss.
    pub(super) fn evaluate(&self, loss: f64, progress: impl Fn(usize)) -> Result<Epoch> {
        let mut heads = Vec::new();
        for (index, (task, tokens)) in self.tasks.iter().zip(&self.texts.data).enumerate() {
            let choose = &task.split.choose;
            let logits = self.logits(index, tokens, choose, &progress)?;
            heads.push(Quality::of(task, &logits, &task.targets_of(choose)?)?.figure());
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

    /// How many rows are reported on.
    pub(super) fn reported(&self) -> usize {
        self.count(|task| task.split.held_out.len() + task.validation.rows.len())
    }

    /// How many rows choose.
    pub(super) fn choosing(&self) -> usize {
        self.count(|task| task.split.choose.len())
    }

    fn count(&self, rows: fn(&HeadTask) -> usize) -> usize {
        self.tasks.iter().map(rows).sum()
    }

    /// The heads as they are now, and what they say of the rows that are reported on.
    pub(super) fn trained_heads(&self) -> Result<Vec<TrainedHead>> {
        let progress = Progress::counting("measuring", self.reported())?;
        let add = |texts| progress.add(texts);
        let mut heads = Vec::new();
        for (index, (task, head)) in self.tasks.iter().zip(&self.network.heads).enumerate() {
            let on_cpu = |id: ParameterId| {
                let value = self.parameters.value(id)?.f_detach_copy()?.f_to_device(Device::Cpu)?;
                anyhow::Ok(Weight::new(value))
            };
            let (data, validation) =
                self.texts.data.get(index).zip(self.texts.validation.get(index)).context("no texts")?;
            let all: Vec<_> = (0..validation.len()).collect();
            heads.push(TrainedHead {
                linear: Linear { weight: on_cpu(head.weight)?, bias: on_cpu(head.bias)? },
                reads: head.reads.clone(),
                held_out: self.logits(index, data, &task.split.held_out, add)?,
                validation: self.logits(index, validation, &all, add)?,
            });
        }
        progress.finish();
        Ok(heads)
    }
}
