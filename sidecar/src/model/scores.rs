//! What a model says about a text.

use std::sync::Arc;

/// What a model says about one text.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Answer {
    /// Each head's scores, in the order of the heads' names.
    pub scores: Vec<Scores>,
}

/// A head's confidence in each of its labels.
#[derive(Debug, Clone, PartialEq)]
pub struct Scores {
    /// The head's name, for example `task`.
    pub head: Arc<str>,
    /// The head's labels.
    pub labels: Arc<[String]>,
    /// The probability of each label, in the labels' order; they add up to 1.
    pub confidences: Vec<f32>,
}

impl Scores {
    /// Every label with its confidence, in the head's order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, f32)> {
        self.labels.iter().map(String::as_str).zip(self.confidences.iter().copied())
    }

    /// The most likely label and its confidence; none only if there are no labels.
    #[must_use]
    pub fn top(&self) -> Option<(&str, f32)> {
        self.iter().max_by(|a, b| a.1.total_cmp(&b.1))
    }

    /// Every label with its confidence, most likely first.
    #[must_use]
    pub fn sorted(&self) -> Vec<(&str, f32)> {
        let mut all: Vec<_> = self.iter().collect();
        all.sort_by(|a, b| b.1.total_cmp(&a.1));
        all
    }
}
