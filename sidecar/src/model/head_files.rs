//! Heads on disk: `heads/NAME/{head.safetensors,labels.json,head.json}` in the model's folder.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tch::{Device, Tensor};

use super::heads::{Head, Linear};
use super::pooling::features_size;
use super::weights::Weights;

const HEADS: &str = "heads";
/// The tensors `linear.weight` and `linear.bias`.
const WEIGHTS: &str = "head.safetensors";
/// The labels, in the order of the weights' rows: an array of strings.
const LABELS: &str = "labels.json";
/// [`Settings`].
const SETTINGS: &str = "head.json";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// The encoder layer that the head reads; the first is 1.
    layer: usize,
}

/// What of an encoder its heads must fit.
#[derive(Debug, Clone, Copy)]
pub struct EncoderShape {
    /// Number of layers.
    pub layers: usize,
    /// Width of a token's vector.
    pub hidden_size: i64,
}

/// Reads every head of a model, in the order of their names. A model without heads has none.
///
/// # Errors
/// If a head's file is missing or wrong; the error names the file.
pub fn load_all(model: &Path, encoder: EncoderShape, device: Device) -> Result<Vec<Head>> {
    let folder = model.join(HEADS);
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut names = Vec::new();
    for entry in folder.read_dir().with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry.with_context(|| format!("cannot read {}", folder.display()))?.path();
        if path.is_dir() {
            names.extend(path.file_name().and_then(|name| name.to_str()).map(str::to_owned));
        }
    }
    names.sort();
    names.iter().map(|name| load(&folder_of(model, name), name, encoder, device)).collect()
}

fn load(folder: &Path, name: &str, encoder: EncoderShape, device: Device) -> Result<Head> {
    let labels: Vec<String> = read_json(&folder.join(LABELS))?;
    let Settings { layer } = read_json(&folder.join(SETTINGS))?;
    ensure!(
        (1..=encoder.layers).contains(&layer),
        "{}: layer {layer} is not one of the encoder's {}",
        folder.join(SETTINGS).display(),
        encoder.layers
    );
    let mut weights = Weights::load(&folder.join(WEIGHTS), device)?;
    let outputs = labels.len() as i64;
    let linear = Linear {
        layer,
        weight: weights.take("linear.weight", &[outputs, features_size(encoder.hidden_size)])?,
        bias: weights.take("linear.bias", &[outputs])?,
    };
    Head::new(name, labels, linear).with_context(|| format!("in {}", folder.display()))
}

/// Writes a head to where [`load_all`] finds it, and returns its folder.
///
/// # Errors
/// If a file cannot be written; the error names it.
pub fn save(head: &Head, model: &Path) -> Result<PathBuf> {
    let folder = folder_of(model, head.name());
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let path = folder.join(WEIGHTS);
    let (weight, bias) = head.tensors();
    Tensor::write_safetensors(&[("linear.weight", weight), ("linear.bias", bias)], &path)
        .with_context(|| format!("cannot write {}", path.display()))?;
    write_json(&folder.join(LABELS), &head.labels())?;
    write_json(&folder.join(SETTINGS), &Settings { layer: head.layer() })?;
    Ok(folder)
}

fn folder_of(model: &Path, head: &str) -> PathBuf {
    model.join(HEADS).join(head)
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let json = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_slice(&json).with_context(|| format!("cannot read {}", path.display()))
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let json = serde_json::to_string_pretty(value)? + "\n";
    std::fs::write(path, json).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::weights::Weight;

    const ENCODER: EncoderShape = EncoderShape { layers: 2, hidden_size: 1 };

    fn head() -> Head {
        let weight = Tensor::from_slice2(&[[1.0f32, 0.5], [0.0, 1.0], [-1.0, -1.0]]);
        let bias = Tensor::from_slice(&[0.0f32, 0.0, 0.5]);
        let linear = Linear { layer: 1, weight: Weight::new(weight), bias: Weight::new(bias) };
        Head::new("task", ["a", "b", "c"].map(str::to_owned).to_vec(), linear).unwrap()
    }

    fn load_from(model: &Path) -> Result<Vec<Head>> {
        load_all(model, ENCODER, Device::Cpu)
    }

    #[test]
    fn what_is_saved_is_loaded() {
        let model = tempfile::tempdir().unwrap();
        save(&head(), model.path()).unwrap();
        let [loaded] = load_from(model.path()).unwrap().try_into().unwrap();
        let states = [Tensor::from_slice(&[0.3f32]).view([1, 1, 1])];
        assert_eq!(loaded.score(&states, None).unwrap(), head().score(&states, None).unwrap());
    }

    #[test]
    fn a_model_without_heads_has_none() {
        assert!(load_from(tempfile::tempdir().unwrap().path()).unwrap().is_empty());
    }

    #[test]
    fn a_missing_file_is_named() {
        for name in [WEIGHTS, LABELS, SETTINGS] {
            let model = tempfile::tempdir().unwrap();
            let folder = save(&head(), model.path()).unwrap();
            std::fs::remove_file(folder.join(name)).unwrap();
            let error = format!("{:#}", load_from(model.path()).unwrap_err());
            assert!(error.contains(name), "{error}");
        }
    }

    #[test]
    fn a_wrong_file_is_named_with_what_is_wrong() {
        for (name, content, wrong) in [
            (WEIGHTS, "not safetensors", WEIGHTS),
            (
                LABELS,
                r#"["a", "b"]"#,
                "head.safetensors: tensor \"linear.weight\" has shape [3, 2], expected [2, 2]",
            ),
            (LABELS, r#"{"a": 1}"#, LABELS),
            (LABELS, r#"["a", "a", "b"]"#, "label \"a\" is there twice"),
            (SETTINGS, r#"{"layer": 3}"#, "head.json: layer 3 is not one of the encoder's 2"),
            (SETTINGS, r#"{"layer": 1, "pool": "max"}"#, "pool"),
        ] {
            let model = tempfile::tempdir().unwrap();
            let folder = save(&head(), model.path()).unwrap();
            std::fs::write(folder.join(name), content).unwrap();
            let error = format!("{:#}", load_from(model.path()).unwrap_err());
            assert!(error.contains(wrong), "{error}");
        }
    }
}
