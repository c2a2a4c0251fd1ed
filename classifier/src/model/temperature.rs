//! What a head's logits are divided by, so that its confidences are what they say.
//!
//! It is kept apart from the weights, so that it can be fitted again, and brought into them when they are loaded, so that
//! it costs nothing.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tch::{Device, Kind, Tensor};

use super::head_files::settings_of;
use super::heads::Linear;
use super::weights::Weight;

/// The field of `head.json`.
const FIELD: &str = "temperature";

/// A head's temperature. Above 1 it makes confidences smaller, below 1 larger; what is most likely stays so.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Temperature {
    /// One for all outputs.
    All(f32),
    /// One for each output, of heads whose outputs are independent.
    Each(Vec<f32>),
}

impl Temperature {
    /// Refuses what logits cannot be divided by.
    ///
    /// # Errors
    /// If it says what is wrong.
    pub(super) fn check(&self, outputs: usize, independent: bool) -> Result<()> {
        if let Self::Each(each) = self {
            ensure!(
                independent,
                "a temperature for each label is for heads of kind \"multi-label\" or \"score\""
            );
            ensure!(each.len() == outputs, "{} temperatures for {outputs} labels", each.len());
        }
        let fit = |temperature: &f32| *temperature > 0.0 && temperature.is_finite();
        ensure!(self.all().iter().all(fit), "a temperature must be a number above 0");
        Ok(())
    }

    fn all(&self) -> &[f32] {
        match self {
            Self::All(one) => std::slice::from_ref(one),
            Self::Each(each) => each,
        }
    }

    /// The temperature of an output.
    #[must_use]
    pub fn of(&self, output: usize) -> f32 {
        match self {
            Self::All(one) => *one,
            Self::Each(each) => each.get(output).copied().unwrap_or(1.0),
        }
    }

    /// The layer whose logits are divided by it. None is a layer that changes nothing.
    pub(super) fn in_layer(&self, linear: Option<&Linear>, outputs: usize, device: Device) -> Result<Linear> {
        let divisors: Vec<_> = (0..outputs).map(|output| self.of(output)).collect();
        let divisors = Tensor::f_from_slice(&divisors)?.f_to_device(device)?;
        let (weight, bias) = match linear {
            Some(Linear { weight, bias }) => (weight.shallow_clone(), bias.shallow_clone()),
            None => {
                let (outputs, options) = (outputs as i64, (Kind::Float, device));
                (Tensor::f_eye(outputs, options)?, Tensor::f_zeros([outputs], options)?)
            }
        };
        Ok(Linear {
            weight: Weight::new(weight.f_div(&divisors.f_unsqueeze(1)?)?),
            bias: Weight::new(bias.f_div(&divisors)?),
        })
    }
}

/// What is known of a head on disk, to set its temperature.
#[derive(Debug)]
pub struct HeadSettings {
    path: PathBuf,
    fields: Map<String, Value>,
}

impl HeadSettings {
    /// Reads a head's `head.json`.
    ///
    /// # Errors
    /// If there is none; the error names it.
    pub fn read(model: &Path, head: &str) -> Result<Self> {
        let path = settings_of(model, head);
        let fail = || format!("cannot read {}", path.display());
        let json = std::fs::read(&path).with_context(fail)?;
        let fields = serde_json::from_slice(&json).with_context(fail)?;
        Ok(Self { path, fields })
    }

    /// Whether each output has a probability of its own.
    #[must_use]
    pub fn is_independent(&self) -> bool {
        self.fields.get("kind").and_then(Value::as_str).is_some_and(|kind| kind != "single-label")
    }

    /// What each of so many dimensions of a score counts; they add up to 1.
    #[must_use]
    pub fn weights(&self, dimensions: usize) -> Vec<f32> {
        let given = self.fields.get("weights").and_then(Value::as_array);
        let given = given.map(|weights| weights.iter().filter_map(Value::as_f64).collect::<Vec<_>>());
        let weights = given.unwrap_or_else(|| vec![1.0; dimensions]);
        let sum: f64 = weights.iter().sum();
        weights.into_iter().map(|weight| (weight / sum) as f32).collect()
    }

    /// The temperature that the head has now.
    ///
    /// # Errors
    /// If it is none.
    pub fn temperature(&self) -> Result<Temperature> {
        let Some(value) = self.fields.get(FIELD) else { return Ok(Temperature::All(1.0)) };
        serde_json::from_value(value.clone()).with_context(|| {
            format!("{}: temperature {value} is not a number or a list of them", self.path.display())
        })
    }

    /// Writes the temperature into the file, leaves the rest as it is, and returns the path.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write_temperature(mut self, temperature: &Temperature) -> Result<PathBuf> {
        self.fields.insert(FIELD.to_owned(), serde_json::to_value(temperature)?);
        let json = serde_json::to_string_pretty(&self.fields)? + "\n";
        std::fs::write(&self.path, json).with_context(|| format!("cannot write {}", self.path.display()))?;
        Ok(self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(linear: &Linear) -> (Vec<Vec<f32>>, Vec<f32>) {
        (Vec::try_from(&*linear.weight).unwrap(), Vec::try_from(&*linear.bias).unwrap())
    }

    #[test]
    fn logits_are_divided_by_it() {
        let weight = Weight::new(Tensor::from_slice2(&[[2.0f32, 4.0], [6.0, 8.0]]));
        let linear = Linear { weight, bias: Weight::new(Tensor::from_slice(&[2.0f32, 4.0])) };
        let each = Temperature::Each(vec![2.0, 4.0]);
        let divided = each.in_layer(Some(&linear), 2, Device::Cpu).unwrap();
        assert_eq!(numbers(&divided), (vec![vec![1.0, 2.0], vec![1.5, 2.0]], vec![1.0, 1.0]));
        let of_logits = Temperature::All(4.0).in_layer(None, 2, Device::Cpu).unwrap();
        assert_eq!(numbers(&of_logits), (vec![vec![0.25, 0.0], vec![0.0, 0.25]], vec![0.0, 0.0]));
    }

    #[test]
    fn what_cannot_be_divided_by_is_refused() {
        for (temperature, independent, wrong) in [
            (Temperature::All(0.0), false, "above 0"),
            (Temperature::All(f32::INFINITY), false, "above 0"),
            (Temperature::Each(vec![1.0, -1.0]), true, "above 0"),
            (Temperature::Each(vec![1.0]), true, "1 temperatures for 2 labels"),
            (Temperature::Each(vec![1.0, 1.0]), false, "multi-label"),
        ] {
            let error = temperature.check(2, independent).unwrap_err().to_string();
            assert!(error.contains(wrong), "{error}");
        }
        assert!(Temperature::Each(vec![0.5, 2.0]).check(2, true).is_ok());
    }

    #[test]
    fn only_the_temperature_of_a_file_changes() {
        let model = tempfile::tempdir().unwrap();
        let path = settings_of(model.path(), "task");
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, r#"{"layer": 4, "kind": "multi-label", "else": [1]}"#).unwrap();
        let settings = HeadSettings::read(model.path(), "task").unwrap();
        assert!(settings.is_independent());
        assert_eq!(settings.temperature().unwrap(), Temperature::All(1.0));
        settings.write_temperature(&Temperature::Each(vec![0.5, 1.5])).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let json: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            json,
            serde_json::json!({"layer": 4, "kind": "multi-label", "else": [1], "temperature": [0.5, 1.5]})
        );
        let settings = HeadSettings::read(model.path(), "task").unwrap();
        assert_eq!(settings.temperature().unwrap(), Temperature::Each(vec![0.5, 1.5]));
    }
}
