//! Features counted in the text itself, which a head can read in addition to the encoder's vector. A prompt's
//! length and how many numbers it contains indicate its difficulty, and the mean of token vectors loses both.

use std::fmt;

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

/// A feature that can be counted in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TextFeature {
    /// `ln(1 + characters)`
    LogLength,
    /// `ln(1 + numbers)`; a number is a run of digits, with `.` and `,` between them.
    Numbers,
    /// `ln(1 + marks)`, of marks that are common in code and rare in prose: `{}[]<>=;_\|` and backticks.
    CodeMarks,
    /// `ln(1 + line ends)`
    Lines,
    /// `ln(1 + question marks)`, of `?`, `？`, `؟` and `¿`.
    QuestionMarks,
}

impl TextFeature {
    /// All features.
    pub const ALL: [Self; 5] =
        [Self::LogLength, Self::Numbers, Self::CodeMarks, Self::Lines, Self::QuestionMarks];
}

impl fmt::Display for TextFeature {
    /// Its name in files.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// The features of one text.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct TextFeatures {
    log_length: f32,
    numbers: f32,
    code_marks: f32,
    lines: f32,
    question_marks: f32,
}

impl TextFeatures {
    /// Counts the features in the parts of a text that are read. If the text is longer than its parts,
    /// `whole` bytes, the counts are extrapolated from the fraction that is read.
    #[must_use]
    pub fn count(parts: &[&str], whole: usize) -> Self {
        let mut counts = Counts::default();
        parts.iter().for_each(|part| counts.add(part));
        let read: usize = parts.iter().map(|part| part.len()).sum();
        let factor = if read == 0 { 1.0 } else { whole as f64 / read as f64 };
        let logarithm = |count: usize| (count as f64 * factor).ln_1p() as f32;
        Self {
            log_length: logarithm(counts.characters),
            numbers: logarithm(counts.numbers),
            code_marks: logarithm(counts.code_marks),
            lines: logarithm(counts.lines),
            question_marks: logarithm(counts.question_marks),
        }
    }

    /// One of the features.
    #[must_use]
    pub fn get(&self, feature: TextFeature) -> f32 {
        match feature {
            TextFeature::LogLength => self.log_length,
            TextFeature::Numbers => self.numbers,
            TextFeature::CodeMarks => self.code_marks,
            TextFeature::Lines => self.lines,
            TextFeature::QuestionMarks => self.question_marks,
        }
    }
}

#[derive(Default)]
struct Counts {
    characters: usize,
    numbers: usize,
    code_marks: usize,
    lines: usize,
    question_marks: usize,
}

impl Counts {
    fn add(&mut self, text: &str) {
        let mut in_number = false;
        for character in text.chars() {
            self.characters += 1;
            match character {
                '{' | '}' | '[' | ']' | '<' | '>' | '=' | ';' | '_' | '\\' | '|' | '`' => {
                    self.code_marks += 1;
                }
                '\n' => self.lines += 1,
                '?' | '？' | '؟' | '¿' => self.question_marks += 1,
                _ => {}
            }
            let digit = character.is_ascii_digit();
            if digit && !in_number {
                self.numbers += 1;
            }
            in_number = digit || (in_number && matches!(character, '.' | ','));
        }
    }
}

/// A feature as a head reads it: standardised by its mean and standard deviation over the training data.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScaledFeature {
    /// The feature.
    pub name: TextFeature,
    /// The mean, which is subtracted.
    pub mean: f32,
    /// The standard deviation, which divides the difference; not 0.
    pub scale: f32,
}

impl ScaledFeature {
    /// Computes mean and scale over texts; none if the feature is the same in all of them.
    #[must_use]
    pub fn fit(name: TextFeature, texts: &[TextFeatures]) -> Option<Self> {
        let count = texts.len().max(1) as f64;
        let values = || texts.iter().map(|text| f64::from(text.get(name)));
        let mean = values().sum::<f64>() / count;
        let deviation = (values().map(|value| (value - mean).powi(2)).sum::<f64>() / count).sqrt();
        (deviation > 1e-6).then_some(Self { name, mean: mean as f32, scale: deviation as f32 })
    }

    /// Rejects a mean or a scale that cannot be used.
    ///
    /// # Errors
    /// If one is invalid; the error says why.
    pub(super) fn check(&self) -> Result<()> {
        let Self { name, mean, scale } = self;
        ensure!(mean.is_finite(), "features: the mean of {name} must be a number");
        ensure!(scale.is_finite() && *scale > 0.0, "features: the scale of {name} must be a number above 0");
        Ok(())
    }

    /// The feature of a text.
    #[must_use]
    pub fn value(&self, text: &TextFeatures) -> f32 {
        (text.get(self.name) - self.mean) / self.scale
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(text: &str) -> [f32; 5] {
        let features = TextFeatures::count(&[text], text.len());
        TextFeature::ALL.map(|feature| features.get(feature).exp_m1().round())
    }

    #[test]
    fn features_are_counted() {
        assert_eq!(counts("Is 1,000.5 < 2?\nYes; 3. é"), [25.0, 3.0, 2.0, 1.0, 1.0]);
        assert_eq!(counts(""), [0.0; 5]);
    }

    #[test]
    fn counts_of_a_text_read_in_part_are_estimated() {
        let whole = "a1 ".repeat(100);
        let features = TextFeatures::count(&[&whole[..30], &whole[270..]], whole.len());
        let all = TextFeatures::count(&[&whole], whole.len());
        for feature in TextFeature::ALL {
            assert!((features.get(feature) - all.get(feature)).abs() < 1e-5, "{feature:?}");
        }
    }

    #[test]
    fn a_feature_is_scaled_to_mean_0_and_deviation_1() {
        let texts = ["a", "bbb", "ccccccc"].map(|text| TextFeatures::count(&[text], text.len()));
        let scaled = ScaledFeature::fit(TextFeature::LogLength, &texts).unwrap();
        let values = texts.map(|text| scaled.value(&text));
        assert!(values.iter().sum::<f32>().abs() < 1e-5);
        assert!((values.iter().map(|value| value * value).sum::<f32>() / 3.0 - 1.0).abs() < 1e-5);
    }

    #[test]
    fn a_feature_that_is_always_the_same_has_no_scale() {
        let texts = vec![TextFeatures::count(&["What is 1 + 1?"], 14); 1000];
        for name in TextFeature::ALL {
            assert_eq!(ScaledFeature::fit(name, &texts), None, "{name}");
        }
    }
}
