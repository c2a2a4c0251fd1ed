//! The encoder in training, with heads on it.

use anyhow::{Context, Result};
use tch::{Device, Kind, Tensor};

use super::batches;
use super::examples::Examples;
use super::parameters::{ParameterId, Parameters};
use crate::train::loss;
use crate::train::plan;
use llm_router_classifier::model::encoder::Encoder;
use llm_router_classifier::model::heads::Reads;
use llm_router_classifier::model::tokenizer::Tokens;
use llm_router_classifier::model::training::Dropout;

/// The encoder with heads.
pub(super) struct Network {
    pub(super) encoder: Encoder,
    /// The encoder's.
    pub(super) inner_dropout: Dropout,
    /// Of what heads read.
    pub(super) outer_dropout: Dropout,
    pub(super) heads: Vec<HeadInTraining>,
    /// Where the heads are.
    pub(super) device: Device,
    /// Tokens, with padding, that are computed at once.
    pub(super) batch_tokens: usize,
}

/// A head's parameters, and what it is.
pub(super) struct HeadInTraining {
    pub(super) reads: Reads,
    pub(super) kind: plan::Kind,
    pub(super) weight: ParameterId,
    pub(super) bias: ParameterId,
}

impl Network {
    /// Switches dropout.
    pub(super) fn train(&self, on: bool) {
        self.inner_dropout.switch(on);
        self.outer_dropout.switch(on);
    }

    /// How many of the encoder's layers the heads need.
    fn layers(&self) -> usize {
        self.heads.iter().map(|head| head.reads.layer).max().unwrap_or(0)
    }

    /// The loss of some texts, to be divided by the number of texts in the step.
    pub(super) fn loss(
        &self,
        parameters: &Parameters,
        examples: &Examples,
        part: &[usize],
        smoothing: f64,
    ) -> Result<Tensor> {
        let texts: Vec<_> = part.iter().filter_map(|&index| examples.texts.get(index)).collect();
        let tokens: Vec<_> = texts.iter().map(|text| &text.tokens).collect();
        let batch = self.encoder.batch_for_training(&tokens)?;
        let states = self.encoder.hidden_states(&batch, self.layers())?;
        let counted: Vec<_> = tokens.iter().map(|text| text.features()).collect();
        let mut total = Tensor::f_zeros([], (Kind::Float, self.device))?;
        for (index, (head, answers)) in self.heads.iter().zip(&examples.heads).enumerate() {
            let (mut positions, mut rows) = (Vec::new(), Vec::new());
            for (position, text) in (0i64..).zip(&texts) {
                for (_, row) in text.answers.iter().filter(|(of, _)| *of == index) {
                    positions.push(position);
                    rows.push(*row);
                }
            }
            if rows.is_empty() {
                continue;
            }
            let rows = Tensor::f_from_slice(&rows)?;
            let on_device = |tensor: &Tensor| tensor.f_index_select(0, &rows)?.f_to_device(self.device);
            let positions = Tensor::f_from_slice(&positions)?.f_to_device(self.device)?;
            let vectors =
                head.reads.vectors(&states, batch.mask(), &counted)?.f_index_select(0, &positions)?;
            let vectors = self.outer_dropout.apply(vectors)?;
            let logits =
                vectors.f_linear(parameters.value(head.weight)?, Some(parameters.value(head.bias)?))?;
            let losses = loss::losses(head.kind, &logits, &on_device(&answers.targets)?, smoothing)?;
            total = total.f_add(&losses.f_dot(&on_device(&answers.weights)?)?)?;
        }
        Ok(total)
    }

    /// What a head reads of texts, `[texts, width]` on CPU, in their order. `progress` is told how many more are done, and
    /// can end it. Call it without a gradient graph.
    pub(super) fn vectors(
        &self,
        texts: &[&Tokens],
        reads: &Reads,
        progress: impl Fn(usize) -> Result<()>,
    ) -> Result<Tensor> {
        if texts.is_empty() {
            let width = reads.width(self.encoder.hidden_size());
            return Ok(Tensor::f_zeros([0, width], (Kind::Float, Device::Cpu))?);
        }
        let all: Vec<_> = (0..texts.len()).collect();
        let length = |text| texts.get(text).map_or(0, |text: &&Tokens| text.ids().len());
        let (mut order, mut vectors) = (Vec::new(), Vec::new());
        for part in batches::parts(&all, length, self.batch_tokens) {
            let tokens: Vec<_> = part.iter().filter_map(|&text| texts.get(text).copied()).collect();
            let batch = self.encoder.batch_for_training(&tokens)?;
            let states = self.encoder.hidden_states(&batch, reads.layer)?;
            let counted: Vec<_> = tokens.iter().map(|text| text.features()).collect();
            let read = reads.vectors(&states, batch.mask(), &counted)?.f_narrow(0, 0, tokens.len() as i64)?;
            vectors.push(read.f_to_device(Device::Cpu)?);
            progress(part.len())?;
            order.extend(part.iter().map(|&text| text as i64));
        }
        let back = Tensor::f_from_slice(&order)?.f_argsort(0, false)?;
        Ok(Tensor::f_cat(&vectors, 0)?.f_index_select(0, &back)?)
    }

    /// A head's logits of texts, `[texts, outputs]` on CPU. Call it without a gradient graph.
    pub(super) fn logits(
        &self,
        parameters: &Parameters,
        head: usize,
        texts: &[&Tokens],
        progress: impl Fn(usize),
    ) -> Result<Tensor> {
        let head = self.heads.get(head).context("no such head")?;
        let on_cpu = |id| Ok::<_, anyhow::Error>(parameters.value(id)?.f_detach()?.f_to_device(Device::Cpu)?);
        let (weight, bias) = (on_cpu(head.weight)?, on_cpu(head.bias)?);
        let vectors = self.vectors(texts, &head.reads, |texts| {
            progress(texts);
            Ok(())
        })?;
        Ok(vectors.f_linear(&weight, Some(&bias))?)
    }
}
