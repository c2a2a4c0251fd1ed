//! The result of a row.

use super::calls::{Paid, TestResult};
use super::judge::{Preference, Verdict};
use super::money::Money;

/// A row after a run.
#[derive(Debug)]
pub(crate) enum RowResult {
    Graded(Box<GradedPrompt>),
    Ungraded(Box<UngradedPrompt>),
    /// The run ended before the row was finished.
    Unfinished,
}

/// A row with grades.
#[derive(Debug)]
pub(crate) struct GradedPrompt {
    pub(crate) weak: Paid,
    pub(crate) strong: Paid,
    /// The grades of the weak and the strong completion, from 0 to 1.
    pub(crate) grades: (f64, f64),
    pub(crate) evidence: Evidence,
    /// The cost of both completions and of the verdicts.
    pub(crate) cost: Money,
}

/// A row that cannot be graded.
#[derive(Debug)]
pub(crate) struct UngradedPrompt {
    pub(crate) weak: Option<Paid>,
    pub(crate) strong: Option<Paid>,
    pub(crate) reason: String,
    pub(crate) cost: Money,
}

/// What the grades are based on.
#[derive(Debug)]
pub(crate) enum Evidence {
    /// The answer or the pattern of the row.
    Row,
    /// The test results of the weak and the strong completion.
    Tests(Box<[TestResult; 2]>),
    /// Both completions are the same text, so that no judge was asked.
    SameText,
    /// The judge's opinions: with the weak model's completion first, and with the strong model's first.
    Judge { verdict: Verdict, weak_first: Opinion, strong_first: Opinion },
}

/// A judge's opinion on one order of the completions.
#[derive(Debug)]
pub(crate) struct Opinion {
    pub(crate) preference: Preference,
    pub(crate) text: String,
}
