//! Fits temperatures: divisors of the logits that make confidences match accuracy (Guo et al. 2017).
//!
//! They are fitted to the probabilities that are served, whose logarithms are the logits up to a constant.

use llm_router_classifier::model::prediction::HeadOutput;

/// The bounds of the search.
const MIN: f64 = 0.05;
const MAX: f64 = 20.0;
/// Each step keeps 0.618 of the range; these steps keep less than a millionth.
const STEPS: u32 = 32;

/// Returns the factor of the present temperature that minimizes the log loss of the true labels, given as indices of the
/// head's labels. None without rows.
#[must_use]
pub fn fit_single_label(scores: &[HeadOutput], truth: &[i64]) -> Option<f64> {
    let rows: Vec<_> = scores
        .iter()
        .zip(truth)
        .filter_map(|(scores, &truth)| {
            let logits: Vec<_> =
                scores.confidences.iter().map(|&probability| logarithm(probability)).collect();
            let of_truth = logits.get(usize::try_from(truth).ok()?).copied()?;
            Some((logits, of_truth))
        })
        .collect();
    let loss = |temperature: f64| {
        rows.iter()
            .map(|(logits, of_truth)| {
                log_sum(logits.iter().map(|logit| logit / temperature)) - of_truth / temperature
            })
            .sum()
    };
    (!rows.is_empty()).then(|| minimum(loss))
}

/// Returns the same factor for one output of a head with independent outputs. The truths are from 0 to 1.
#[must_use]
pub fn fit_output(probabilities: &[f32], truths: &[f64]) -> Option<f64> {
    let rows: Vec<_> = probabilities
        .iter()
        .zip(truths)
        .map(|(&probability, &truth)| (logarithm(probability) - logarithm(1.0 - probability), truth))
        .collect();
    let loss = |temperature: f64| {
        // The log loss of a sigmoid, in a form that does not overflow.
        let of_row = |&(logit, truth): &(f64, f64)| {
            let logit = logit / temperature;
            logit.max(0.0) - logit * truth + (-logit.abs()).exp().ln_1p()
        };
        rows.iter().map(of_row).sum()
    };
    (!rows.is_empty()).then(|| minimum(loss))
}

/// The scores of a head after its temperature is multiplied by a factor.
#[must_use]
pub fn rescaled(scores: &HeadOutput, factor: f64) -> HeadOutput {
    let logits: Vec<_> =
        scores.confidences.iter().map(|&probability| logarithm(probability) / factor).collect();
    let sum = log_sum(logits.iter().copied());
    let confidences = logits.into_iter().map(|logit| (logit - sum).exp() as f32).collect();
    HeadOutput { confidences, ..scores.clone() }
}

/// The probability of an independent output after its temperature is multiplied by a factor.
#[must_use]
pub fn rescaled_output(probability: f32, factor: f64) -> f32 {
    let logit = (logarithm(probability) - logarithm(1.0 - probability)) / factor;
    (1.0 / (1.0 + (-logit).exp())) as f32
}

/// The logarithm of a probability, which can be too small for float32.
fn logarithm(probability: f32) -> f64 {
    f64::from(probability.max(f32::MIN_POSITIVE)).ln()
}

fn log_sum(logits: impl Iterator<Item = f64> + Clone) -> f64 {
    let most = logits.clone().fold(f64::MIN, f64::max);
    most + logits.map(|logit| (logit - most).exp()).sum::<f64>().ln()
}

/// Finds the temperature with the lowest loss, which has one minimum, by golden-section search over its logarithm.
fn minimum(loss: impl Fn(f64) -> f64) -> f64 {
    let loss = |logarithm: f64| loss(logarithm.exp());
    let golden = (5f64.sqrt() - 1.0) / 2.0;
    let (mut low, mut high) = (MIN.ln(), MAX.ln());
    for _ in 0..STEPS {
        let (left, right) = (high - golden * (high - low), low + golden * (high - low));
        if loss(left) <= loss(right) {
            high = right;
        } else {
            low = left;
        }
    }
    f64::midpoint(low, high).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scores(confidences: &[f32]) -> HeadOutput {
        let labels: Vec<_> = (0..confidences.len()).map(|label| label.to_string()).collect();
        HeadOutput {
            head: "task".into(),
            labels: labels.into(),
            confidences: confidences.to_vec(),
            score: None,
        }
    }

    /// The probability of the first of two logits in a softmax.
    fn sigmoid(logit: f64) -> f32 {
        (1.0 / (1.0 + (-logit).exp())) as f32
    }

    #[test]
    fn overconfident_scores_are_scaled_to_their_accuracy() {
        // Its confidence is 0.982 = sigmoid(4), and 3 of 4 predictions are right: sigmoid(4 / T) = 0.75 for T = 4 / ln 3.
        let scores = scores(&[sigmoid(4.0), 1.0 - sigmoid(4.0)]);
        let factor = fit_single_label(&vec![scores.clone(); 4], &[0, 0, 1, 0]).unwrap();
        assert!((factor - 4.0 / 3f64.ln()).abs() < 1e-3, "{factor}");
        assert!((rescaled(&scores, factor).confidences[0] - 0.75).abs() < 1e-3);
    }

    #[test]
    fn an_independent_output_is_fitted_to_fractions() {
        let probabilities = [sigmoid(1.0), sigmoid(-1.0)];
        // sigmoid(1 / T) = 0.9 for T = 1 / ln 9.
        let factor = fit_output(&probabilities, &[0.9, 0.1]).unwrap();
        assert!((factor - 1.0 / 9f64.ln()).abs() < 1e-3, "{factor}");
        assert!((rescaled_output(probabilities[0], factor) - 0.9).abs() < 1e-3);
    }

    #[test]
    fn wrong_certainty_gives_a_finite_temperature() {
        let factor = fit_single_label(&[scores(&[1.0, 0.0])], &[1]).unwrap();
        assert!(factor > 19.0 && factor.is_finite(), "{factor}");
        assert_eq!(fit_single_label(&[], &[]), None);
        assert_eq!(rescaled(&scores(&[0.5, 0.5]), 3.0).confidences, [0.5, 0.5]);
    }
}
