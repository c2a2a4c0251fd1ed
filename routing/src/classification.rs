//! What a classifier says of a prompt.

use std::fmt;

/// Labels longer than this, in bytes, are not labels; the bound keeps response headers and stats small.
const MAX_LABEL: usize = 128;

/// The best label of a classifier and its probability.
#[derive(Clone, Debug, PartialEq)]
pub struct Classification {
    label: String,
    confidence: f32,
}

impl Classification {
    /// Checks what came from outside: the label must fit a header, the confidence must be a probability.
    ///
    /// # Errors
    /// [`NotAClassification`] says what is wrong.
    pub fn new(label: impl Into<String>, confidence: f32) -> Result<Self, NotAClassification> {
        let label = label.into();
        if label.is_empty() || label.len() > MAX_LABEL || label.chars().any(char::is_control) {
            return Err(NotAClassification::Label);
        }
        if !(0.0..=1.0).contains(&confidence) {
            return Err(NotAClassification::Confidence(confidence));
        }
        Ok(Self { label, confidence })
    }

    /// The label with the highest probability.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// The label's probability, 0 to 1.
    pub fn confidence(&self) -> f32 {
        self.confidence
    }
}

/// Why an answer is not a [`Classification`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum NotAClassification {
    /// The label is empty, too long, or has control characters.
    Label,
    /// The confidence is not within 0 to 1.
    Confidence(f32),
}

impl fmt::Display for NotAClassification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Label => write!(f, "the label is empty, over {MAX_LABEL} bytes, or has control characters"),
            Self::Confidence(confidence) => write!(f, "the confidence {confidence} is not within 0 to 1"),
        }
    }
}

impl std::error::Error for NotAClassification {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_that_could_break_a_header_is_refused() {
        for label in ["", "a\r\nx-evil: 1", &"x".repeat(MAX_LABEL + 1)] {
            assert_eq!(Classification::new(label, 0.5), Err(NotAClassification::Label));
        }
    }

    #[test]
    fn a_confidence_is_a_probability() {
        for confidence in [-0.1, 1.1, f32::INFINITY] {
            assert!(Classification::new("Chatbot", confidence).is_err());
        }
        assert!(Classification::new("Chatbot", f32::NAN).is_err());
        assert!(Classification::new("Chatbot", 1.0).is_ok());
    }
}
