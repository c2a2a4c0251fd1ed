//! Amounts of money.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Billionths of a dollar in a dollar.
const PER_DOLLAR: f64 = 1e9;

/// In billionths of a dollar: hides the rounding errors of products of prices and tokens.
const TOLERANCE: f64 = 1e-3;

/// An amount of money in billionths of a dollar, so that sums are exact.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Money(u64);

impl Money {
    /// Nothing.
    pub(crate) const ZERO: Self = Self(0);

    /// The amount of a price, rounded up.
    pub(crate) fn from_price(dollars: f64) -> Self {
        Self((dollars * PER_DOLLAR - TOLERANCE).ceil() as u64)
    }

    /// The amount of a limit, rounded down.
    pub(crate) fn from_limit(dollars: f64) -> Self {
        Self((dollars * PER_DOLLAR + TOLERANCE).floor() as u64)
    }

    /// The amount in dollars.
    pub(crate) fn dollars(self) -> f64 {
        self.0 as f64 / PER_DOLLAR
    }

    /// The sum, at most the largest amount.
    pub(crate) fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// The difference, at least nothing.
    pub(crate) fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl std::iter::Sum for Money {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Self::plus)
    }
}

impl fmt::Display for Money {
    /// Dollars, with more decimals for small amounts.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dollars = self.dollars();
        match dollars {
            0.0 => f.write_str("$0"),
            ..0.01 => write!(f, "${dollars:.6}"),
            ..1.0 => write!(f, "${dollars:.4}"),
            _ => write!(f, "${dollars:.2}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_round_up_and_limits_down_but_rounding_errors_do_not_count() {
        assert_eq!(Money::from_price(0.1 + 0.2), Money(300_000_000));
        assert_eq!(Money::from_price(1.5e-9), Money(2));
        assert_eq!(Money::from_limit(0.3), Money(300_000_000));
        assert_eq!(Money::from_limit(1.5e-9), Money(1));
        assert_eq!((Money::from_price(0.0), Money::from_price(f64::NAN)), (Money::ZERO, Money::ZERO));
    }

    #[test]
    fn amounts_are_shown_in_dollars() {
        let shown = [0.0, 0.000_012, 0.123_45, 12.5].map(|dollars| Money::from_price(dollars).to_string());
        assert_eq!(shown, ["$0", "$0.000012", "$0.1235", "$12.50"]);
    }
}
