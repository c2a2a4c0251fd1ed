//! The value of a score for routing between a weak and a strong model whose completions were graded.

use std::fmt::Write;

use anyhow::{Context, Result, bail, ensure};
use llm_router_routing::config::Cost;
use serde::Serialize;
use serde_json::Value;

use crate::eval::tradeoff::{self, GradedRow, QualityCost, StrongWhen};
use crate::eval::{Grades, RoutingQuality, Section, drawing, random_apgr};
use llm_router_classifier::model::prediction::{HeadOutput, Prediction};
use llm_router_classifier::records::Record;

/// Fractions of the strong model's quality whose cost is reported.
pub(crate) const KEPT_FRACTIONS: [f64; 4] = [0.9, 0.95, 0.98, 1.0];
/// The maximum number of points of a reported curve.
const MAX_POINTS: usize = 101;

/// The prices of both models' tokens.
#[derive(Debug, Clone, PartialEq)]
pub struct Prices {
    /// The weak model's name and prices.
    pub weak: (String, Cost),
    /// The strong model's name and prices.
    pub strong: (String, Cost),
    /// The assumed length of a completion, in tokens.
    pub completion_tokens: u64,
}

/// How rows are routed.
#[derive(Debug, Clone, PartialEq)]
pub struct WinRateSettings {
    /// Which scores go to the strong model.
    pub when: StrongWhen,
    /// For a head with labels: the labels whose probability is the score.
    pub positive: Vec<String>,
    /// Without prices, a strong call costs 1 and a weak call 0.
    pub prices: Option<Prices>,
}

/// The value of routing by a head's score, compared with simpler routers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WinRate {
    /// The weak model's mean grade.
    pub weak: f64,
    /// The strong model's mean grade.
    pub strong: f64,
    /// Which scores go to the strong model.
    pub strong_when: StrongWhen,
    /// Routing by the head's score.
    pub router: RoutingQuality,
    /// Routing by prompt length: the longest prompts go to the strong model first.
    pub prompt_length: RoutingQuality,
    /// The mean APGR of 200 random routers.
    pub random_apgr: f64,
    /// Its standard deviation.
    pub random_deviation: f64,
    /// The APGR of a router that knows the grades.
    pub oracle_apgr: f64,
    /// What the costs consist of.
    pub cost_of: String,
    /// The results of the score's thresholds; an even selection if there are many.
    pub tradeoff: Vec<tradeoff::ThresholdPoint>,
    /// The same for prompt length.
    pub tradeoff_by_length: Vec<tradeoff::ThresholdPoint>,
    /// The cheapest thresholds that keep fractions of the strong model's quality.
    pub keeps: Vec<KeptQuality>,
}

/// A threshold that keeps a fraction of the strong model's quality.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct KeptQuality {
    /// The fraction to keep.
    pub part: f64,
    /// The threshold and its results.
    #[serde(flatten)]
    pub point: tradeoff::ThresholdPoint,
    /// Its cost as a fraction of that of strong calls alone.
    pub cost_part: f64,
}

/// The score by which a head routes a prompt.
///
/// # Errors
/// If the head has labels, but not these, or has a score and labels are given.
pub(crate) fn routing_score(scores: &HeadOutput, positive: &[String]) -> Result<f32> {
    let Some(score) = scores.score else { return probability(scores, positive) };
    ensure!(
        positive.is_empty(),
        "head {:?} predicts a score, which --positive has no effect on: remove --positive",
        scores.head
    );
    Ok(score)
}

/// The probability that one of these labels is right.
///
/// # Errors
/// If the head lacks one of them, or none is given.
pub(crate) fn probability(scores: &HeadOutput, positive: &[String]) -> Result<f32> {
    let head = &scores.head;
    ensure!(
        !positive.is_empty(),
        "head {head:?} predicts labels, not a score: name those whose probability is the score with --positive, or \
         use a head with a score"
    );
    if let Some(unknown) = positive.iter().find(|label| !scores.labels.contains(label)) {
        bail!("--positive: head {head:?} has no label {unknown:?}, only {:?}", scores.labels);
    }
    let positives = scores.iter().filter(|(label, _)| positive.iter().any(|known| known == label));
    Ok(positives.map(|(_, confidence)| confidence).sum::<f32>().clamp(0.0, 1.0))
}

impl WinRate {
    /// Whether the score ranks prompts in the wrong direction, beyond what chance explains.
    #[must_use]
    pub fn is_reversed(&self) -> bool {
        is_reversed(self.router.apgr, self.random_apgr, self.random_deviation)
    }

    /// Evaluates routing on rows whose fields `weak` and `strong` are the grades of both models' completions.
    ///
    /// # Errors
    /// If a row lacks a grade, or the strong model is not better than the weak one.
    pub fn compute(
        records: &[Record],
        text: &str,
        predictions: &[Prediction],
        scores: &[HeadOutput],
        settings: &WinRateSettings,
    ) -> Result<Self> {
        let rows = rows(records, predictions, scores, settings)?;
        let lengths: Vec<f64> =
            records.iter().map(|record| Ok(length(record.text(text)?))).collect::<Result<_>>()?;
        let by_length = by_length(&rows, &lengths);
        let (need, grades) = (need(&rows, settings.when), grades(&rows));
        let Grades { weak, strong } = mean_grades(&rows);
        let gap = || no_gap(weak, strong);
        let (random_apgr, random_deviation) = random_apgr(&grades).with_context(gap)?;
        let points = tradeoff::sweep(&rows, settings.when);
        Ok(Self {
            weak,
            strong,
            strong_when: settings.when,
            router: RoutingQuality::compute(&need, &grades).with_context(gap)?,
            prompt_length: RoutingQuality::compute(&lengths, &grades).with_context(gap)?,
            random_apgr,
            random_deviation,
            oracle_apgr: RoutingQuality::oracle(&grades).with_context(gap)?.apgr,
            cost_of: cost_of(settings.prices.as_ref()),
            keeps: kept_qualities(&points, &rows),
            tradeoff: selection(&points),
            tradeoff_by_length: selection(&tradeoff::sweep(&by_length, StrongWhen::High)),
        })
    }
}

/// What to check if the scores rank prompts in the wrong direction.
pub(crate) const REVERSED: &str = "the score ranks these prompts worse than chance: more of those that need the strong model go to the \
                            weak one. Check --strong-when, or the order of the policy's bands: a high score can mean that \
                            a prompt needs the strong model (complexity), or that it does not (win-rate)";

fn is_reversed(apgr: f64, random_apgr: f64, random_deviation: f64) -> bool {
    apgr < random_apgr - 2.0 * random_deviation
}

/// Whether thresholds of the rows' score divide them in the wrong direction, beyond what chance explains.
///
/// # Errors
/// If the strong model is not better than the weak one.
pub(crate) fn ranks_in_reverse(rows: &[GradedRow], when: StrongWhen) -> Result<bool> {
    let grades = grades(rows);
    let Grades { weak, strong } = mean_grades(rows);
    let gap = || no_gap(weak, strong);
    let router = RoutingQuality::compute(&need(rows, when), &grades).with_context(gap)?;
    let (random_apgr, random_deviation) = random_apgr(&grades).with_context(gap)?;
    Ok(is_reversed(router.apgr, random_apgr, random_deviation))
}

/// The length of a prompt in characters, which a router without a classifier could use as a score.
pub(crate) fn length(text: &str) -> f64 {
    text.chars().count() as f64
}

/// The rows with their length, as a fraction of the longest one's, in place of the score.
pub(crate) fn by_length(rows: &[GradedRow], lengths: &[f64]) -> Vec<GradedRow> {
    let longest = lengths.iter().copied().fold(1.0, f64::max);
    let with = |(row, length): (&GradedRow, &f64)| GradedRow { score: (length / longest) as f32, ..*row };
    rows.iter().zip(lengths).map(with).collect()
}

/// How much each row needs the strong model, by its score.
pub(crate) fn need(rows: &[GradedRow], when: StrongWhen) -> Vec<f64> {
    let sign = if when == StrongWhen::Low { -1.0 } else { 1.0 };
    rows.iter().map(|row| sign * f64::from(row.score)).collect()
}

/// The grades of the rows.
pub(crate) fn grades(rows: &[GradedRow]) -> Vec<Grades> {
    rows.iter().map(|row| Grades { weak: row.weak.quality, strong: row.strong.quality }).collect()
}

/// The mean grades of the weak and of the strong model.
pub(crate) fn mean_grades(rows: &[GradedRow]) -> Grades {
    let count = rows.len().max(1) as f64;
    let mean = |grade: &dyn Fn(&GradedRow) -> f64| rows.iter().map(grade).sum::<f64>() / count;
    Grades { weak: mean(&|row| row.weak.quality), strong: mean(&|row| row.strong.quality) }
}

fn no_gap(weak: f64, strong: f64) -> String {
    format!(
        "the strong model ({strong:.3}) must be better than the weak one ({weak:.3}): are the rows' fields \
         \"weak\" and \"strong\" swapped?"
    )
}

/// The rows with the quality and cost of each model.
///
/// # Errors
/// If a row lacks a grade.
pub(crate) fn rows(
    records: &[Record],
    predictions: &[Prediction],
    scores: &[HeadOutput],
    settings: &WinRateSettings,
) -> Result<Vec<GradedRow>> {
    let row = |((record, prediction), scores): ((&Record, &Prediction), &HeadOutput)| {
        let prompt_tokens = prediction.read.of as u64;
        let price = |cost: &Cost, completion_tokens| cost.of(prompt_tokens, completion_tokens);
        let (weak, strong) = match &settings.prices {
            Some(Prices { weak, strong, completion_tokens }) => {
                (price(&weak.1, *completion_tokens), price(&strong.1, *completion_tokens))
            }
            None => (0.0, 1.0),
        };
        Ok(GradedRow {
            score: routing_score(scores, &settings.positive)?,
            weak: QualityCost { quality: record.number("weak")?, cost: weak },
            strong: QualityCost { quality: record.number("strong")?, cost: strong },
        })
    };
    records.iter().zip(predictions).zip(scores).map(row).collect()
}

fn cost_of(prices: Option<&Prices>) -> String {
    match prices {
        None => "strong calls".to_owned(),
        Some(Prices { weak, strong, completion_tokens }) => format!(
            "{} ({}) or {} ({}), completions of {completion_tokens} tokens",
            weak.0, weak.1, strong.0, strong.1
        ),
    }
}

fn kept_qualities(points: &[tradeoff::ThresholdPoint], rows: &[GradedRow]) -> Vec<KeptQuality> {
    let always_strong = rows.iter().map(|row| row.strong.cost).sum::<f64>() / rows.len().max(1) as f64;
    let keep = |part| {
        let point = *tradeoff::with_quality(points, part)?;
        Some(KeptQuality { part, point, cost_part: point.cost / always_strong })
    };
    KEPT_FRACTIONS.into_iter().filter_map(keep).collect()
}

/// An even selection of the points, with the first and the last.
pub(crate) fn selection(points: &[tradeoff::ThresholdPoint]) -> Vec<tradeoff::ThresholdPoint> {
    if points.len() <= MAX_POINTS {
        return points.to_vec();
    }
    let index = |number: usize| number * (points.len() - 1) / (MAX_POINTS - 1);
    (0..MAX_POINTS).filter_map(|number| points.get(index(number)).copied()).collect()
}

impl Section for WinRate {
    fn name(&self) -> &'static str {
        "win_rate"
    }

    fn table(&self) -> String {
        let percent =
            |fraction: Option<f64>| fraction.map_or("-".to_owned(), |it| format!("{:.1} %", 100.0 * it));
        let mut text = format!(
            "weak model {:.3}, strong model {:.3}, which gets the {} scores\n\n{:<15}{:>7}{:>12}{:>12}\n",
            self.weak, self.strong, self.strong_when, "router", "APGR", "CPT(50 %)", "CPT(80 %)"
        );
        for (name, quality) in [("this head", &self.router), ("prompt length", &self.prompt_length)] {
            let (cpt50, cpt80) = (percent(quality.cpt50), percent(quality.cpt80));
            // Writing to a String does not fail.
            let _ = writeln!(text, "{name:<15}{:>7.3}{cpt50:>12}{cpt80:>12}", quality.apgr);
        }
        let _ = writeln!(
            text,
            "{:<15}{:>7.3}{:>12}{:>12}   ± {:.3}\n{:<15}{:>7.3}\n\ncost: {}",
            "random",
            self.random_apgr,
            "50.0 %",
            "80.0 %",
            self.random_deviation,
            "oracle",
            self.oracle_apgr,
            self.cost_of
        );
        for KeptQuality { part, point, cost_part } in &self.keeps {
            let _ = writeln!(
                text,
                "threshold {:<9} keeps {:.0} % of the quality at {:.0} % of the cost ({:.0} % strong calls)",
                point.threshold,
                100.0 * part,
                100.0 * cost_part,
                100.0 * point.strong_fraction
            );
        }
        let _ = writeln!(
            text,
            "the weak model alone has {:.1} % of the strong one's quality; the thresholds were chosen on these rows, and do \
             slightly worse on others",
            100.0 * self.weak / self.strong
        );
        text
    }

    fn json(&self) -> Result<Value> {
        Ok(serde_json::to_value(self)?)
    }

    fn drawings(&self) -> Result<Vec<(&'static str, String)>> {
        Ok(vec![("cost-quality.svg", drawing::cost_quality(self)?)])
    }
}
