//! Divides texts into steps, and the texts of a step into micro-batches that share a forward pass.

/// The steps of an epoch, `batch` texts each. Seed and epoch determine the order.
pub(super) fn steps(texts: usize, batch: usize, seed: u64, epoch: usize) -> Vec<Vec<usize>> {
    let mut order: Vec<_> = (0..texts).collect();
    fastrand::Rng::with_seed(seed ^ (epoch as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15)).shuffle(&mut order);
    order.chunks(batch.max(1)).map(<[usize]>::to_vec).collect()
}

/// The largest fraction of padding in a micro-batch of at least [`MIN_TOKENS`].
const MAX_PADDING: f64 = 0.2;
/// With fewer tokens, a separate pass costs more than padding.
const MIN_TOKENS: usize = 512;

/// Divides texts into micro-batches of similar length, of at most `max_tokens` with padding. `length` is a
/// text's number of tokens. A text that is longer than the bound has its own micro-batch.
pub(super) fn micro_batches(
    texts: &[usize],
    length: impl Fn(usize) -> usize,
    max_tokens: usize,
) -> Vec<Vec<usize>> {
    let mut sorted: Vec<_> = texts.iter().map(|&text| (length(text), text)).collect();
    sorted.sort_unstable();
    let mut batches: Vec<Vec<usize>> = Vec::new();
    let mut tokens = 0;
    for (length, text) in sorted {
        if let Some(batch) = batches.last_mut() {
            let padded = (batch.len() + 1) * length;
            let padding = 1.0 - (tokens + length) as f64 / padded.max(1) as f64;
            if padded <= max_tokens && (tokens < MIN_TOKENS || padding < MAX_PADDING) {
                batch.push(text);
                tokens += length;
                continue;
            }
        }
        batches.push(vec![text]);
        tokens = length;
    }
    batches
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
    fn micro_batches_hold_texts_of_similar_length_within_the_bound() {
        let lengths = [600, 10, 12, 590, 11, 3000];
        let batches = micro_batches(&[0, 1, 2, 3, 4, 5], |text| lengths[text], 1300);
        assert_eq!(batches, [vec![1, 4, 2], vec![3, 0], vec![5]]);
    }
}
