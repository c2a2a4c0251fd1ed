//! The prediction of a model for a text.

use std::sync::Arc;

use llm_router_routing::classification::{self, Classification, Label, Score};
use serde_json::{Map, Value, json};

use super::tokenizer::Coverage;

/// Which outputs of the model are requested.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outputs {
    /// Every head's scores.
    Scores,
    /// The sentence embedding. It needs all layers, whereas heads may read a middle one.
    Embedding,
    /// Both, of one forward pass.
    ScoresAndEmbedding,
}

impl Outputs {
    /// Whether the heads' scores are requested.
    #[must_use]
    pub fn scores(self) -> bool {
        self != Self::Embedding
    }

    /// Whether the sentence embedding is requested.
    #[must_use]
    pub fn embedding(self) -> bool {
        self != Self::Scores
    }

    /// The outputs that either requests.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        if self == other { self } else { Self::ScoresAndEmbedding }
    }
}

/// The prediction of a model for one text.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Prediction {
    /// Each head's scores, in the order of the heads' names; empty if they were not requested.
    pub scores: Vec<HeadOutput>,
    /// The sentence embedding, of length 1, if it was requested.
    pub embedding: Option<Vec<f32>>,
    /// How much of the text was read.
    pub read: Coverage,
}

impl Prediction {
    /// The prediction with only the requested outputs.
    #[must_use]
    pub fn only(mut self, outputs: Outputs) -> Self {
        if !outputs.scores() {
            self.scores.clear();
        }
        self.embedding = self.embedding.filter(|_| outputs.embedding());
        self
    }
}

/// A head's confidence in each of its labels; for a head that scores, its dimensions and the score.
#[derive(Debug, Clone, PartialEq)]
pub struct HeadOutput {
    /// The head's name, for example `task`.
    pub head: Arc<str>,
    /// The head's labels.
    pub labels: Arc<[String]>,
    /// The probability of each label, in the labels' order; they add up to 1. If there is a score, the value
    /// of each dimension, from 0 to 1.
    pub confidences: Vec<f32>,
    /// The score from 0 to 1, such as a complexity, if the head predicts one.
    pub score: Option<f32>,
}

impl HeadOutput {
    /// Every label with its confidence, in the head's order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, f32)> {
        self.labels.iter().map(String::as_str).zip(self.confidences.iter().copied())
    }

    /// The most likely label and its confidence; none only if there are no labels.
    #[must_use]
    pub fn top(&self) -> Option<(&str, f32)> {
        self.iter().max_by(|a, b| a.1.total_cmp(&b.1))
    }

    /// The output that policies and their rules route by; none if the head has no labels.
    #[must_use]
    pub fn for_policies(&self) -> Option<classification::Prediction> {
        let classification = match self.score {
            Some(score) => Classification::Score(Score::new(score, self.iter()).ok()?),
            None => {
                let (label, confidence) = self.top()?;
                Classification::Label(Label::new(label, confidence).ok()?)
            }
        };
        let numbers = self.iter().map(|(name, number)| (name.to_owned(), number));
        Some(classification::Prediction::new(classification, numbers))
    }

    /// `{"label", "confidence", "scores": {LABEL: confidence}}`, most likely first; with `score` in place of label and
    /// confidence, if there is one.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let all: Map<_, _> =
            self.sorted().into_iter().map(|(label, score)| (label.to_owned(), json!(score))).collect();
        if let Some(score) = self.score {
            return json!({"score": score, "scores": all});
        }
        let (label, confidence) = self.top().unwrap_or_default();
        json!({"label": label, "confidence": confidence, "scores": all})
    }

    /// Every label with its confidence, most likely first.
    #[must_use]
    pub fn sorted(&self) -> Vec<(&str, f32)> {
        let mut all: Vec<_> = self.iter().collect();
        all.sort_by(|a, b| b.1.total_cmp(&a.1));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_texts_together_get_the_outputs_that_either_requests() {
        use Outputs::{Embedding, Scores, ScoresAndEmbedding};
        assert_eq!(Scores.and(Scores), Scores);
        assert_eq!(Scores.and(Embedding), ScoresAndEmbedding);
        assert_eq!(ScoresAndEmbedding.and(Embedding), ScoresAndEmbedding);
    }

    #[test]
    fn a_head_that_scores_gives_a_policy_its_score_and_the_highest_dimension() {
        let output = HeadOutput {
            head: "complexity".into(),
            labels: ["creativity", "reasoning"].map(str::to_owned).into(),
            confidences: vec![0.25, 0.5],
            score: Some(0.375),
        };
        let expected = Score::new(0.375, [("creativity", 0.25), ("reasoning", 0.5)]).unwrap();
        let prediction = output.for_policies().unwrap();
        assert_eq!(prediction.classification(), &Classification::Score(expected));
        let of_labels = HeadOutput { score: None, ..output }.for_policies().unwrap();
        let label = Label::new("reasoning", 0.5).unwrap();
        assert_eq!(of_labels.classification(), &Classification::Label(label));
    }

    #[test]
    fn a_prediction_can_be_cut_to_the_requested_outputs() {
        let scores =
            HeadOutput { head: "task".into(), labels: Arc::new([]), confidences: Vec::new(), score: None };
        let all = Prediction { scores: vec![scores], embedding: Some(vec![1.0]), read: Coverage::default() };
        assert_eq!(all.clone().only(Outputs::ScoresAndEmbedding), all);
        assert_eq!(all.clone().only(Outputs::Scores).embedding, None);
        assert_eq!(all.only(Outputs::Embedding).scores, []);
    }
}
