//! The loss that heads are trained with.

use anyhow::Result;
use tch::{Kind, Reduction, Tensor};

use super::plan::HeadKind;

/// The loss of each row, `[rows]`, from logits `[rows, outputs]`: cross-entropy for a head with one label per text, else
/// the mean of the outputs' binary cross-entropies, without outputs whose target is unknown. Targets are as
/// [`super::task::HeadTask::targets`] makes them. `smoothing` is the fraction of the probability that is spread over all
/// labels.
///
/// # Errors
/// If libtorch fails.
pub(super) fn losses(kind: HeadKind, logits: &Tensor, targets: &Tensor, smoothing: f64) -> Result<Tensor> {
    if kind == HeadKind::SingleLabel {
        return Ok(logits.f_cross_entropy_loss(targets, None::<Tensor>, Reduction::None, -100, smoothing)?);
    }
    let known = targets.f_isnan()?.f_logical_not()?.f_to_kind(Kind::Float)?;
    let targets = targets.f_nan_to_num(0.0, None, None)?;
    let targets = targets.f_mul_scalar(1.0 - smoothing)?.f_add_scalar(0.5 * smoothing)?;
    let losses = logits.f_binary_cross_entropy_with_logits(
        &targets,
        None::<Tensor>,
        None::<Tensor>,
        Reduction::None,
    )?;
    let sum = losses.f_mul(&known)?.f_sum_dim_intlist(1, false, Kind::Float)?;
    Ok(sum.f_div(&known.f_sum_dim_intlist(1, false, Kind::Float)?.f_clamp_min(1.0)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loss(kind: HeadKind, logits: &[f32], targets: &Tensor) -> f32 {
        let logits = Tensor::from_slice(logits).unsqueeze(0);
        Vec::<f32>::try_from(losses(kind, &logits, targets, 0.0).unwrap()).unwrap()[0]
    }

    #[test]
    fn one_label_is_a_softmax_and_several_are_sigmoids() {
        let one = loss(HeadKind::SingleLabel, &[0.0, 0.0], &Tensor::from_slice(&[1i64]));
        assert!((one - 2.0f32.ln()).abs() < 1e-6);
        let several =
            loss(HeadKind::MultiLabel, &[0.0, 50.0], &Tensor::from_slice(&[1.0f32, 1.0]).unsqueeze(0));
        assert!((several - 0.5 * 2.0f32.ln()).abs() < 1e-6);
    }

    #[test]
    fn unknown_targets_do_not_count() {
        let loss_of = |first, other| {
            loss(HeadKind::Score, &[1.0, other], &Tensor::from_slice(&[first, f32::NAN]).unsqueeze(0))
        };
        assert_eq!(loss_of(0.25, 0.0), loss_of(0.25, 7.0));
        assert_eq!(loss_of(f32::NAN, 0.0), 0.0);
    }
}
