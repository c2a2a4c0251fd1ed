//! Heads on disk: `heads/NAME/{head.safetensors,labels.json,head.json}` in the model's folder.
//!
//! docs/models.md documents their format.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tch::{Device, Tensor};

use super::heads::{Head, HeadInput, Linear, Output, normalized};
use super::pooling::Pooling;
use super::temperature::Temperature;
use super::text_features::ScaledFeature;
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
    #[serde(default, skip_serializing_if = "is_default")]
    pooling: Pooling,
    #[serde(default, skip_serializing_if = "is_default")]
    kind: HeadKind,
    /// The weight of each dimension of a score, in the labels' order; equal if not given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    weights: Vec<f32>,
    /// Features of the text, which follow the vector's numbers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    features: Vec<ScaledFeature>,
    /// The fingerprint of the adapter that the head was trained on; none if it was trained without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    adapter: Option<String>,
    /// What the logits are divided by; 1 if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    temperature: Option<Temperature>,
    /// A note for users of the head, which `POST /v1/classify` returns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

#[derive(Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum HeadKind {
    #[default]
    SingleLabel,
    MultiLabel,
    Score,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Settings {
    fn from_head(head: &Head, adapter: Option<&str>) -> Result<Self> {
        let HeadInput { layer, pooling, features } = head.input().clone();
        let (kind, weights) = match head.output() {
            Output::SingleLabel => (HeadKind::SingleLabel, Vec::new()),
            Output::MultiLabel => (HeadKind::MultiLabel, Vec::new()),
            Output::Score(weights) => (HeadKind::Score, weights.to_vec()),
            Output::NvidiaComplexity(_) => bail!("head {:?} belongs to its model's checkpoint", head.name()),
        };
        // The weights of a loaded head include its temperature.
        let (adapter, temperature) = (adapter.map(str::to_owned), None);
        let note = head.note().map(str::to_owned);
        Ok(Self { layer, pooling, kind, weights, features, adapter, temperature, note })
    }

    /// Rejects a head that was trained on another encoder.
    fn check_adapter(&self, adapter: Option<&str>) -> Result<()> {
        match (self.adapter.as_deref(), adapter) {
            (own, other) if own == other => Ok(()),
            (Some(_), None) => {
                bail!("the head was trained on an adapter, and the folder has none (adapter_config.json)")
            }
            (None, Some(_)) => {
                bail!(
                    "the head was trained without an adapter, and the folder has one: train it again on this folder"
                )
            }
            (own, other) => bail!(
                "the head was trained on another adapter ({}) than the folder's ({}): train it again on this folder",
                own.unwrap_or_default(),
                other.unwrap_or_default()
            ),
        }
    }

    fn output(&self, labels: usize) -> Result<Output> {
        ensure!(
            self.weights.is_empty() || self.kind == HeadKind::Score,
            "weights are for heads of kind \"score\""
        );
        Ok(match self.kind {
            HeadKind::SingleLabel => Output::SingleLabel,
            HeadKind::MultiLabel => Output::MultiLabel,
            HeadKind::Score => Output::Score(self.score_weights(labels)?),
        })
    }

    /// The layer, with the head's temperature merged into it.
    fn tempered(&self, linear: Option<Linear>, labels: usize, device: Device) -> Result<Option<Linear>> {
        let Some(temperature) = &self.temperature else { return Ok(linear) };
        temperature.check(labels, self.kind != HeadKind::SingleLabel)?;
        temperature.in_layer(linear.as_ref(), labels, device).map(Some)
    }

    /// The weights of a score's dimensions, which add up to 1.
    fn score_weights(&self, labels: usize) -> Result<Arc<[f32]>> {
        ensure!(
            self.weights.is_empty() || self.weights.len() == labels,
            "{} weights for {labels} labels",
            self.weights.len()
        );
        let sum: f32 = self.weights.iter().sum();
        ensure!(
            self.weights.is_empty()
                || (sum > 0.0 && sum.is_finite() && self.weights.iter().all(|&weight| weight >= 0.0)),
            "weights must not be negative, and one must be positive"
        );
        Ok(self.normalized_weights(labels).into())
    }

    /// The weights, scaled so that they add up to 1; equal ones if none are given.
    fn normalized_weights(&self, labels: usize) -> Vec<f32> {
        if self.weights.is_empty() { normalized(&vec![1.0; labels]) } else { normalized(&self.weights) }
    }
}

/// A head's `head.json`: reads its settings, and changes the temperature.
pub struct SettingsFile {
    path: PathBuf,
    settings: Settings,
}

impl SettingsFile {
    /// Reads the file of a model's head.
    ///
    /// # Errors
    /// If it is missing or invalid; the error names it.
    pub fn read(model: &Path, head: &str) -> Result<Self> {
        Self::in_folder(&folder_of(model, head))
    }

    fn in_folder(folder: &Path) -> Result<Self> {
        let path = folder.join(SETTINGS);
        Ok(Self { settings: read_json(&path)?, path })
    }

    /// Whether each output has an independent probability.
    #[must_use]
    pub fn is_independent(&self) -> bool {
        self.settings.kind != HeadKind::SingleLabel
    }

    /// The weights of a score with this many dimensions, which add up to 1.
    #[must_use]
    pub fn weights(&self, dimensions: usize) -> Vec<f32> {
        self.settings.normalized_weights(dimensions)
    }

    /// The head's temperature.
    #[must_use]
    pub fn temperature(&self) -> Temperature {
        self.settings.temperature.clone().unwrap_or(Temperature::All(1.0))
    }

    /// Writes the temperature into the file, keeps the other settings, and returns the path.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write_temperature(mut self, temperature: &Temperature) -> Result<PathBuf> {
        self.settings.temperature = Some(temperature.clone());
        write_json(&self.path, &self.settings)?;
        Ok(self.path)
    }
}

/// The properties of an encoder that its heads must fit.
#[derive(Debug, Clone)]
pub struct EncoderShape {
    /// Number of layers.
    pub layers: usize,
    /// Width of a token's vector.
    pub hidden_size: i64,
    /// The fingerprint of its adapter, if it has one.
    pub adapter: Option<String>,
}

/// Reads every head of a model, in the order of their names. A model without heads has none.
///
/// # Errors
/// If a head's file is missing or invalid; the error names the file.
pub fn load_all(model: &Path, encoder: &EncoderShape, device: Device) -> Result<Vec<Head>> {
    names(model)?.iter().map(|name| load(&folder_of(model, name), name, encoder, device)).collect()
}

fn load(folder: &Path, name: &str, encoder: &EncoderShape, device: Device) -> Result<Head> {
    let labels: Vec<String> = read_json(&folder.join(LABELS))?;
    let SettingsFile { path, settings } = SettingsFile::in_folder(folder)?;
    let in_settings = || format!("in {}", path.display());
    let input =
        HeadInput { layer: settings.layer, pooling: settings.pooling, features: settings.features.clone() };
    settings.features.iter().try_for_each(ScaledFeature::check).with_context(in_settings)?;
    settings.check_adapter(encoder.adapter.as_deref()).with_context(in_settings)?;
    ensure!(
        (1..=encoder.layers).contains(&input.layer),
        "{}: layer {} is not one of the encoder's {}",
        path.display(),
        input.layer,
        encoder.layers
    );
    let output = settings.output(labels.len()).with_context(in_settings)?;
    let linear = load_linear(folder, labels.len(), &input, encoder, device)?;
    let linear = settings.tempered(linear, labels.len(), device).with_context(in_settings)?;
    let head = Head::new(name, labels, input, linear, output);
    Ok(head.with_context(|| format!("in {}", folder.display()))?.with_note(settings.note.as_deref()))
}

fn load_linear(
    folder: &Path,
    outputs: usize,
    input: &HeadInput,
    encoder: &EncoderShape,
    device: Device,
) -> Result<Option<Linear>> {
    let (outputs, width) = (outputs as i64, input.width(encoder.hidden_size));
    if input.pooling == Pooling::None {
        ensure!(
            outputs == width,
            "{}: {outputs} labels for {width} logits (the config's hidden_size)",
            folder.join(LABELS).display()
        );
        return Ok(None);
    }
    let mut weights = Weights::load(&folder.join(WEIGHTS), device)?;
    Ok(Some(Linear {
        weight: weights.take("linear.weight", &[outputs, width])?,
        bias: weights.take("linear.bias", &[outputs])?,
    }))
}

/// The names of a model's heads in files, sorted.
///
/// # Errors
/// If the folder cannot be read.
pub fn names(model: &Path) -> Result<Vec<String>> {
    let folder = model.join(HEADS);
    let mut names = Vec::new();
    if folder.is_dir() {
        for entry in folder.read_dir().with_context(|| format!("cannot read {}", folder.display()))? {
            let path = entry.with_context(|| format!("cannot read {}", folder.display()))?.path();
            if path.is_dir() {
                names.extend(path.file_name().and_then(|name| name.to_str()).map(str::to_owned));
            }
        }
    }
    names.sort();
    Ok(names)
}

/// Writes a head, trained on the adapter with this fingerprint, to where [`load_all`] finds it, and returns its folder.
///
/// # Errors
/// If a file cannot be written; the error names it.
pub fn save(head: &Head, model: &Path, adapter: Option<&str>) -> Result<PathBuf> {
    let folder = folder_of(model, head.name());
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let settings = Settings::from_head(head, adapter)?;
    if let Some(Linear { weight, bias }) = head.linear() {
        let tensors = [("linear.weight", &**weight), ("linear.bias", &**bias)];
        replace(&folder.join(WEIGHTS), |path| Ok(Tensor::write_safetensors(&tensors, path)?))?;
    }
    write_json(&folder.join(LABELS), &head.labels())?;
    write_json(&folder.join(SETTINGS), &settings)?;
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
    replace(path, |path| Ok(std::fs::write(path, &json)?))
}

/// Replaces a file as a whole: a sidecar may load it at any time, and a kill must leave the old one or the new one.
fn replace(path: &Path, write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let new = path.with_added_extension("new");
    write(&new)
        .and_then(|()| Ok(std::fs::rename(&new, path)?))
        .with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::weights::Weight;

    const ENCODER: EncoderShape = EncoderShape { layers: 2, hidden_size: 1, adapter: None };

    fn head() -> Head {
        head_with(Output::SingleLabel)
    }

    fn head_with(output: Output) -> Head {
        let weight = Tensor::from_slice2(&[[1.0f32, 0.5], [0.0, 1.0], [-1.0, -1.0]]);
        let bias = Tensor::from_slice(&[0.0f32, 0.0, 0.5]);
        let linear = Linear { weight: Weight::new(weight), bias: Weight::new(bias) };
        let input = HeadInput { layer: 1, pooling: Pooling::MeanAndBeginning, features: Vec::new() };
        Head::new("task", ["a", "b", "c"].map(str::to_owned).to_vec(), input, Some(linear), output).unwrap()
    }

    fn load_from(model: &Path) -> Result<Vec<Head>> {
        load_all(model, &ENCODER, Device::Cpu)
    }

    #[test]
    fn what_is_saved_is_loaded() {
        for output in [Output::SingleLabel, Output::MultiLabel, Output::Score([0.5, 0.25, 0.25].into())] {
            let model = tempfile::tempdir().unwrap();
            let saved = head_with(output);
            save(&saved, model.path(), None).unwrap();
            let [loaded] = load_from(model.path()).unwrap().try_into().unwrap();
            let states = [Tensor::from_slice(&[0.3f32]).view([1, 1, 1])];
            let scores = |head: &Head| head.read(&head.logits(&states, None).unwrap(), &[]).unwrap();
            assert_eq!(scores(&loaded), scores(&saved));
        }
    }

    #[test]
    fn a_head_that_reads_logits_has_no_weights() {
        let model = tempfile::tempdir().unwrap();
        let folder = folder_of(model.path(), "task");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(LABELS), r#"["a"]"#).unwrap();
        std::fs::write(folder.join(SETTINGS), r#"{"layer": 1, "pooling": "none", "kind": "multi-label"}"#)
            .unwrap();
        let [head] = load_from(model.path()).unwrap().try_into().unwrap();
        let logits = head.logits(&[Tensor::from_slice(&[0.0f32]).view([1, 1, 1])], None).unwrap();
        let scores = head.read(&logits, &[]).unwrap();
        assert_eq!(scores[0].top(), Some(("a", 0.5)));
    }

    #[test]
    fn a_temperature_makes_confidences_smaller_in_the_same_order() {
        let model = tempfile::tempdir().unwrap();
        let folder = save(&head(), model.path(), None).unwrap();
        let states = [Tensor::from_slice(&[0.3f32]).view([1, 1, 1])];
        let confidences = |settings: &str| {
            std::fs::write(folder.join(SETTINGS), settings).unwrap();
            let head = load_from(model.path()).unwrap().remove(0);
            head.read(&head.logits(&states, None).unwrap(), &[]).unwrap().remove(0).confidences
        };
        let (plain, hot) = (confidences(r#"{"layer": 1}"#), confidences(r#"{"layer": 1, "temperature": 2}"#));
        let roots: Vec<_> = plain.iter().map(|probability| probability.sqrt()).collect();
        let sum: f32 = roots.iter().sum();
        for (hot, root) in hot.iter().zip(roots) {
            assert!((hot - root / sum).abs() < 1e-6, "{plain:?} {hot:?}");
        }
    }

    #[test]
    fn only_the_temperature_of_a_file_changes() {
        let model = tempfile::tempdir().unwrap();
        let folder = folder_of(model.path(), "task");
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join(SETTINGS);
        std::fs::write(&path, r#"{"layer": 4, "kind": "multi-label", "adapter": "sha256:1"}"#).unwrap();
        let settings = SettingsFile::read(model.path(), "task").unwrap();
        assert!(settings.is_independent());
        assert_eq!(settings.temperature(), Temperature::All(1.0));
        settings.write_temperature(&Temperature::Each(vec![0.5, 1.5])).unwrap();
        let json: serde_json::Value = read_json(&path).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "layer": 4, "kind": "multi-label", "adapter": "sha256:1", "temperature": [0.5, 1.5]
            })
        );
        let settings = SettingsFile::read(model.path(), "task").unwrap();
        assert_eq!(settings.temperature(), Temperature::Each(vec![0.5, 1.5]));
    }

    #[test]
    fn the_weights_of_a_score_add_up_to_1() {
        let model = tempfile::tempdir().unwrap();
        let folder = folder_of(model.path(), "task");
        std::fs::create_dir_all(&folder).unwrap();
        let weights = |settings: &str| {
            std::fs::write(folder.join(SETTINGS), settings).unwrap();
            SettingsFile::read(model.path(), "task").unwrap().weights(2)
        };
        assert_eq!(weights(r#"{"layer": 1, "kind": "score", "weights": [1, 3]}"#), [0.25, 0.75]);
        assert_eq!(weights(r#"{"layer": 1, "kind": "score"}"#), [0.5, 0.5]);
    }

    #[test]
    fn a_model_without_heads_has_none() {
        assert!(load_from(tempfile::tempdir().unwrap().path()).unwrap().is_empty());
    }

    #[test]
    fn a_missing_file_is_named() {
        for name in [WEIGHTS, LABELS, SETTINGS] {
            let model = tempfile::tempdir().unwrap();
            let folder = save(&head(), model.path(), None).unwrap();
            std::fs::remove_file(folder.join(name)).unwrap();
            let error = format!("{:#}", load_from(model.path()).unwrap_err());
            assert!(error.contains(name), "{error}");
        }
    }

    #[test]
    fn an_invalid_file_is_named_with_the_reason() {
        for (name, content, wrong) in [
            (WEIGHTS, "not safetensors", WEIGHTS),
            (
                LABELS,
                r#"["a", "b"]"#,
                "head.safetensors: tensor \"linear.weight\" has shape [3, 2], expected [2, 2]",
            ),
            (LABELS, r#"{"a": 1}"#, LABELS),
            (LABELS, r#"["a", "a", "b"]"#, "label \"a\" is duplicated"),
            (SETTINGS, r#"{"layer": 3}"#, "head.json: layer 3 is not one of the encoder's 2"),
            (SETTINGS, r#"{"layer": 1, "pool": "max"}"#, "pool"),
            (SETTINGS, r#"{"layer": 1, "kind": "guess"}"#, "guess"),
            (SETTINGS, r#"{"layer": 1, "weights": [1, 1, 1]}"#, "weights are for heads of kind"),
            (SETTINGS, r#"{"layer": 1, "kind": "score", "weights": [1]}"#, "1 weights for 3 labels"),
            (SETTINGS, r#"{"layer": 1, "kind": "score", "weights": [1, -1, 1]}"#, "negative"),
            (SETTINGS, r#"{"layer": 1, "temperature": 0}"#, "a temperature must be a number above 0"),
            (SETTINGS, r#"{"layer": 1, "temperature": [1, 2, 3]}"#, "a temperature for each label needs"),
            (
                SETTINGS,
                r#"{"layer": 1, "features": [{"name": "lines", "mean": 1, "scale": 0}]}"#,
                "features: the scale of lines must be a number above 0",
            ),
            (SETTINGS, r#"{"layer": 1, "pooling": "mean"}"#, "expected [3, 1]"),
            (SETTINGS, r#"{"layer": 1, "pooling": "none"}"#, "3 labels for 1 logits"),
        ] {
            let model = tempfile::tempdir().unwrap();
            let folder = save(&head(), model.path(), None).unwrap();
            std::fs::write(folder.join(name), content).unwrap();
            let error = format!("{:#}", load_from(model.path()).unwrap_err());
            assert!(error.contains(wrong), "{error}");
        }
    }
}
