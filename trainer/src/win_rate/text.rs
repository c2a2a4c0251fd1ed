//! The report as Markdown, and the lines for a policy.

use std::fmt::{self, Write};

use super::bootstrap::Estimate;
use super::report::{CostUnit, CurrentFigures, Report, RoutingFigures, Target};
use crate::eval::tradeoff::StrongWhen;

/// A fraction as a percentage.
pub(super) struct Percent(pub(super) f64);

/// An estimate with its interval.
pub(super) struct Interval(pub(super) Estimate);

/// An estimate of a fraction, as percentages with the interval.
struct PercentInterval(Estimate);

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} %", 100.0 * self.0)
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Estimate { value, low, high } = self.0;
        write!(f, "{value:.3} ({low:.3} to {high:.3})")
    }
}

impl fmt::Display for PercentInterval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Estimate { value, low, high } = self.0;
        write!(f, "{} ({:.1} to {:.1})", Percent(value), 100.0 * low, 100.0 * high)
    }
}

/// The file with the drawing, which the report links.
pub(super) const DRAWING: &str = "cost_quality.svg";

impl Report {
    /// The report as Markdown, with headings of the second level.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut text = format!("## Routing between {} and {}\n\n", self.weak_name(), self.strong_name());
        text += &self.introduction();
        text += &self.models();
        let Some(routing) = &self.routing else {
            text += "\nThe strong model is not better on these prompts, so there is nothing to gain by routing.\n";
            return text;
        };
        text += &routing.apgr();
        text += &self.targets(routing);
        if let Some(current) = &routing.current {
            text += &self.current(current);
        }
        let _ = writeln!(text, "\n![Quality over cost]({DRAWING})");
        text
    }

    /// The lines for a policy that routes by the head and keeps this fraction of the strong model's quality, if that was
    /// computed.
    #[must_use]
    pub fn policy_lines(&self, quality: f64) -> Option<String> {
        let threshold = self.target(quality)?.threshold;
        let (head, names) = (&self.subject.head, self.subject.models.as_ref());
        let (weak, strong) =
            names.map_or(("WEAK", "STRONG"), |names| (names.weak.as_str(), names.strong.as_str()));
        Some(format!(
            "classifier: {head}\nbands: [{{ up_to: {threshold}, model: {strong} }}, {{ model: {weak} }}]\n"
        ))
    }

    /// The note for users of the head.
    #[must_use]
    pub fn note(&self) -> String {
        format!(
            "Trained on grades of {} against {} on {} prompts ({}). A low score goes to {1}. For other models, or on prompts \
             of other kinds, grade and train again.",
            self.weak_name(),
            self.strong_name(),
            self.prompts,
            self.subject.sources.join(", ")
        )
    }

    pub(super) fn weak_name(&self) -> &str {
        self.subject.models.as_ref().map_or("the weak model", |names| &names.weak)
    }

    pub(super) fn strong_name(&self) -> &str {
        self.subject.models.as_ref().map_or("the strong model", |names| &names.strong)
    }

    fn introduction(&self) -> String {
        let (rows, prompts) = (self.subject.rows, self.prompts);
        let mut text = format!("{prompts} prompts of {}", self.subject.sources.join(", "));
        if rows > prompts {
            let _ =
                write!(text, " ({rows} rows; rows with the same prompt are one prompt with the mean grade)");
        }
        if self.subject.ungraded > 0 {
            let _ = write!(text, "; {} rows without grades were left out", self.subject.ungraded);
        }
        let _ = write!(
            text,
            ". Each prompt was scored by a head that was fitted to the other {} of {} folds. Intervals are for {:.0} %, by \
             {} bootstrap resamples of {}, seed {}. They do not include the variation between fits.\n\n",
            self.folds.saturating_sub(1),
            self.folds,
            100.0 * self.level,
            self.resamples,
            if self.groups < self.prompts {
                format!("{} groups of prompts", self.groups)
            } else {
                "prompts".into()
            },
            self.seed
        );
        text
    }

    fn models(&self) -> String {
        let (weak, strong) = (self.weak_name(), self.strong_name());
        format!(
            "| | mean grade | better on |\n|---|---|---|\n| {weak} | {} | {} prompts |\n| {strong} | {} | {} prompts |\n\
             | difference | {} | |\n\n",
            Interval(self.weak),
            self.weak_better,
            Interval(self.strong),
            self.strong_better,
            Interval(self.gap)
        )
    }

    fn targets(&self, routing: &RoutingFigures) -> String {
        let strong = self.strong_name();
        let mut text = format!(
            "### Strong calls that keep a quality\n\nQuality is the mean grade, in percent of {strong}'s. The recovered gap is \
             what routing makes of the difference between both models.\n\n\
             | quality | recovered gap | this head | prompt length | random | head minus length | threshold |{}\n\
             |---|---|---|---|---|---|---|{}\n",
            self.cost_heading(),
            self.cost_rule()
        );
        for target in &routing.targets {
            let Target { quality, recovered, threshold, head, length, random, difference, cost, .. } = target;
            let _ = writeln!(
                text,
                "| {:.0} % | {:.0} % | {} | {} | {} | {} | {threshold} |{}",
                100.0 * quality,
                100.0 * recovered,
                PercentInterval(*head),
                PercentInterval(*length),
                PercentInterval(*random),
                PercentInterval(*difference),
                self.cost(*cost)
            );
        }
        text += &format!(
            "\nThe threshold of a line was chosen on all prompts, so other prompts do slightly worse. With thresholds that were \
             chosen on the prompts of the other folds:\n\n\
             | quality wanted | strong calls | quality kept | recovered gap |{}\n|---|---|---|---|{}\n",
            self.cost_heading(),
            self.cost_rule()
        );
        for Target { quality, held_out, .. } in &routing.targets {
            let _ = writeln!(
                text,
                "| {:.0} % | {} | {} | {} |{}",
                100.0 * quality,
                PercentInterval(held_out.strong_fraction),
                PercentInterval(held_out.kept),
                PercentInterval(held_out.recovered),
                self.cost(held_out.cost.value)
            );
        }
        if self.subject.cost_unit == CostUnit::Dollars {
            let _ = writeln!(
                text,
                "\nCosts are dollars for 1000 requests. {} alone costs {:.3}, and {strong} alone {:.3}.",
                self.weak_name(),
                1000.0 * routing.weak_cost,
                1000.0 * routing.strong_cost
            );
        }
        text
    }

    fn current(&self, current: &CurrentFigures) -> String {
        let name = self.subject.policy.as_deref().unwrap_or("current policy");
        let mut text = format!(
            "\n### The policy {name}\n\n| strong calls | quality kept | mean grade | this head at as many strong calls |{}\n\
             |---|---|---|---|{}\n",
            self.cost_heading(),
            self.cost_rule()
        );
        let CurrentFigures { prompts, elsewhere, strong_fraction, quality, kept, cost, head_minus_current } =
            current;
        let Estimate { value, low, high } = head_minus_current;
        let _ = writeln!(
            text,
            "| {} | {} | {} | {value:+.3} ({low:+.3} to {high:+.3}) |{}",
            PercentInterval(*strong_fraction),
            PercentInterval(*kept),
            Interval(*quality),
            self.cost(*cost)
        );
        if *elsewhere > 0 {
            let _ = writeln!(
                text,
                "\nOn the {prompts} prompts that it sends to either model. It rejects or sends elsewhere {elsewhere} others."
            );
        }
        text
    }

    fn cost_heading(&self) -> &'static str {
        if self.subject.cost_unit == CostUnit::Dollars { " cost |" } else { "" }
    }

    fn cost_rule(&self) -> &'static str {
        if self.subject.cost_unit == CostUnit::Dollars { "---|" } else { "" }
    }

    /// The cell with a mean cost, in dollars for 1000 requests.
    fn cost(&self, mean: f64) -> String {
        match self.subject.cost_unit {
            CostUnit::Dollars => format!(" {:.3} |", 1000.0 * mean),
            CostUnit::StrongCalls => String::new(),
        }
    }
}

impl RoutingFigures {
    fn apgr(&self) -> String {
        let first = match self.strong_when_length {
            StrongWhen::High => "longest",
            StrongWhen::Low => "shortest",
        };
        format!(
            "APGR is the fraction of the gap between both models that is recovered, averaged over all fractions of strong \
             calls.\n\n| router | APGR |\n|---|---|\n| this head | {} |\n| prompt length, {first} first | {} |\n\
             | head minus length | {} |\n| random | 0.500 |\n| oracle, which knows the grades | {:.3} |\n\n",
            Interval(self.head_apgr),
            Interval(self.length_apgr),
            Interval(self.apgr_difference),
            self.oracle_apgr
        )
    }
}
