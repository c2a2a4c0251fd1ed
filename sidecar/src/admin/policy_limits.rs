//! Limits on policies in requests. Anyone who reaches the admin API can send one, and its regular expressions take memory to
//! compile and time to match.

use std::iter;

use regex_lite::RegexBuilder;
use serde_json::{Map, Value};

/// The maximum number of rules.
const MAX_RULES: usize = 200;

/// The maximum length of all expressions together, in bytes.
const MAX_SOURCE: usize = 16 << 10;

/// The maximum memory of all compiled expressions together, in bytes.
const MAX_COMPILED: usize = 512 << 10;

/// The size of a compiled expression is measured in steps that double from this, in bytes.
const MIN_COMPILED: usize = 256;

/// The maximum product of the memory of all compiled expressions and the length of the searched text, in bytes. Matching takes time
/// in proportion to it: at most a few seconds.
const MAX_WORK: usize = 16 << 30;

/// The limit that a policy exceeds.
#[derive(Debug, thiserror::Error)]
pub(super) enum LimitError {
    /// The number of rules.
    #[error("rules: has {0} rules; the maximum for a policy in a request is {MAX_RULES}")]
    Rules(usize),
    /// The length of the expressions.
    #[error(
        "rules: the expressions of text_matches have {0} bytes in all; the maximum for a policy in a request is {MAX_SOURCE}"
    )]
    Source(usize),
    /// The memory of the compiled expressions.
    #[error(
        "rules: the compiled expressions of text_matches need more than {MAX_COMPILED} bytes in all, the maximum for a policy in \
         a request: lower the bounds of repetitions such as x{{1000}}"
    )]
    Compiled,
    /// The time to search the text.
    #[error(
        "rules: the expressions of text_matches are too large to search {text} bytes of text: compiled they have {compiled} \
         bytes, and the maximum of the product is {MAX_WORK}. Shorten the request or lower limits.classify_text"
    )]
    Work {
        /// The memory of the compiled expressions, in bytes.
        compiled: usize,
        /// The maximum length of the searched text, in bytes.
        text: usize,
    },
}

/// The memory of the compiled expressions of a policy that is within the limits, in bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct CompiledSize(usize);

impl CompiledSize {
    /// Measures a policy that is not validated yet.
    ///
    /// # Errors
    /// If it exceeds a limit.
    pub(super) fn measure(policy: &Value) -> Result<Self, LimitError> {
        let rules = policy.get("rules").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        if rules.len() > MAX_RULES {
            return Err(LimitError::Rules(rules.len()));
        }
        let mut expressions = Vec::new();
        for when in rules.iter().filter_map(|rule| rule.get("when")?.as_object()) {
            collect(when, &mut expressions);
        }
        let source = expressions.iter().map(|expression| expression.len()).sum();
        if source > MAX_SOURCE {
            return Err(LimitError::Source(source));
        }
        compiled(&expressions).map(Self)
    }

    /// Checks that the expressions can search a text of this length, in bytes.
    ///
    /// # Errors
    /// If that takes too long.
    pub(super) fn check_text(self, text: usize) -> Result<(), LimitError> {
        let Self(compiled) = self;
        match compiled.saturating_mul(text) > MAX_WORK {
            true => Err(LimitError::Work { compiled, text }),
            false => Ok(()),
        }
    }
}

/// The expressions of a rule's conditions, in the order in which they are compiled.
fn collect<'p>(when: &'p Map<String, Value>, expressions: &mut Vec<&'p str>) {
    for (name, condition) in when {
        match (name.as_str(), condition) {
            ("text_matches", Value::String(expression)) => expressions.push(expression),
            ("not", Value::Object(inner)) => collect(inner, expressions),
            ("all" | "any", Value::Array(several)) => {
                several.iter().filter_map(Value::as_object).for_each(|inner| collect(inner, expressions));
            }
            _ => {}
        }
    }
}

fn compiled(expressions: &[&str]) -> Result<usize, LimitError> {
    let mut total = 0;
    for expression in expressions {
        match compiled_size(expression, MAX_COMPILED - total) {
            Some(size) => total += size,
            None if RegexBuilder::new(expression).build().is_ok() => return Err(LimitError::Compiled),
            // The expression is invalid. Validation reports it later, with its path.
            None => break,
        }
    }
    Ok(total)
}

/// An upper bound on the memory of a compiled expression, at most twice the memory; none if it exceeds `at_most` or is invalid.
fn compiled_size(expression: &str, at_most: usize) -> Option<usize> {
    let doubling = iter::successors(Some(MIN_COMPILED), |size| size.checked_mul(2));
    let mut sizes = doubling.take_while(|size| *size < at_most).chain([at_most]);
    sizes.find(|size| RegexBuilder::new(expression).size_limit(*size).build().is_ok())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn with_expressions(expressions: impl Iterator<Item = String>) -> Value {
        let rules = expressions.map(|expression| json!({"when": {"text_matches": expression}, "model": "m"}));
        json!({"rules": rules.collect::<Vec<_>>()})
    }

    #[test]
    fn rules_as_people_write_them_are_within_the_limits() {
        let words = (0..100).map(|index| format!(r"(?i)\b(sql|postgres|table{index}|[a-z]{{2,8}}_id)\b"));
        let size = CompiledSize::measure(&with_expressions(words)).unwrap();
        assert!(size.0 > 100 * MIN_COMPILED);
        size.check_text(16 << 10).unwrap();
        let none = CompiledSize::measure(&json!({"policies": {}})).unwrap();
        none.check_text(usize::MAX).unwrap();
    }

    #[test]
    fn each_limit_has_an_error_that_names_it() {
        let repeated =
            |expression: &str, count: usize| with_expressions(iter::repeat_n(expression.to_owned(), count));
        for (policy, limit) in [
            (repeated("x", 201), "201 rules; the maximum for a policy in a request is 200"),
            (
                repeated(&"x".repeat(1000), 17),
                "17000 bytes in all; the maximum for a policy in a request is 16384",
            ),
            (repeated("(?:a?){4000}b", 40), "need more than 524288 bytes"),
            (repeated("x{100000}", 1), "need more than 524288 bytes"),
            (repeated("(?:x{100}){100}", 200), "need more than 524288 bytes"),
        ] {
            let error = CompiledSize::measure(&policy).unwrap_err().to_string();
            assert!(error.contains(limit), "{error}");
        }
        let large = CompiledSize::measure(&repeated("(?:a?){4000}b", 1)).unwrap();
        large.check_text(16 << 10).unwrap();
        assert!(large.check_text(1 << 20).unwrap_err().to_string().contains(&MAX_WORK.to_string()));
    }

    #[test]
    fn expressions_are_found_in_nested_conditions() {
        let large = json!({"text_matches": "x{100000}"});
        for when in [
            json!({"all": [{"has_tools": true}, large]}),
            json!({"any": [{"not": large}]}),
            json!({"not": {"all": [large]}}),
        ] {
            let policy = json!({"rules": [{"when": when, "model": "m"}]});
            assert!(matches!(CompiledSize::measure(&policy), Err(LimitError::Compiled)), "{policy}");
        }
    }

    #[test]
    fn validation_reports_invalid_expressions() {
        let invalid = with_expressions(["(sql".to_owned(), "x{100000}".to_owned()].into_iter());
        CompiledSize::measure(&invalid).unwrap();
    }
}
