//! The schedule of the learning rate.

use std::f64::consts::PI;

use super::settings::Decay;

/// The fraction of the highest learning rate at a point of the training. `progress` and `warm_up` are fractions of the
/// training.
pub(super) fn learning_rate_fraction(progress: f64, warm_up: f64, decay: Decay) -> f64 {
    if progress < warm_up {
        return progress / warm_up;
    }
    let rest = ((progress - warm_up) / (1.0 - warm_up).max(1e-9)).clamp(0.0, 1.0);
    match decay {
        Decay::Linear => 1.0 - rest,
        Decay::Cosine => 0.5 * (1.0 + (PI * rest).cos()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_rises_to_its_highest_and_falls_to_0() {
        for decay in [Decay::Linear, Decay::Cosine] {
            let fractions =
                [0.05, 0.1, 0.55, 1.0].map(|progress| learning_rate_fraction(progress, 0.1, decay));
            for (fraction, expected) in fractions.iter().zip([0.5, 1.0, 0.5, 0.0]) {
                assert!((fraction - expected).abs() < 1e-9, "{fractions:?}");
            }
        }
        assert_eq!(learning_rate_fraction(0.0, 0.0, Decay::Linear), 1.0);
    }
}
