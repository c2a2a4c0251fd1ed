//! What is trained of the encoder: adapters, or the weights themselves.
//!
//! The encoder computes with leaves, in its own precision. After a pass their gradients go, in float32, to what they
//! are made of; after a step they are made anew. So an adapter costs no product of its own at every layer, and what is
//! trained is to the last bit what is merged at load.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use tch::{Device, Kind, Tensor};

use super::parameters::{ParameterId, Parameters};
use super::settings::{Method, Settings};
use llm_router_classifier::model::adapter::{Adapter, Factors};
use llm_router_classifier::model::training::{Leaf, Part};

/// How the leaves are made.
pub(super) struct Change {
    method: Method,
    leaves: Vec<ChangedLeaf>,
}

struct ChangedLeaf {
    leaf: Leaf,
    made: Made,
}

enum Made {
    /// Of the frozen weight and one adapter for each module in it.
    Adapted(Vec<Module>),
    /// Of a parameter.
    Trained(ParameterId),
}

/// An adapter of one module.
struct Module {
    name: String,
    /// Where its rows are in the leaf.
    first_row: i64,
    rows: i64,
    a: ParameterId,
    b: ParameterId,
}

/// DeBERTa's projections of distances, if they are not those of the content.
const OF_DISTANCES: [&str; 2] = ["pos_query_proj", "pos_key_proj"];

impl Change {
    /// Adds the parameters for the first `layers` layers, and lets gradients reach the leaves.
    pub(super) fn new(
        leaves: Vec<Leaf>,
        layers: usize,
        settings: &Settings,
        parameters: &mut Parameters,
    ) -> Result<Self> {
        let mut random = fastrand::Rng::with_seed(settings.seed);
        let mut changed = Vec::new();
        for leaf in leaves {
            let Some(name) = leaf.names.first() else { continue };
            if layer_of(name).is_none_or(|layer| layer >= layers) {
                continue;
            }
            let made = match settings.method {
                Method::Full => {
                    let value = leaf.master.shallow_clone();
                    Made::Trained(parameters.add(
                        name.clone(),
                        value,
                        settings.learning_rate,
                        settings.weight_decay,
                    )?)
                }
                Method::Lora { .. } if leaf.part != Part::Matrix => continue,
                Method::Lora { .. } if OF_DISTANCES.iter().any(|part| name.contains(part)) => continue,
                Method::Lora { rank, .. } => {
                    Made::Adapted(adapters(&leaf, rank, settings, parameters, &mut random)?)
                }
            };
            let _ = leaf.tensor.f_set_requires_grad(true)?;
            changed.push(ChangedLeaf { leaf, made });
        }
        Ok(Self { method: settings.method, leaves: changed })
    }

    /// What B · A is multiplied with.
    fn scale(&self) -> f64 {
        match self.method {
            Method::Lora { rank, alpha } => alpha / rank as f64,
            Method::Full => 1.0,
        }
    }

    /// Takes the leaves' gradients. Call it without a gradient graph.
    pub(super) fn collect(&self, parameters: &mut Parameters) -> Result<()> {
        for ChangedLeaf { leaf, made } in &self.leaves {
            let mut gradient = leaf.tensor.f_grad()?;
            if !gradient.defined() {
                continue;
            }
            let single = gradient.f_to_kind(Kind::Float)?;
            match made {
                Made::Trained(id) => parameters.accumulate(*id, &single)?,
                Made::Adapted(modules) => {
                    let single = single.f_mul_scalar(self.scale())?;
                    for module in modules {
                        let rows = single.f_narrow(0, module.first_row, module.rows)?;
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

    /// Makes the leaves of what the parameters are now. Call it without a gradient graph.
    pub(super) fn apply(&self, parameters: &Parameters) -> Result<()> {
        for ChangedLeaf { leaf, made } in &self.leaves {
            match made {
                Made::Trained(id) => leaf.tensor.shallow_clone().f_copy_(parameters.value(*id)?)?,
                Made::Adapted(modules) => {
                    for module in modules {
                        let rows = |tensor: &Tensor| tensor.f_narrow(0, module.first_row, module.rows);
                        let product = parameters.value(module.b)?.f_matmul(parameters.value(module.a)?)?;
                        let weight = rows(&leaf.master)?.f_add(&product.f_mul_scalar(self.scale())?)?;
                        rows(&leaf.tensor)?.f_copy_(&weight)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// The adapter, on CPU, if that is what is trained.
    pub(super) fn adapter(&self, parameters: &Parameters) -> Result<Option<Adapter>> {
        let Method::Lora { rank, alpha } = self.method else { return Ok(None) };
        let mut modules = BTreeMap::new();
        for ChangedLeaf { made, .. } in &self.leaves {
            let Made::Adapted(adapted) = made else { continue };
            for module in adapted {
                let copy = |id| anyhow::Ok(parameters.value(id)?.f_detach_copy()?.f_to_device(Device::Cpu)?);
                modules.insert(module.name.clone(), Factors { a: copy(module.a)?, b: copy(module.b)? });
            }
        }
        Ok(Some(Adapter { modules, rank, alpha }))
    }

    /// The trained weights, on CPU, by the checkpoint's names; none if adapters are trained.
    pub(super) fn weights(&self, parameters: &Parameters) -> Result<BTreeMap<String, Tensor>> {
        let mut weights = BTreeMap::new();
        for ChangedLeaf { leaf, made } in &self.leaves {
            let Made::Trained(id) = made else { continue };
            let value = parameters.value(*id)?.f_detach_copy()?.f_to_device(Device::Cpu)?;
            let parts = value.f_chunk(leaf.names.len() as i64, 0)?;
            for (name, part) in leaf.names.iter().zip(parts) {
                weights.insert(name.clone(), part.f_contiguous()?);
            }
        }
        Ok(weights)
    }
}

/// Adapters of a leaf's modules: A by chance, as PEFT does, and B zero, so that training begins with the encoder as it is.
fn adapters(
    leaf: &Leaf,
    rank: i64,
    settings: &Settings,
    parameters: &mut Parameters,
    random: &mut fastrand::Rng,
) -> Result<Vec<Module>> {
    let (height, inputs) = leaf.master.size2()?;
    let rows = height / leaf.names.len() as i64;
    let bound = 1.0 / (inputs as f32).sqrt();
    let mut modules = Vec::new();
    for (number, name) in (0..).zip(&leaf.names) {
        let name = name.strip_suffix(".weight").context("a matrix is called .weight")?;
        let numbers: Vec<f32> = (0..rank * inputs).map(|_| bound * (2.0 * random.f32() - 1.0)).collect();
        let a = Tensor::f_from_slice(&numbers)?.f_view([rank, inputs])?.f_to_device(leaf.master.device())?;
        let b = Tensor::f_zeros([rows, rank], (Kind::Float, leaf.master.device()))?;
        let mut add = |half, value| {
            let name = format!("{name}.{half}");
            parameters.add(name, value, settings.learning_rate, settings.weight_decay)
        };
        let (a, b) = (add("lora_A", a)?, add("lora_B", b)?);
        modules.push(Module { name: name.to_owned(), first_row: number * rows, rows, a, b });
    }
    Ok(modules)
}

/// Which layer a tensor is of, from 0: `encoder.layer.3.output.dense.weight` or `layers.3.mlp.Wo.weight`.
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
