//! The temperature that divides a head's logits, so that its confidences match how often it is right.
//!
//! It is stored apart from the weights, so that it can be fitted again, and merged into them on loading, so that it costs
//! nothing.

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use super::heads::Linear;
use super::weights::Weight;

/// A head's temperature. Above 1 it makes confidences smaller, below 1 larger; the most likely label stays
/// the same.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Temperature {
    /// One for all outputs.
    All(f32),
    /// One for each output, of heads whose outputs are independent.
    Each(Vec<f32>),
}

impl Temperature {
    /// Rejects temperatures that logits cannot be divided by.
    ///
    /// # Errors
    /// If the temperature is invalid; the error says why.
    pub(super) fn check(&self, outputs: usize, independent: bool) -> Result<()> {
        if let Self::Each(each) = self {
            ensure!(
                independent,
                "a temperature for each label needs a head of kind \"multi-label\" or \"score\""
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
    pub fn for_output(&self, output: usize) -> f32 {
        match self {
            Self::All(one) => *one,
            Self::Each(each) => each.get(output).copied().unwrap_or(1.0),
        }
    }

    /// The layer whose logits are divided by it. Without a layer, it starts from the identity.
    pub(super) fn in_layer(&self, linear: Option<&Linear>, outputs: usize, device: Device) -> Result<Linear> {
        let divisors: Vec<_> = (0..outputs).map(|output| self.for_output(output)).collect();
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
    fn invalid_temperatures_are_rejected() {
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
}
