//! The trainable weights of the encoder: adapters, or the weights themselves.
//!
//! The encoder computes with trainable tensors, in its own precision. After a pass, their gradients are passed on, in
//! float32, to the parameters that they are computed from; after a step, they are computed anew. So an adapter adds no
//! product to any layer, and the trained tensor is bit for bit the one that is merged at load.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use tch::{Device, Kind, Tensor};

use super::parameters::{ParameterId, Parameters};
use super::settings::{FineTuneSettings, Method};
use llm_router_classifier::model::adapter::{Adapter, Factors};
use llm_router_classifier::model::training::{Part, TrainableTensor};

/// The encoder's tensors that are trained, and the parameters that they are computed from.
pub(super) struct TrainableWeights {
    method: Method,
    tensors: Vec<TrainedTensor>,
}

struct TrainedTensor {
    tensor: TrainableTensor,
    origin: Origin,
}

/// What a tensor is computed from.
enum Origin {
    /// The frozen weight, and an adapter for each of its modules.
    Lora(Vec<LoraModule>),
    /// Its own parameter.
    Full(ParameterId),
}

/// The adapter of one module.
struct LoraModule {
    name: String,
    /// The module's first row in the tensor.
    first_row: i64,
    rows: i64,
    a: ParameterId,
    b: ParameterId,
}

/// DeBERTa's projections of relative positions, where they are not the projections of the content. They have no adapters.
const POSITION_PROJECTIONS: [&str; 2] = ["pos_query_proj", "pos_key_proj"];

impl TrainableWeights {
    /// Adds the parameters of the first `layers` layers, and makes gradients reach their tensors.
    pub(super) fn new(
        tensors: Vec<TrainableTensor>,
        layers: usize,
        settings: &FineTuneSettings,
        parameters: &mut Parameters,
    ) -> Result<Self> {
        let mut random = fastrand::Rng::with_seed(settings.seed);
        let mut trained = Vec::new();
        for tensor in tensors {
            let Some(name) = tensor.names.first() else { continue };
            if layer_of(name).is_none_or(|layer| layer >= layers) {
                continue;
            }
            let origin = match settings.method {
                Method::Full => {
                    let value = tensor.master.shallow_clone();
                    Origin::Full(parameters.add(
                        name.clone(),
                        value,
                        settings.learning_rate,
                        settings.weight_decay,
                    )?)
                }
                Method::Lora { .. } if tensor.part != Part::Matrix => continue,
                Method::Lora { .. } if POSITION_PROJECTIONS.iter().any(|part| name.contains(part)) => {
                    continue;
                }
                Method::Lora { rank, .. } => {
                    Origin::Lora(lora_modules(&tensor, rank, settings, parameters, &mut random)?)
                }
            };
            let _ = tensor.tensor.f_set_requires_grad(true)?;
            trained.push(TrainedTensor { tensor, origin });
        }
        Ok(Self { method: settings.method, tensors: trained })
    }

    /// The factor of B · A.
    fn scale(&self) -> f64 {
        match self.method {
            Method::Lora { rank, alpha } => alpha / rank as f64,
            Method::Full => 1.0,
        }
    }

    /// Moves the gradients of the tensors to the parameters. Call it without a gradient graph.
    pub(super) fn collect_gradients(&self, parameters: &mut Parameters) -> Result<()> {
        for TrainedTensor { tensor, origin } in &self.tensors {
            let mut gradient = tensor.tensor.f_grad()?;
            if !gradient.defined() {
                continue;
            }
            let float = gradient.f_to_kind(Kind::Float)?;
            match origin {
                Origin::Full(id) => parameters.accumulate(*id, &float)?,
                Origin::Lora(modules) => {
                    let float = float.f_mul_scalar(self.scale())?;
                    for module in modules {
                        let rows = float.f_narrow(0, module.first_row, module.rows)?;
                        let of_b = rows.f_matmul(&parameters.value(module.a)?.f_transpose(0, 1)?)?;
                        let of_a = parameters.value(module.b)?.f_transpose(0, 1)?.f_matmul(&rows)?;
                        parameters.accumulate(module.b, &of_b)?;
                        parameters.accumulate(module.a, &of_a)?;
                    }
                }
            }
            let _ = gradient.f_zero_()?;
        }
        Ok(())
    }

    /// Computes the tensors from the parameters. Call it without a gradient graph.
    pub(super) fn apply(&self, parameters: &Parameters) -> Result<()> {
        for TrainedTensor { tensor, origin } in &self.tensors {
            match origin {
                Origin::Full(id) => tensor.tensor.shallow_clone().f_copy_(parameters.value(*id)?)?,
                Origin::Lora(modules) => {
                    for module in modules {
                        let rows = |tensor: &Tensor| tensor.f_narrow(0, module.first_row, module.rows);
                        let product = parameters.value(module.b)?.f_matmul(parameters.value(module.a)?)?;
                        let weight = rows(&tensor.master)?.f_add(&product.f_mul_scalar(self.scale())?)?;
                        rows(&tensor.tensor)?.f_copy_(&weight)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// The adapter, on CPU, if adapters are trained.
    pub(super) fn adapter(&self, parameters: &Parameters) -> Result<Option<Adapter>> {
        let Method::Lora { rank, alpha } = self.method else { return Ok(None) };
        let mut modules = BTreeMap::new();
        for TrainedTensor { origin, .. } in &self.tensors {
            let Origin::Lora(adapted) = origin else { continue };
            for module in adapted {
                let copy = |id| anyhow::Ok(parameters.value(id)?.f_detach_copy()?.f_to_device(Device::Cpu)?);
                modules.insert(module.name.clone(), Factors { a: copy(module.a)?, b: copy(module.b)? });
            }
        }
        Ok(Some(Adapter { modules, rank, alpha }))
    }

    /// The trained weights, on CPU, by the checkpoint's names; empty if adapters are trained.
    pub(super) fn weights(&self, parameters: &Parameters) -> Result<BTreeMap<String, Tensor>> {
        let mut weights = BTreeMap::new();
        for TrainedTensor { tensor, origin } in &self.tensors {
            let Origin::Full(id) = origin else { continue };
            let value = parameters.value(*id)?.f_detach_copy()?.f_to_device(Device::Cpu)?;
            let parts = value.f_chunk(tensor.names.len() as i64, 0)?;
            for (name, part) in tensor.names.iter().zip(parts) {
                weights.insert(name.clone(), part.f_contiguous()?);
            }
        }
        Ok(weights)
    }
}

/// Adds adapters of a tensor's modules. As in PEFT, A is random and B is zero, so that training starts from the unchanged
/// encoder.
fn lora_modules(
    tensor: &TrainableTensor,
    rank: i64,
    settings: &FineTuneSettings,
    parameters: &mut Parameters,
    random: &mut fastrand::Rng,
) -> Result<Vec<LoraModule>> {
    let (height, inputs) = tensor.master.size2()?;
    let rows = height / tensor.names.len() as i64;
    let bound = 1.0 / (inputs as f32).sqrt();
    let device = tensor.master.device();
    let mut modules = Vec::new();
    for (number, name) in (0..).zip(&tensor.names) {
        let name = name.strip_suffix(".weight").context("a matrix whose name does not end in .weight")?;
        let numbers: Vec<f32> = (0..rank * inputs).map(|_| bound * (2.0 * random.f32() - 1.0)).collect();
        let a = Tensor::f_from_slice(&numbers)?.f_view([rank, inputs])?.f_to_device(device)?;
        let b = Tensor::f_zeros([rows, rank], (Kind::Float, device))?;
        let mut add = |factor, value| {
            let name = format!("{name}.{factor}");
            parameters.add(name, value, settings.learning_rate, settings.weight_decay)
        };
        let (a, b) = (add("lora_A", a)?, add("lora_B", b)?);
        modules.push(LoraModule { name: name.to_owned(), first_row: number * rows, rows, a, b });
    }
    Ok(modules)
}

/// The layer of a tensor, from 0: `encoder.layer.3.output.dense.weight` or `layers.3.mlp.Wo.weight`.
fn layer_of(name: &str) -> Option<usize> {
    let mut parts = name.split('.').skip_while(|part| !matches!(*part, "layer" | "layers"));
    parts.nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tensors_layer_is_in_its_name() {
        assert_eq!(layer_of("encoder.layer.3.output.dense.weight"), Some(3));
        assert_eq!(layer_of("layers.12.mlp.Wo.weight"), Some(12));
        assert_eq!(layer_of("encoder.LayerNorm.weight"), None);
    }
}
