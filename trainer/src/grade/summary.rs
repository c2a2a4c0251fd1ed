//! The table at the end of a run.

use std::collections::BTreeMap;
use std::fmt;

use super::grader::Grader;
use super::input::GradingRow;
use super::money::Money;
use super::output::method;
use super::result::{Evidence, GradedPrompt, RowResult};

/// The number of different reasons that are shown.
const MAX_REASONS: usize = 5;

/// What a run did, by method of grading.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    methods: BTreeMap<&'static str, MethodSummary>,
    /// Why rows have no grades, with their numbers.
    reasons: BTreeMap<String, usize>,
    unfinished: usize,
    /// Completions that the maximum of tokens cut, by model.
    cut: BTreeMap<String, usize>,
    /// Whether costs are known.
    has_prices: bool,
}

#[derive(Debug, Default, Clone, Copy)]
struct MethodSummary {
    graded: usize,
    ungraded: usize,
    ties: usize,
    weak: f64,
    strong: f64,
    cost: Money,
    /// Rows that a judge compared, and those of them where the order changed nothing.
    judged: usize,
    agreed: usize,
}

impl Summary {
    /// Counts the results of the rows.
    pub(crate) fn compute(grader: &Grader, rows: &[GradingRow], results: &[RowResult]) -> Self {
        let has_prices = grader.has_prices();
        let mut summary = Self { has_prices, ..Self::default() };
        for (row, result) in rows.iter().zip(results) {
            let counts = summary.methods.entry(method(&row.check)).or_default();
            match result {
                RowResult::Graded(prompt) => {
                    counts.add(prompt);
                    for (model, paid) in [(&grader.weak, &prompt.weak), (&grader.strong, &prompt.strong)] {
                        if paid.completion.is_cut() {
                            *summary.cut.entry(model.name.clone()).or_default() += 1;
                        }
                    }
                }
                RowResult::Ungraded(prompt) => {
                    counts.ungraded += 1;
                    counts.cost = counts.cost.plus(prompt.cost);
                    *summary.reasons.entry(prompt.reason.clone()).or_default() += 1;
                }
                RowResult::Unfinished => summary.unfinished += 1,
            }
        }
        summary
    }

    /// How many rows have grades.
    pub(crate) fn graded(&self) -> usize {
        self.methods.values().map(|method| method.graded).sum()
    }

    /// How many rows the run did not finish.
    pub(crate) fn unfinished(&self) -> usize {
        self.unfinished
    }
}

impl MethodSummary {
    fn add(&mut self, prompt: &GradedPrompt) {
        let (weak, strong) = prompt.grades;
        self.graded += 1;
        self.ties += usize::from(weak == strong);
        self.weak += weak;
        self.strong += strong;
        self.cost = self.cost.plus(prompt.cost);
        if let Evidence::Judge { weak_first, strong_first, .. } = &prompt.evidence {
            self.judged += 1;
            self.agreed += usize::from(weak_first.preference == strong_first.preference.swapped());
        }
    }

    fn plus(self, other: &Self) -> Self {
        Self {
            graded: self.graded + other.graded,
            ungraded: self.ungraded + other.ungraded,
            ties: self.ties + other.ties,
            weak: self.weak + other.weak,
            strong: self.strong + other.strong,
            cost: self.cost.plus(other.cost),
            judged: self.judged + other.judged,
            agreed: self.agreed + other.agreed,
        }
    }

    fn row(&self, name: &str, has_prices: bool) -> String {
        let mean = |sum: f64| match self.graded {
            0 => "-".to_owned(),
            graded => format!("{:.3}", sum / graded as f64),
        };
        let (weak, strong) = (mean(self.weak), mean(self.strong));
        let cost = if has_prices { self.cost.to_string() } else { "-".to_owned() };
        let Self { graded, ties, ungraded, .. } = self;
        format!("{name:<8}{graded:>8}{weak:>8}{strong:>8}{ties:>8}{ungraded:>10}{cost:>12}")
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (graded, cost) = ("graded", "cost");
        writeln!(
            f,
            "{:<8}{graded:>8}{:>8}{:>8}{:>8}{:>10}{cost:>12}",
            "method", "weak", "strong", "ties", "ungraded"
        )?;
        for (name, method) in &self.methods {
            writeln!(f, "{}", method.row(name, self.has_prices))?;
        }
        let all = self.methods.values().fold(MethodSummary::default(), MethodSummary::plus);
        if self.methods.len() > 1 {
            writeln!(f, "{}", all.row("all", self.has_prices))?;
        }
        if all.judged > 0 {
            let MethodSummary { agreed, judged, .. } = all;
            writeln!(
                f,
                "the judge gave the same verdict in both orders for {agreed} of {judged} prompts; others are ties"
            )?;
        }
        for (model, count) in &self.cut {
            writeln!(
                f,
                "{count} completions of {model} were cut at the maximum of tokens: consider a higher --max-tokens"
            )?;
        }
        let mut reasons: Vec<_> = self.reasons.iter().collect();
        reasons.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        for (reason, count) in reasons.iter().take(MAX_REASONS) {
            writeln!(f, "{count} ungraded: {reason}")?;
        }
        match reasons.len().saturating_sub(MAX_REASONS) {
            0 => Ok(()),
            others => writeln!(f, "and {others} other reasons"),
        }
    }
}
