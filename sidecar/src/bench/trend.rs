//! How a figure changes over time.

use serde::Serialize;

const SECONDS_PER_HOUR: f64 = 3600.0;

/// The shortest time with a slope, in seconds. The slope of a shorter time, extrapolated to an hour, would
/// raise false alarms.
const SHORTEST: f64 = 600.0;

/// The initial fraction of the time that the slope ignores, because caches and pools fill up in it.
const FILLING: f64 = 0.2;

/// A summary of values over time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Trend {
    /// The first value.
    pub first: f64,
    /// The last value.
    pub last: f64,
    /// The highest value.
    pub max: f64,
    /// The slope of the line with the least squared distance from the values after the first fifth of the time; none if
    /// the time is shorter than ten minutes.
    pub per_hour: Option<f64>,
}

impl Trend {
    /// Summarizes values, each after a time in seconds; none if there are no values.
    #[must_use]
    pub fn compute(values: &[(f64, f64)]) -> Option<Self> {
        let ((begin, first), (end, last)) = (*values.first()?, *values.last()?);
        let max = values.iter().map(|(_, value)| *value).fold(f64::NEG_INFINITY, f64::max);
        let whole = end - begin;
        let per_hour = (whole >= SHORTEST).then(|| {
            let settled = values.iter().filter(|(time, _)| *time >= begin + FILLING * whole);
            slope(&settled.copied().collect::<Vec<_>>()) * SECONDS_PER_HOUR
        });
        Some(Self { first, last, max, per_hour })
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
    fn the_slope_is_that_of_the_line_through_the_values_after_the_first_fifth() {
        let values = [(0.0, 1.0), (100.0, 9.0), (200.0, 10.0), (600.0, 11.0), (1000.0, 12.0)];
        let trend = Trend::compute(&values).unwrap();
        assert_eq!(trend, Trend { first: 1.0, last: 12.0, max: 12.0, per_hour: Some(9.0) });
        // A single peak in the middle is no trend.
        let peak = [(0.0, 1.0), (200.0, 1.0), (600.0, 9.0), (1000.0, 1.0)];
        assert_eq!(Trend::compute(&peak).unwrap().per_hour, Some(0.0));
    }

    #[test]
    fn a_short_time_has_no_slope_and_no_values_have_no_trend() {
        assert_eq!(Trend::compute(&[(5.0, 3.0), (15.0, 4.0)]).unwrap().per_hour, None);
        assert_eq!(Trend::compute(&[]), None);
    }
}
