//! The verdict of a judge.

use serde::Serialize;

/// Which of two completions, in the order of the request, a judge prefers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Preference {
    First,
    Second,
    Tie,
}

impl Preference {
    /// Reads the last line of a judge's completion. None if it is not a verdict.
    pub(crate) fn parse(completion: &str) -> Option<Self> {
        match completion.lines().rev().map(str::trim).find(|line| !line.is_empty())? {
            "[[A]]" => Some(Self::First),
            "[[B]]" => Some(Self::Second),
            "[[TIE]]" => Some(Self::Tie),
            _ => None,
        }
    }

    /// The same preference in the other order.
    pub(crate) fn swapped(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
            Self::Tie => Self::Tie,
        }
    }
}

/// Which model wrote the better completion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    Weak,
    Strong,
    Tie,
}

impl Verdict {
    /// The verdict of a judge that saw the weak model's completion first, and then second. Without agreement, it is a tie:
    /// the judge prefers a position.
    pub(crate) fn combine(weak_first: Preference, strong_first: Preference) -> Self {
        match (weak_first, strong_first) {
            (Preference::First, Preference::Second) => Self::Weak,
            (Preference::Second, Preference::First) => Self::Strong,
            _ => Self::Tie,
        }
    }

    /// The grades of the weak and the strong model.
    pub(crate) fn grades(self) -> (f64, f64) {
        match self {
            Self::Weak => (1.0, 0.0),
            Self::Strong => (0.0, 1.0),
            Self::Tie => (0.5, 0.5),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_last_line_that_is_a_verdict_counts() {
        for (completion, preference) in [
            ("[[A]]", Some(Preference::First)),
            ("B is longer, but wrong: [[B]]\n\n [[A]] \n", Some(Preference::First)),
            ("Worse.\n[[B]]", Some(Preference::Second)),
            ("[[TIE]]", Some(Preference::Tie)),
            ("The better one is [[A]]", None),
            ("[[A]]\nThat is my verdict.", None),
            ("[[C]]", None),
            ("[[a]]", None),
            ("", None),
        ] {
            assert_eq!(Preference::parse(completion), preference, "{completion:?}");
        }
    }

    #[test]
    fn without_agreement_it_is_a_tie() {
        use Preference::{First, Second, Tie};
        let verdicts =
            [First, Second, Tie].map(|one| [First, Second, Tie].map(|other| Verdict::combine(one, other)));
        let tie = Verdict::Tie;
        assert_eq!(verdicts, [[tie, Verdict::Weak, tie], [Verdict::Strong, tie, tie], [tie, tie, tie]]);
        assert_eq!(
            [Verdict::Weak, Verdict::Strong, tie].map(Verdict::grades),
            [(1.0, 0.0), (0.0, 1.0), (0.5, 0.5)]
        );
    }
}
