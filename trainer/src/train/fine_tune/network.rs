//! The encoder in training, with heads on it.

use anyhow::{Context, Result};
use tch::{Device, Kind, Tensor};

use super::batches;
use super::parameters::{ParameterId, Parameters};
use super::training_set::TrainingSet;
use crate::train::loss;
use crate::train::plan::HeadKind;
use llm_router_classifier::model::encoder::Encoder;
use llm_router_classifier::model::heads::HeadInput;
use llm_router_classifier::model::tokenizer::Tokens;
use llm_router_classifier::model::training::Dropout;

/// The encoder in training, with heads on it.
pub(super) struct Network {
    pub(super) encoder: Encoder,
    /// Dropout within the encoder.
    pub(super) encoder_dropout: Dropout,
    /// Dropout of the heads' input.
    pub(super) head_dropout: Dropout,
    pub(super) heads: Vec<TrainableHead>,
    /// The device of the heads.
    pub(super) device: Device,
    /// Tokens of one forward pass, padding included.
    pub(super) batch_tokens: usize,
}

/// A head in training.
pub(super) struct TrainableHead {
    pub(super) reads: HeadInput,
    pub(super) kind: HeadKind,
    pub(super) weight: ParameterId,
    pub(super) bias: ParameterId,
}

impl Network {
    /// Turns dropout on or off.
    pub(super) fn enable_dropout(&self, on: bool) {
        self.encoder_dropout.switch(on);
        self.head_dropout.switch(on);
    }

    /// The number of encoder layers that the heads need.
    fn layers(&self) -> usize {
        self.heads.iter().map(|head| head.reads.layer).max().unwrap_or(0)
    }

    /// The sum of the losses of some texts, over all heads.
    pub(super) fn loss(
        &self,
        parameters: &Parameters,
        training_set: &TrainingSet,
        texts: &[usize],
        smoothing: f64,
    ) -> Result<Tensor> {
        let texts: Vec<_> = texts.iter().filter_map(|&index| training_set.texts.get(index)).collect();
        let tokens: Vec<_> = texts.iter().map(|text| &text.tokens).collect();
        let batch = self.encoder.batch_for_training(&tokens)?;
        let states = self.encoder.hidden_states(&batch, self.layers())?;
        let text_features: Vec<_> = tokens.iter().map(|text| text.features()).collect();
        let mut total = Tensor::f_zeros([], (Kind::Float, self.device))?;
        for (index, (head, targets)) in self.heads.iter().zip(&training_set.heads).enumerate() {
            let (mut positions, mut rows) = (Vec::new(), Vec::new());
            for (position, text) in (0i64..).zip(&texts) {
                for (_, row) in text.targets.iter().filter(|(of, _)| *of == index) {
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
            let vectors = head.reads.vectors(&states, batch.pooled(), &text_features)?;
            let vectors = self.head_dropout.apply(vectors.f_index_select(0, &positions)?)?;
            let logits =
                vectors.f_linear(parameters.value(head.weight)?, Some(parameters.value(head.bias)?))?;
            let losses = loss::losses(head.kind, &logits, &on_device(&targets.targets)?, smoothing)?;
            total = total.f_add(&losses.f_dot(&on_device(&targets.weights)?)?)?;
        }
        Ok(total)
    }

    /// A head's input for each text, `[texts, width]` on CPU, in the texts' order. `progress` is called with the number of
    /// texts just done; its error ends the computation. Call it without a gradient graph.
    pub(super) fn vectors(
        &self,
        texts: &[&Tokens],
        reads: &HeadInput,
        progress: impl Fn(usize) -> Result<()>,
    ) -> Result<Tensor> {
        if texts.is_empty() {
            let width = reads.width(self.encoder.hidden_size());
            return Ok(Tensor::f_zeros([0, width], (Kind::Float, Device::Cpu))?);
        }
        let all: Vec<_> = (0..texts.len()).collect();
        let length = |text| texts.get(text).map_or(0, |text: &&Tokens| text.ids().len());
        let (mut order, mut vectors) = (Vec::new(), Vec::new());
        for indices in batches::micro_batches(&all, length, self.batch_tokens) {
            let tokens: Vec<_> = indices.iter().filter_map(|&text| texts.get(text).copied()).collect();
            let batch = self.encoder.batch_for_training(&tokens)?;
            let states = self.encoder.hidden_states(&batch, reads.layer)?;
            let text_features: Vec<_> = tokens.iter().map(|text| text.features()).collect();
            let input = reads.vectors(&states, batch.pooled(), &text_features)?;
            vectors.push(input.f_narrow(0, 0, tokens.len() as i64)?.f_to_device(Device::Cpu)?);
            progress(indices.len())?;
            order.extend(indices.iter().map(|&text| text as i64));
        }
        let original_order = Tensor::f_from_slice(&order)?.f_argsort(0, false)?;
        Ok(Tensor::f_cat(&vectors, 0)?.f_index_select(0, &original_order)?)
    }

    /// A head's logits for texts, `[texts, outputs]` on CPU. Call it without a gradient graph.
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
