//! The gate: which heads are good enough to be written.

use std::fmt;

use super::report::Report;
use super::text::{Interval, Percent};

/// The minimum number of prompts with different grades. With fewer, intervals of the bootstrap are too narrow
/// to rely on.
pub const MIN_DIFFERENT: usize = 50;

/// Why a head is not written.
#[derive(Debug, Clone, PartialEq)]
pub enum Rejection {
    /// The models have different grades on too few prompts.
    TooFewDifferences {
        /// The number of prompts with different grades.
        different: usize,
        /// The number of prompts.
        prompts: usize,
    },
    /// The strong model is not better beyond the interval.
    NoGap {
        /// The interval of the difference of mean grades, as text.
        gap: String,
        /// About how many prompts would show the difference, if it persists; none where it is not positive.
        needed: Option<usize>,
        /// Whether the weak model is better beyond the interval.
        reversed: bool,
    },
    /// The head does not rank prompts better than their length beyond the interval.
    NotBetterThanLength {
        /// The APGR of the head, and by prompt length.
        apgr: (f64, f64),
        /// The interval of their difference, as text.
        difference: String,
        /// About how many prompts would show the difference, if it persists; none where it is not positive.
        needed: Option<usize>,
    },
}

/// Checks whether the head is worth writing.
///
/// # Errors
/// The rejection says why not, and what to do.
pub fn check(report: &Report) -> Result<(), Rejection> {
    let (prompts, different) = (report.prompts, report.different());
    check_differences(different, prompts)?;
    let Some(routing) = report.routing.as_ref().filter(|_| report.gap.low > 0.0) else {
        return Err(Rejection::NoGap {
            gap: Interval(report.gap).to_string(),
            needed: needed(report.gap.value, report.gap.low, prompts),
            reversed: report.gap.high < 0.0,
        });
    };
    let difference = routing.apgr_difference;
    match difference.low > 0.0 {
        true => Ok(()),
        false => Err(Rejection::NotBetterThanLength {
            apgr: (routing.head_apgr.value, routing.length_apgr.value),
            difference: Interval(difference).to_string(),
            needed: needed(difference.value, difference.low, prompts),
        }),
    }
}

/// Checks whether enough prompts have different grades, which is known before a head is fitted.
///
/// # Errors
/// If too few do.
pub fn check_differences(different: usize, prompts: usize) -> Result<(), Rejection> {
    match different < MIN_DIFFERENT {
        true => Err(Rejection::TooFewDifferences { different, prompts }),
        false => Ok(()),
    }
}

/// About how many prompts it takes until the interval of a positive difference excludes 0, because its width
/// falls with the square root of their number.
fn needed(value: f64, low: f64, prompts: usize) -> Option<usize> {
    let factor = ((value - low) / value).powi(2);
    (value > 0.0 && factor.is_finite()).then(|| rounded_up(prompts as f64 * factor))
}

/// Rounds up to two digits, because these numbers are estimates.
fn rounded_up(number: f64) -> usize {
    let unit = 10f64.powf((number.max(1.0).log10().floor() - 1.0).max(0.0));
    ((number / unit).ceil() * unit) as usize
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooFewDifferences { different, prompts } => {
                write!(
                    f,
                    "the models have different grades on {different} of {prompts} prompts, and at least {MIN_DIFFERENT} such \
                     prompts are needed: "
                )?;
                match different {
                    0 => f.write_str("grade other prompts, or choose models that differ more"),
                    _ => {
                        let all = rounded_up((MIN_DIFFERENT * prompts) as f64 / *different as f64);
                        let rate = Percent(*different as f64 / *prompts as f64);
                        write!(
                            f,
                            "at this rate ({rate}), grade {all} prompts in all, or choose models that differ more"
                        )
                    }
                }
            }
            Self::NoGap { gap, reversed: true, .. } => write!(
                f,
                "the strong model is worse than the weak one: the difference of their mean grades is {gap}. Are the fields \
                 \"weak\" and \"strong\" swapped? If not, use the weak model alone"
            ),
            Self::NoGap { gap, needed, .. } => {
                write!(
                    f,
                    "the strong model is not better than the weak one beyond chance: the difference of their mean grades is \
                     {gap}. "
                )?;
                match needed {
                    Some(needed) => write!(
                        f,
                        "Grade more prompts (about {needed} in all show the difference, if it persists), or use the weak model alone"
                    ),
                    None => f.write_str("Use the weak model alone, or choose another strong one"),
                }
            }
            Self::NotBetterThanLength { apgr: (head, length), difference, needed } => {
                write!(
                    f,
                    "the head does not beat prompt length beyond chance: APGR {head:.3} by the head, {length:.3} by length, \
                     difference {difference}. "
                )?;
                match needed {
                    Some(needed) => write!(
                        f,
                        "Grade more prompts (about {needed} in all show the difference, if it persists), try another --layer or \
                         other --features, or choose models that differ more"
                    ),
                    None => f.write_str(
                        "More prompts like these are unlikely to help: try another --layer or other --features, train the \
                         encoder on them (`llm-router-train train --kind score`), or route by a rule (`min_tokens`) or by task",
                    ),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_prompts_that_would_show_a_difference_is_estimated() {
        // Half the interval is twice the difference, so four times the prompts are needed.
        assert_eq!(needed(0.05, -0.05, 300), Some(1200));
        assert_eq!(needed(0.05, 0.0, 301), Some(310));
        assert_eq!(needed(-0.01, -0.1, 300), None);
        assert_eq!(needed(0.0, -0.1, 300), None);
        assert_eq!([7.2, 43.0, 128.0, 1201.0].map(rounded_up), [8, 43, 130, 1300]);
    }

    #[test]
    fn too_few_differences_say_how_many_prompts_are_needed() {
        let text = |different, prompts| check_differences(different, prompts).unwrap_err().to_string();
        assert!(text(10, 100).contains("on 10 of 100 prompts, and at least 50 such prompts are needed"));
        assert!(
            text(10, 100).contains("at this rate (10.0 %), grade 500 prompts in all"),
            "{}",
            text(10, 100)
        );
        assert!(text(0, 100).ends_with("grade other prompts, or choose models that differ more"));
        assert_eq!(check_differences(MIN_DIFFERENT, 60), Ok(()));
    }
}
