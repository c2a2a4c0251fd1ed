//! Which texts go into a step, and which of them through the encoder at once.

/// The steps of an epoch: texts in an order that seed and epoch decide, so many a step.
pub(super) fn steps(texts: usize, batch: usize, seed: u64, epoch: usize) -> Vec<Vec<usize>> {
    let mut order: Vec<_> = (0..texts).collect();
    fastrand::Rng::with_seed(seed ^ (epoch as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15)).shuffle(&mut order);
    order.chunks(batch.max(1)).map(<[usize]>::to_vec).collect()
}

/// Share of a part that may be padding, once the part is worth a pass.
const PADDING: f64 = 0.2;
/// Tokens that are worth a pass of their own.
const WORTH: usize = 512;

/// Divides texts into parts of similar length, of at most so many tokens with padding. `length` is a text's, in tokens;
/// a text that alone has more is a part of its own.
pub(super) fn parts(texts: &[usize], length: impl Fn(usize) -> usize, most: usize) -> Vec<Vec<usize>> {
    let mut sorted: Vec<_> = texts.iter().map(|&text| (length(text), text)).collect();
    sorted.sort_unstable();
    let mut parts: Vec<Vec<usize>> = Vec::new();
    let mut tokens = 0;
    for (length, text) in sorted {
        if let Some(part) = parts.last_mut() {
            let padded = (part.len() + 1) * length;
            let padding = 1.0 - (tokens + length) as f64 / padded.max(1) as f64;
            if padded <= most && (tokens < WORTH || padding < PADDING) {
                part.push(text);
                tokens += length;
                continue;
            }
        }
        parts.push(vec![text]);
        tokens = length;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_is_in_one_step_and_every_epoch_has_its_order() {
        let (one, two) = (steps(10, 4, 1, 0), steps(10, 4, 1, 1));
        assert_eq!(one.iter().map(Vec::len).collect::<Vec<_>>(), [4, 4, 2]);
        assert_ne!(one, two);
        assert_eq!(one, steps(10, 4, 1, 0));
        let mut all = one.concat();
        all.sort_unstable();
        assert_eq!(all, (0..10).collect::<Vec<_>>());
    }

    #[test]
    fn parts_hold_texts_of_similar_length_within_the_bound() {
        let lengths = [600, 10, 12, 590, 11, 3000];
        let parts = parts(&[0, 1, 2, 3, 4, 5], |text| lengths[text], 1300);
        assert_eq!(parts, [vec![1, 4, 2], vec![3, 0], vec![5]]);
    }
}
