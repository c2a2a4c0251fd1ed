//! The similarity of a text to the examples of each label. Pure.

use std::sync::Arc;

use llm_router_routing::config::Classifier;

use crate::model::prediction::HeadOutput;

/// The examples of some labels, as embeddings of length 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Similarity {
    labels: Arc<[String]>,
    /// In the labels' order.
    groups: Vec<Group>,
    /// The cosine similarity of unrelated texts, which counts as 0.
    unrelated: f32,
}

#[derive(Debug, Clone, PartialEq)]
struct Group {
    examples: Vec<Vec<f32>>,
    /// Their mean, of length 1.
    centre: Vec<f32>,
}

impl Similarity {
    /// From the embeddings of each label's examples.
    #[must_use]
    pub fn new(labels: Vec<(String, Vec<Vec<f32>>)>) -> Self {
        let (labels, examples): (Vec<_>, Vec<_>) = labels.into_iter().unzip();
        let groups = examples.into_iter().map(|examples| Group { centre: centre(&examples), examples });
        Self { labels: labels.into(), groups: groups.collect(), unrelated: 0.0 }
    }

    /// The same for an encoder whose embeddings of unrelated texts have this cosine similarity, below 1. The vectors of some
    /// encoders lie in a narrow cone; with this rescaling, one `min_confidence` fits all encoders.
    #[must_use]
    pub fn with_unrelated(self, unrelated: f32) -> Self {
        Self { unrelated, ..self }
    }

    /// The similarity of an embedding of length 1 to each label's examples, from 0 to 1.
    ///
    /// It is the average of two cosine similarities: to the nearest example and to the centre of all examples. On
    /// CLINC150 and Banking77, with 5 and with 10 examples per label, it is at least as good as the better of the two.
    #[must_use]
    pub fn compare(&self, embedding: &[f32]) -> HeadOutput {
        let confidences = self.groups.iter().map(|group| {
            let nearest = group.examples.iter().map(|example| dot(example, embedding));
            let nearest = nearest.fold(f32::NEG_INFINITY, f32::max);
            let similarity = f32::midpoint(nearest, dot(&group.centre, embedding));
            ((similarity - self.unrelated) / (1.0 - self.unrelated)).clamp(0.0, 1.0)
        });
        HeadOutput {
            head: Classifier::EXAMPLES.into(),
            labels: self.labels.clone(),
            confidences: confidences.collect(),
            score: None,
        }
    }
}

fn centre(examples: &[Vec<f32>]) -> Vec<f32> {
    let width = examples.first().map_or(0, Vec::len);
    let mut sum = vec![0.0; width];
    for example in examples {
        for (total, value) in sum.iter_mut().zip(example) {
            *total += value;
        }
    }
    let length = dot(&sum, &sum).sqrt();
    // Examples that cancel each other out have no common direction, so nothing is similar to their centre.
    if length > 0.0 {
        sum.iter_mut().for_each(|value| *value /= length);
    }
    sum
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn similarity(labels: &[(&str, &[[f32; 2]])]) -> Similarity {
        let vectors = |examples: &[[f32; 2]]| examples.iter().map(|example| example.to_vec()).collect();
        Similarity::new(
            labels.iter().map(|(label, examples)| ((*label).to_owned(), vectors(examples))).collect(),
        )
    }

    #[test]
    fn a_similarity_is_the_average_to_the_nearest_example_and_to_the_centre() {
        let similarity = similarity(&[("a", &[[1.0, 0.0], [0.0, 1.0]]), ("b", &[[-1.0, 0.0]])]);
        let scores = similarity.compare(&[1.0, 0.0]);
        assert_eq!(&*scores.head, "examples");
        assert_eq!(&*scores.labels, ["a", "b"]);
        let [a, b] = scores.confidences[..] else { panic!("{scores:?}") };
        // The nearest is the same; the centre is 45 degrees away.
        assert!((a - f32::midpoint(1.0, 0.5_f32.sqrt())).abs() < 1e-6, "{a}");
        assert_eq!(b, 0.0, "a similarity is not negative");
    }

    #[test]
    fn the_similarity_of_unrelated_texts_counts_as_zero() {
        let similarity = similarity(&[("a", &[[1.0, 0.0]])]).with_unrelated(0.6);
        let of = |embedding: [f32; 2]| similarity.compare(&embedding).confidences[0];
        assert_eq!((of([1.0, 0.0]), of([0.6, 0.8]), of([0.0, 1.0])), (1.0, 0.0, 0.0));
        assert!((of([0.8, 0.6]) - 0.5).abs() < 1e-6);
    }

    #[test]
    fn examples_that_cancel_each_other_out_are_still_compared_one_by_one() {
        let similarity = similarity(&[("a", &[[1.0, 0.0], [-1.0, 0.0]])]);
        assert_eq!(similarity.compare(&[1.0, 0.0]).confidences, [0.5]);
    }
}
