//! NVIDIA's prompt-task-and-complexity-classifier, as published: a DeBERTa-v3-base whose last layer's mean is read by
//! eight linear heads: the first predicts the task, and the other seven the complexity.
//!
//! Source of the layout and of the formula: the model's card,
//! <https://huggingface.co/nvidia/prompt-task-and-complexity-classifier>.

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tch::Tensor;

use super::encoder::{Config, Encoder};
use super::heads::{Head, HeadInput, Linear, NvidiaComplexity, Output};
use super::pooling::Pooling;
use super::weights::{Weight, Weights};

/// The fields of `config.json` for the heads.
#[derive(Deserialize)]
struct Layout {
    /// Each head's name and number of outputs, in the order of the tensors `head_0`, `head_1`, ...
    target_sizes: Map<String, Value>,
    /// The task's labels by their number.
    task_type_map: Map<String, Value>,
    weights_map: Map<String, Value>,
    divisor_map: Map<String, Value>,
}

/// The head whose outputs are labels.
const TASK: &str = "task_type";

/// If the config is this classifier's, fills missing dimensions with those of microsoft/deberta-v3-base, as
/// the published code does.
pub(super) fn complete(config: Config) -> Config {
    if !is_published_layout(&config) {
        return config;
    }
    let backbone = json!({
        "model_type": "deberta-v2", "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12,
        "intermediate_size": 3072, "vocab_size": 128_100, "max_position_embeddings": 512, "layer_norm_eps": 1e-7,
        "relative_attention": true, "position_buckets": 256, "norm_rel_ebd": "layer_norm", "share_att_key": true,
        "pos_att_type": "p2c|c2p", "position_biased_input": false, "type_vocab_size": 0, "hidden_act": "gelu",
        "max_relative_positions": -1, "pad_token_id": 0
    });
    match backbone {
        Value::Object(backbone) => config.or(backbone),
        _ => config,
    }
}

/// The heads `task` and `complexity`, if the checkpoint is this classifier's.
///
/// # Errors
/// If the config or a tensor is invalid; the error names it.
pub(super) fn heads(config: &Config, weights: &mut Weights, encoder: &Encoder) -> Result<Vec<Head>> {
    if !is_published_layout(config) {
        return Ok(Vec::new());
    }
    let layout = Layout::deserialize(config.fields());
    let heads = layout.map_err(Into::into).and_then(|layout| layout.heads(weights, encoder));
    heads.with_context(|| format!("in {}", config.path().display()))
}

fn is_published_layout(config: &Config) -> bool {
    config.fields().contains_key("target_sizes")
}

impl Layout {
    fn heads(&self, weights: &mut Weights, encoder: &Encoder) -> Result<Vec<Head>> {
        let input = HeadInput { layer: encoder.layers(), pooling: Pooling::Mean, features: Vec::new() };
        let mut task = None;
        let mut targets = Vec::new();
        let mut linears = Vec::new();
        for (number, (target, outputs)) in self.target_sizes.iter().enumerate() {
            let outputs =
                outputs.as_i64().with_context(|| format!("target_sizes.{target} is not a number"))?;
            let linear = Linear {
                weight: weights
                    .take(&format!("head_{number}.fc.weight"), &[outputs, encoder.hidden_size()])?,
                bias: weights.take(&format!("head_{number}.fc.bias"), &[outputs])?,
            };
            if target == TASK {
                let labels = self.labels(outputs)?;
                task = Some(Head::new("task", labels, input.clone(), Some(linear), Output::SingleLabel)?);
            } else {
                targets.push((target.as_str(), self.weighting(target, outputs)?));
                linears.push(linear);
            }
        }
        let (complexity, names) = NvidiaComplexity::new(&targets)?;
        let output = Output::NvidiaComplexity(complexity);
        let complexity = Head::new("complexity", names, input, Some(stack(&linears)?), output)?;
        Ok(vec![complexity, task.context("target_sizes has no task_type")?])
    }

    /// The task's labels, in the order of the outputs.
    fn labels(&self, outputs: i64) -> Result<Vec<String>> {
        let label = |number: i64| {
            let label = self.task_type_map.get(&number.to_string()).and_then(Value::as_str);
            label.map(str::to_owned).with_context(|| format!("task_type_map has no label {number}"))
        };
        (0..outputs).map(label).collect()
    }

    /// The factor of each output of a head: its weight, divided by the head's divisor.
    fn weighting(&self, target: &str, outputs: i64) -> Result<Vec<f64>> {
        let divisor = self.divisor_map.get(target).and_then(Value::as_f64);
        let divisor = divisor.filter(|&divisor| divisor != 0.0);
        let divisor =
            divisor.with_context(|| format!("divisor_map.{target} must be a number other than 0"))?;
        let Some(Value::Array(weights)) = self.weights_map.get(target) else {
            bail!("weights_map.{target} is not a list");
        };
        let weights: Option<Vec<_>> = weights.iter().map(Value::as_f64).collect();
        let weights = weights.with_context(|| format!("weights_map.{target} is not a list of numbers"))?;
        ensure!(
            weights.len() as i64 == outputs,
            "weights_map.{target} has {} weights, but target_sizes has {outputs}",
            weights.len()
        );
        Ok(weights.into_iter().map(|weight| weight / divisor).collect())
    }
}

fn stack(linears: &[Linear]) -> Result<Linear> {
    let cat = |part: fn(&Linear) -> &Tensor| {
        let parts: Vec<_> = linears.iter().map(part).collect();
        anyhow::Ok(Weight::new(Tensor::f_cat(&parts, 0)?))
    };
    Ok(Linear { weight: cat(|linear| &linear.weight)?, bias: cat(|linear| &linear.bias)? })
}
