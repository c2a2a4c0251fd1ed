//! The prediction of a classifier for a prompt.

use std::fmt;

use crate::config::HeadTest;

/// Longest label in bytes. The bound keeps response headers and stats small.
pub const MAX_LABEL: usize = 128;

/// A classifier's prediction.
#[derive(Clone, Debug, PartialEq)]
pub enum Classification {
    /// One label of several.
    Label(Label),
    /// A number, such as a complexity.
    Score(Score),
}

impl Classification {
    /// The label, or the highest dimension of a score.
    pub fn label(&self) -> Option<&Label> {
        match self {
            Self::Label(label) => Some(label),
            Self::Score(score) => score.highest(),
        }
    }
}

/// The best label of a classifier and its probability.
#[derive(Clone, Debug, PartialEq)]
pub struct Label {
    name: String,
    confidence: f32,
}

/// A number between 0 and 1, and the dimension with the highest score.
#[derive(Clone, Debug, PartialEq)]
pub struct Score {
    score: f32,
    highest: Option<Label>,
}

impl Label {
    /// Validates a label and its confidence: the label must fit a header, the confidence must be a probability.
    ///
    /// # Errors
    /// [`NotAClassification`] names the problem.
    pub fn new(name: impl Into<String>, confidence: f32) -> Result<Self, NotAClassification> {
        let name = name.into();
        if name.is_empty() || name.len() > MAX_LABEL || name.chars().any(char::is_control) {
            return Err(NotAClassification::Label);
        }
        if !(0.0..=1.0).contains(&confidence) {
            return Err(NotAClassification::Confidence(confidence));
        }
        Ok(Self { name, confidence })
    }

    /// The label with the highest probability.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The label's probability, 0 to 1.
    pub fn confidence(&self) -> f32 {
        self.confidence
    }
}

impl Score {
    /// Validates a score, and the scores of its dimensions, if it has dimensions.
    ///
    /// # Errors
    /// The score is not between 0 and 1.
    pub fn new<'a>(
        score: f32,
        dimensions: impl IntoIterator<Item = (&'a str, f32)>,
    ) -> Result<Self, NotAClassification> {
        if !(0.0..=1.0).contains(&score) {
            return Err(NotAClassification::Score(score));
        }
        let highest = dimensions.into_iter().max_by(|a, b| a.1.total_cmp(&b.1));
        Ok(Self { score, highest: highest.and_then(|(name, score)| Label::new(name, score).ok()) })
    }

    /// The number, 0 to 1.
    pub fn get(&self) -> f32 {
        self.score
    }

    /// The dimension with the highest score: NVIDIA's complexity router uses it as the label.
    pub fn highest(&self) -> Option<&Label> {
        self.highest.as_ref()
    }
}

/// What a classifier predicts for a prompt: its classification, and the numbers that conditions compare.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    classification: Classification,
    /// The probabilities of labels, or the scores of dimensions.
    numbers: Vec<(String, f32)>,
}

impl Prediction {
    /// A prediction with the probability of each label, or the score of each dimension.
    pub fn new(classification: Classification, numbers: impl IntoIterator<Item = (String, f32)>) -> Self {
        Self { classification, numbers: numbers.into_iter().collect() }
    }

    /// The classification that policies use.
    pub fn classification(&self) -> &Classification {
        &self.classification
    }

    /// Whether it matches a condition.
    pub fn meets(&self, test: &HeadTest) -> bool {
        match test {
            HeadTest::Labels(labels) => {
                let label = self.classification.label();
                label.is_some_and(|label| labels.iter().any(|wanted| wanted == label.name()))
            }
            HeadTest::Range { of, above, below } => {
                let number = self.number(of);
                above.is_none_or(|bound| number > bound) && below.is_none_or(|bound| number < bound)
            }
        }
    }

    fn number(&self, of: &[String]) -> f32 {
        let named = self.numbers.iter().filter(|(name, _)| of.contains(name)).map(|(_, number)| *number);
        match &self.classification {
            Classification::Label(label) if of.is_empty() => label.confidence(),
            Classification::Score(score) if of.is_empty() => score.get(),
            Classification::Label(_) => named.sum(),
            Classification::Score(_) => named.fold(0.0, f32::max),
        }
    }

    /// Drops all numbers except those of these names, because a cache holds many predictions.
    pub(crate) fn retain(&mut self, is_kept: impl Fn(&str) -> bool) {
        self.numbers.retain(|(name, _)| is_kept(name));
    }
}

impl From<Classification> for Prediction {
    fn from(classification: Classification) -> Self {
        Self::new(classification, [])
    }
}

/// Why a prediction is not a [`Classification`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum NotAClassification {
    /// The label is empty, too long, or has control characters.
    Label,
    /// The confidence is not within 0 to 1.
    Confidence(f32),
    /// The score is not within 0 to 1.
    Score(f32),
}

impl fmt::Display for NotAClassification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Label => write!(f, "the label is empty, over {MAX_LABEL} bytes, or has control characters"),
            Self::Confidence(confidence) => write!(f, "the confidence {confidence} is not within 0 to 1"),
            Self::Score(score) => write!(f, "the score {score} is not within 0 to 1"),
        }
    }
}

impl std::error::Error for NotAClassification {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_that_could_break_a_header_is_rejected() {
        for label in ["", "a\r\nx-evil: 1", &"x".repeat(MAX_LABEL + 1)] {
            assert_eq!(Label::new(label, 0.5), Err(NotAClassification::Label));
        }
    }

    #[test]
    fn a_confidence_and_a_score_are_within_0_to_1() {
        for number in [-0.1, 1.1, f32::INFINITY, f32::NAN] {
            assert!(Label::new("Chatbot", number).is_err());
            assert!(Score::new(number, []).is_err());
        }
        assert!(Label::new("Chatbot", 1.0).is_ok());
        assert!(Score::new(0.0, []).is_ok());
    }

    #[test]
    fn a_condition_compares_labels_their_probabilities_and_scores() {
        let number = |name: &str, number| (name.to_owned(), number);
        let label = Classification::Label(Label::new("harmful", 0.5).unwrap());
        let numbers = [number("harmful", 0.5), number("jailbreak", 0.25), number("benign", 0.25)];
        let prediction = Prediction::new(label, numbers);
        let labels = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        let above = |of: &[&str], above| HeadTest::Range { of: labels(of), above: Some(above), below: None };
        assert!(prediction.meets(&HeadTest::Labels(labels(&["jailbreak", "harmful"]))));
        assert!(!prediction.meets(&HeadTest::Labels(labels(&["benign"]))));
        assert!(prediction.meets(&above(&["harmful", "jailbreak"], 0.7)));
        assert!(!prediction.meets(&above(&["harmful", "jailbreak"], 0.75)));
        assert!(prediction.meets(&above(&[], 0.4)) && !prediction.meets(&above(&["unknown"], 0.0)));
        let score = Classification::Score(Score::new(0.3, []).unwrap());
        let prediction = Prediction::new(score, [number("reasoning", 0.9), number("creativity", 0.1)]);
        assert!(
            prediction.meets(&above(&["reasoning", "creativity"], 0.8))
                && !prediction.meets(&above(&[], 0.3))
        );
        let between = HeadTest::Range { of: vec![], above: Some(0.2), below: Some(0.4) };
        assert!(prediction.meets(&between));
    }

    #[test]
    fn the_highest_dimension_of_a_score_is_known() {
        let score = Score::new(0.4, [("creativity", 0.2), ("reasoning", 0.7), ("constraints", 0.1)]).unwrap();
        let highest = score.highest().unwrap();
        assert_eq!((highest.name(), highest.confidence()), ("reasoning", 0.7));
        assert_eq!(Score::new(0.4, []).unwrap().highest(), None);
    }
}
