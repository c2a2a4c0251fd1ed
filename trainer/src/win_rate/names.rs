//! The names of the two models that a head chooses between.

use std::fmt;

use serde::Serialize;

/// The names of two models.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Names {
    /// The cheap one.
    pub weak: String,
    /// The one with the better grades.
    pub strong: String,
}

impl Names {
    /// A name for the pair's head, of the characters that a head's name may have. None if a model's name has none of them.
    #[must_use]
    pub fn head(&self) -> Option<String> {
        let plain = |name: &String| {
            let lower = name.to_lowercase();
            let words =
                lower.split(|letter: char| !letter.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
            Some(words.collect::<Vec<_>>().join("-")).filter(|plain| !plain.is_empty())
        };
        Some(format!("win-rate-{}-{}", plain(&self.weak)?, plain(&self.strong)?))
    }
}

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} and {}", self.weak, self.strong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_named_after_its_pair() {
        let names = Names { weak: "Llama-3.1 8B".into(), strong: "org/large_v2".into() };
        assert_eq!(names.head().as_deref(), Some("win-rate-llama-3-1-8b-org-large-v2"));
        let names = Names { weak: "通义-7B".into(), strong: "Größe".into() };
        assert_eq!(names.head().as_deref(), Some("win-rate-7b-gr-e"));
        let names = Names { weak: "通义".into(), strong: "large".into() };
        assert_eq!(names.head(), None);
    }
}
