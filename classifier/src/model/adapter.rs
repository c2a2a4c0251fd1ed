//! Low-rank adapters (LoRA, <https://arxiv.org/abs/2106.09685>) in the layout of Hugging Face's PEFT: a linear layer's
//! weight plus `scale · B · A`.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tch::{Kind, Tensor};

use super::weights::{Weights, without_prefix};

/// The settings of the adapter.
pub(super) const CONFIG: &str = "adapter_config.json";
/// The tensors `base_model.model.MODULE.lora_A.weight` `[rank, inputs]` and `lora_B.weight` `[outputs, rank]`.
const WEIGHTS: &str = "adapter_model.safetensors";
/// The files of an adapter.
pub const FILES: [&str; 2] = [CONFIG, WEIGHTS];
/// The prefix of PEFT for names of wrapped modules.
const WRAPPED: &str = "base_model.model.";

/// The settings that we write, in PEFT's names.
#[derive(Debug, Serialize)]
struct Written<'a> {
    peft_type: &'a str,
    base_model_name_or_path: &'a str,
    task_type: Option<&'a str>,
    inference_mode: bool,
    r: i64,
    lora_alpha: f64,
    lora_dropout: f64,
    bias: &'a str,
    fan_in_fan_out: bool,
    target_modules: Vec<&'a str>,
}

/// The supported settings. Other settings that are enabled are rejected.
#[derive(Debug, Deserialize)]
struct Settings {
    peft_type: String,
    base_model_name_or_path: Option<String>,
    r: i64,
    lora_alpha: f64,
    #[serde(default)]
    use_rslora: bool,
    #[serde(flatten)]
    others: BTreeMap<String, Value>,
}

/// Settings that change what an adapter computes, and that are not implemented.
const UNKNOWN: [&str; 10] = [
    "use_dora",
    "use_qalora",
    "fan_in_fan_out",
    "rank_pattern",
    "alpha_pattern",
    "modules_to_save",
    "lora_bias",
    "layer_replication",
    "trainable_token_indices",
    "target_parameters",
];

/// The two factors of the matrix that is added to one module's weight.
#[derive(Debug)]
pub struct Factors {
    /// `[rank, inputs]`
    pub a: Tensor,
    /// `[outputs, rank]`
    pub b: Tensor,
}

/// An adapter.
#[derive(Debug)]
pub struct Adapter {
    /// By the modules' names in `AutoModel`.
    pub modules: BTreeMap<String, Factors>,
    /// Columns of B, rows of A.
    pub rank: i64,
    /// The scale of B · A, times the rank.
    pub alpha: f64,
}

/// The base that an adapter's config names, relative to the folder; none if the folder has no adapter.
pub(super) fn base(folder: &Path) -> Result<Option<String>> {
    let Some(settings) = settings(folder)? else { return Ok(None) };
    Ok(Some(settings.base_model_name_or_path.unwrap_or_else(|| ".".to_owned())))
}

/// Identifies an adapter: `sha256:` and the digest of its weights; none if the folder has no adapter.
///
/// # Errors
/// If the file cannot be read; the error names it.
pub fn fingerprint(folder: &Path) -> Result<Option<String>> {
    if !folder.join(CONFIG).is_file() {
        return Ok(None);
    }
    let path = folder.join(WEIGHTS);
    let bytes = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let digest = Sha256::digest(&bytes);
    Ok(Some(digest.iter().fold("sha256:".to_owned(), |text, byte| text + &format!("{byte:02x}"))))
}

/// Copies an adapter into another folder. `base` is the base's folder, relative to it.
///
/// # Errors
/// If a file cannot be read or written; the error names it.
pub fn copy(from: &Path, to: &Path, base: &str) -> Result<()> {
    let path = from.join(CONFIG);
    let fail = || format!("cannot copy {}", path.display());
    let mut fields: serde_json::Map<String, Value> =
        serde_json::from_slice(&std::fs::read(&path).with_context(fail)?).with_context(fail)?;
    fields.insert("base_model_name_or_path".to_owned(), base.into());
    std::fs::write(to.join(CONFIG), serde_json::to_string_pretty(&fields)? + "\n").with_context(fail)?;
    std::fs::copy(from.join(WEIGHTS), to.join(WEIGHTS)).with_context(fail)?;
    Ok(())
}

fn settings(folder: &Path) -> Result<Option<Settings>> {
    let path = folder.join(CONFIG);
    if !path.is_file() {
        return Ok(None);
    }
    let fail = || format!("cannot read {}", path.display());
    let settings: Settings =
        serde_json::from_slice(&std::fs::read(&path).with_context(fail)?).with_context(fail)?;
    settings.check().with_context(|| format!("in {}", path.display()))?;
    Ok(Some(settings))
}

impl Settings {
    fn check(&self) -> Result<()> {
        ensure!(
            self.peft_type == "LORA",
            "peft_type {:?} is not supported; supported: \"LORA\"",
            self.peft_type
        );
        ensure!(self.r > 0, "r must be positive");
        let off = |value: &Value| match value {
            Value::Null | Value::Bool(false) => true,
            Value::Object(fields) => fields.is_empty(),
            Value::Array(items) => items.is_empty(),
            _ => false,
        };
        for name in UNKNOWN {
            if let Some(value) = self.others.get(name).filter(|value| !off(value)) {
                bail!("{name} {value} is not supported");
            }
        }
        let bias = self.others.get("bias").and_then(Value::as_str).unwrap_or("none");
        ensure!(bias == "none", "bias {bias:?} is not supported; supported: \"none\"");
        Ok(())
    }

    /// PEFT's alpha: the scale is alpha / rank.
    fn alpha(&self) -> f64 {
        // rsLoRA divides by the square root of the rank.
        if self.use_rslora { self.lora_alpha * (self.r as f64).sqrt() } else { self.lora_alpha }
    }
}

impl Adapter {
    /// Reads the adapter of a folder, if it has one.
    ///
    /// # Errors
    /// If a file cannot be read, or has unsupported settings; the error names it.
    pub fn load(folder: &Path) -> Result<Option<Self>> {
        let Some(settings) = settings(folder)? else { return Ok(None) };
        let path = folder.join(WEIGHTS);
        let fail = || format!("cannot read {}", path.display());
        let tensors = Tensor::read_safetensors(&path).with_context(fail)?;
        let mut halves: BTreeMap<String, [Option<Tensor>; 2]> = BTreeMap::new();
        for (name, tensor) in tensors {
            let module = name.strip_prefix(WRAPPED).unwrap_or(&name);
            let (module, half) = if let Some(module) = module.strip_suffix(".lora_A.weight") {
                (module, 0)
            } else if let Some(module) = module.strip_suffix(".lora_B.weight") {
                (module, 1)
            } else {
                bail!("{}: tensor {name:?} does not belong to an adapter of linear layers", path.display());
            };
            let entry = halves.entry(without_prefix(module).to_owned()).or_default();
            if let Some(place) = entry.get_mut(half) {
                *place = Some(tensor.f_to_kind(Kind::Float)?);
            }
        }
        let mut modules = BTreeMap::new();
        for (module, halves) in halves {
            let [Some(a), Some(b)] = halves else {
                bail!("{}: {module} has only one of lora_A and lora_B", path.display());
            };
            modules.insert(module, Factors { a, b });
        }
        Ok(Some(Self { modules, rank: settings.r, alpha: settings.alpha() }))
    }

    /// The factor of B · A.
    #[must_use]
    pub fn scale(&self) -> f64 {
        self.alpha / self.rank as f64
    }

    /// Adds the adapter to a checkpoint's weights.
    ///
    /// # Errors
    /// If the checkpoint lacks a tensor that the adapter changes; the error names it.
    pub fn merge_into(&self, weights: &mut Weights) -> Result<()> {
        for (module, Factors { a, b }) in &self.modules {
            let path = weights.path().to_owned();
            let wrong = || format!("{}: the adapter does not fit {module}", path.display());
            let weight = weights.named(&format!("{module}.weight")).with_context(wrong)?;
            let sizes = (weight.size(), a.size(), b.size());
            let fits = match (sizes.0.as_slice(), sizes.1.as_slice(), sizes.2.as_slice()) {
                ([outputs, inputs], [rank_a, width], [height, rank_b]) => {
                    (outputs, inputs) == (height, width) && (rank_a, rank_b) == (&self.rank, &self.rank)
                }
                _ => false,
            };
            ensure!(fits, "{}: the weight is {:?}, A {:?}, B {:?}", wrong(), sizes.0, sizes.1, sizes.2);
            let change = b.f_matmul(a)?.f_mul_scalar(self.scale())?;
            *weight = weight.f_to_kind(Kind::Float)?.f_add(&change)?;
        }
        Ok(())
    }

    /// Writes the adapter in the format of PEFT. `base` is the base's folder, relative to this one.
    ///
    /// # Errors
    /// If a file cannot be written; the error names it.
    pub fn save(&self, folder: &Path, base: &str) -> Result<()> {
        let settings = Written {
            peft_type: "LORA",
            base_model_name_or_path: base,
            task_type: None,
            inference_mode: true,
            r: self.rank,
            lora_alpha: self.alpha,
            lora_dropout: 0.0,
            bias: "none",
            fan_in_fan_out: false,
            target_modules: self.modules.keys().map(String::as_str).collect(),
        };
        let path = folder.join(CONFIG);
        std::fs::write(&path, serde_json::to_string_pretty(&settings)? + "\n")
            .with_context(|| format!("cannot write {}", path.display()))?;
        let tensors: Vec<_> = self
            .modules
            .iter()
            .flat_map(|(module, Factors { a, b })| {
                [
                    (format!("{WRAPPED}{module}.lora_A.weight"), a),
                    (format!("{WRAPPED}{module}.lora_B.weight"), b),
                ]
            })
            .collect();
        let path = folder.join(WEIGHTS);
        Tensor::write_safetensors(&tensors, &path).with_context(|| format!("cannot write {}", path.display()))
    }
}
