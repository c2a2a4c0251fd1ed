//! Values with units: times, sizes and token counts.

use std::fmt;
use std::time::Duration;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer};

/// A time like `"200ms"`.
pub(super) fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_duration(&text)
        .map_err(|error| D::Error::custom(format!("{text:?} is not a duration like \"200ms\": {error}")))
}

/// A number of tokens: `128000`, `"128k"` or `"1M"`, as model cards give it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Tokens(pub(super) u64);

impl<'de> Deserialize<'de> for Tokens {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TokensVisitor)
    }
}

struct TokensVisitor;

impl Visitor<'_> for TokensVisitor {
    type Value = Tokens;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number of tokens like 8192 or \"128k\"")
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Tokens, E> {
        Ok(Tokens(number))
    }

    /// Envoy's Struct knows only floating-point numbers.
    fn visit_f64<E: Error>(self, number: f64) -> Result<Tokens, E> {
        if number >= 0.0 && number.fract() == 0.0 && number < 1e15 {
            Ok(Tokens(number as u64))
        } else {
            Err(E::custom(format_args!("{number} is not a number of tokens")))
        }
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Tokens, E> {
        let (digits, unit) = match text.char_indices().last() {
            Some((end, 'k' | 'K')) => (text.get(..end), 1_000),
            Some((end, 'm' | 'M')) => (text.get(..end), 1_000_000),
            _ => (Some(text), 1),
        };
        let number = digits.and_then(|digits| digits.parse::<u64>().ok()).and_then(|n| n.checked_mul(unit));
        number
            .map(Tokens)
            .ok_or_else(|| E::custom(format_args!("{text:?} is not a number of tokens like \"128k\"")))
    }
}

/// A number that may have a fraction, like `0.3`. From YAML, Envoy reads such numbers as text, and only integers as numbers.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub(super) struct Decimal(pub(super) f64);

impl<'de> Deserialize<'de> for Decimal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(DecimalVisitor)
    }
}

struct DecimalVisitor;

impl Visitor<'_> for DecimalVisitor {
    type Value = Decimal;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number")
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Decimal, E> {
        Ok(Decimal(number))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Decimal, E> {
        Ok(Decimal(number as f64))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Decimal, E> {
        Ok(Decimal(number as f64))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Decimal, E> {
        text.parse().map(Decimal).map_err(|_| E::custom(format_args!("{text:?} is not a number")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_numbers_or_the_text_that_envoy_makes_of_them() {
        for (json, number) in [("0.3", 0.3), ("\"0.3\"", 0.3), ("1", 1.0), ("-1", -1.0), ("\"1e-3\"", 1e-3)] {
            assert_eq!(serde_json::from_str::<Decimal>(json).unwrap(), Decimal(number));
        }
        for json in ["\"\"", "\"much\"", "null", "true", "[]"] {
            assert!(serde_json::from_str::<Decimal>(json).is_err(), "{json}");
        }
    }

    #[test]
    fn tokens_are_written_as_model_cards_write_them() {
        for (json, tokens) in [("8192", 8192), ("8192.0", 8192), ("\"128k\"", 128_000), ("\"1M\"", 1_000_000)]
        {
            assert_eq!(serde_json::from_str::<Tokens>(json).unwrap(), Tokens(tokens));
        }
        for json in ["-1", "1.5", "\"k\"", "\"\"", "\"128 k\"", "\"99999999999999999M\"", "true"] {
            assert!(serde_json::from_str::<Tokens>(json).is_err(), "{json}");
        }
    }
}
