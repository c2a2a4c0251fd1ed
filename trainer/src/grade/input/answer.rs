//! Compares completions with known answers.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

/// Characters around an answer that do not belong to it: quotes and Markdown's emphasis.
const AROUND: [char; 7] = ['"', '\'', '“', '”', '*', '_', '`'];

/// Punctuation that may end an answer.
const ENDS: [char; 6] = ['.', ',', ';', ':', '!', '?'];

/// The relative difference at which two numbers are equal.
const TOLERANCE: f64 = 1e-9;

/// The answers that a completion may give.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Answers(Vec<Answer>);

#[derive(Debug, Clone, PartialEq)]
enum Answer {
    /// The last number of the completion.
    Number(f64),
    /// The completion or its last line, normalised.
    Text(String),
}

impl Answers {
    /// Reads a string, a number, or a list of these. None for other types, or if an answer has neither
    /// letters nor digits.
    pub(crate) fn from_value(value: &Value) -> Option<Self> {
        let answers = match value {
            Value::Array(list) => list.iter().map(Answer::from_value).collect::<Option<Vec<_>>>()?,
            one => vec![Answer::from_value(one)?],
        };
        (!answers.is_empty()).then_some(Self(answers))
    }

    /// Whether the completion gives one of the answers.
    pub(crate) fn accept(&self, completion: &str) -> bool {
        self.0.iter().any(|answer| answer.accepts(completion))
    }
}

impl Answer {
    fn from_value(value: &Value) -> Option<Self> {
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            _ => return None,
        };
        if let Some(number) = whole_number(&text) {
            return Some(Self::Number(number));
        }
        let text = normalised(&text);
        (!text.is_empty()).then_some(Self::Text(text))
    }

    fn accepts(&self, completion: &str) -> bool {
        match self {
            Self::Number(wanted) => last_number(completion).is_some_and(|found| {
                (found - wanted).abs() <= TOLERANCE * found.abs().max(wanted.abs()).max(1.0)
            }),
            Self::Text(wanted) => {
                let last_line = completion.lines().rev().find(|line| !line.trim().is_empty());
                [Some(completion), last_line].into_iter().flatten().any(|text| normalised(text) == *wanted)
            }
        }
    }
}

/// Without differences in case, white space, quotes, emphasis and final punctuation.
fn normalised(text: &str) -> String {
    let outer = |c: char| c.is_whitespace() || AROUND.contains(&c);
    let text = text.trim_start_matches(outer).trim_end_matches(|c| outer(c) || ENDS.contains(&c));
    text.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase()
}

#[allow(clippy::unwrap_used, reason = "a unit test compiles the pattern")]
static NUMBER: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"[-+\u{2212}]?(?:(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?\b",
    )
    .unwrap()
});

/// The value of a text that is a number, maybe with a currency sign or a percent sign.
fn whole_number(text: &str) -> Option<f64> {
    let text = text.trim().trim_start_matches(['$', '€', '£']).trim_end_matches('%').trim();
    let found = NUMBER.find(text)?;
    (found.len() == text.len()).then(|| parse(text)).flatten()
}

/// The last number of a text that is not a part of a word.
fn last_number(text: &str) -> Option<f64> {
    let number = |found: regex::Match<'_>| {
        let before = text.get(..found.start()).and_then(|before| before.chars().next_back());
        let after_word = before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ')');
        match (after_word, found.as_str().strip_prefix(['-', '+', '\u{2212}'])) {
            (false, _) => parse(found.as_str()),
            // The sign of a difference, as in 7-5.
            (true, Some(unsigned)) => parse(unsigned),
            (true, None) => None,
        }
    };
    NUMBER.find_iter(text).filter_map(number).last()
}

fn parse(number: &str) -> Option<f64> {
    number.replace(',', "").replace('\u{2212}', "-").parse().ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn accepts(answer: &Value, completion: &str) -> bool {
        Answers::from_value(answer).unwrap().accept(completion)
    }

    #[test]
    fn a_text_is_the_whole_completion_or_its_last_line() {
        for completion in ["Paris", " paris. ", "**Paris**!", "\"Paris\"", "It is in France.\n\nPARIS\n"] {
            assert!(accepts(&json!("Paris"), completion), "{completion:?}");
        }
        for completion in ["", "Paris, Texas", "The capital is Paris.", "Paris\nor Lyon"] {
            assert!(!accepts(&json!("Paris"), completion), "{completion:?}");
        }
        assert!(accepts(&json!(["New  York", "NYC"]), "new york"));
        assert!(accepts(&json!(["New York", "NYC"]), "nyc"));
        assert!(!accepts(&json!("C++"), "C#"));
    }

    #[test]
    fn a_number_is_the_last_one_of_the_completion() {
        for completion in
            ["42", "6 * 7 = 42.", "so $\\boxed{42}$", "42.0 apples", "It costs $42", "from 50-42"]
        {
            assert!(accepts(&json!("42"), completion), "{completion:?}");
        }
        for completion in ["", "forty-two", "42, or 43", "-42", "H42", "420"] {
            assert!(!accepts(&json!("42"), completion), "{completion:?}");
        }
        assert!(accepts(&json!(1234.5), "1,234.50 dollars"));
        assert!(accepts(&json!("$1,234"), "1234"));
        assert!(accepts(&json!("-3"), "x = −3"));
        assert!(accepts(&json!("50%"), "50 %"));
        assert!(accepts(&json!("0.5"), ".5"));
        assert!(accepts(&json!("1e3"), "1000"));
    }

    #[test]
    fn invalid_answers_are_rejected() {
        for value in [json!([]), json!(true), json!(["a", null]), json!("."), json!({ "a": 1 })] {
            assert_eq!(Answers::from_value(&value), None, "{value}");
        }
    }
}
