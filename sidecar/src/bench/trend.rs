//! How a figure changes over time.

use serde::Serialize;

const SECONDS_PER_HOUR: f64 = 3600.0;

/// A summary of values over time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Trend {
    /// The first value.
    pub first: f64,
    /// The last value.
    pub last: f64,
    /// The highest value.
    pub max: f64,
    /// The slope of the line with the least squared distance from the values; 0 for a single value.
    pub per_hour: f64,
}

impl Trend {
    /// Summarizes values, each after a time in seconds; none if there are no values.
    #[must_use]
    pub fn compute(values: &[(f64, f64)]) -> Option<Self> {
        let (_, first) = *values.first()?;
        let (_, last) = *values.last()?;
        let max = values.iter().map(|(_, value)| *value).fold(f64::NEG_INFINITY, f64::max);
        Some(Self { first, last, max, per_hour: slope(values) * SECONDS_PER_HOUR })
    }
}

fn slope(values: &[(f64, f64)]) -> f64 {
    let count = values.len() as f64;
    let mean_time = values.iter().map(|(time, _)| time).sum::<f64>() / count;
    let mean_value = values.iter().map(|(_, value)| value).sum::<f64>() / count;
    let squares: f64 = values.iter().map(|(time, _)| (time - mean_time).powi(2)).sum();
    let products: f64 = values.iter().map(|(time, value)| (time - mean_time) * (value - mean_value)).sum();
    if squares > 0.0 { products / squares } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slope_is_that_of_the_line_through_the_values() {
        let trend = Trend::compute(&[(0.0, 10.0), (10.0, 11.0), (20.0, 12.0)]).unwrap();
        assert_eq!(trend, Trend { first: 10.0, last: 12.0, max: 12.0, per_hour: 360.0 });
        // A single peak in the middle is no trend.
        assert_eq!(Trend::compute(&[(0.0, 1.0), (1.0, 9.0), (2.0, 1.0)]).unwrap().per_hour, 0.0);
    }

    #[test]
    fn one_value_has_no_slope_and_none_has_no_trend() {
        assert_eq!(Trend::compute(&[(5.0, 3.0)]).unwrap().per_hour, 0.0);
        assert_eq!(Trend::compute(&[]), None);
    }
}
