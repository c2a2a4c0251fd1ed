//! How the learning rate rises and falls.

use std::f64::consts::PI;

use super::settings::Decay;

/// The share of the highest learning rate at a point of the training, from 0 to 1.
pub(super) fn share(progress: f64, warm_up: f64, decay: Decay) -> f64 {
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
    fn it_rises_to_1_and_falls_to_0() {
        for decay in [Decay::Linear, Decay::Cosine] {
            let shares = [0.05, 0.1, 0.55, 1.0].map(|progress| share(progress, 0.1, decay));
            for (share, expected) in shares.iter().zip([0.5, 1.0, 0.5, 0.0]) {
                assert!((share - expected).abs() < 1e-9, "{shares:?}");
            }
        }
        assert_eq!(share(0.0, 0.0, Decay::Linear), 1.0);
    }
}
