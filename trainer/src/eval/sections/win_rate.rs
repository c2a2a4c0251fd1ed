//! What a score is worth for routing between a weak and a strong model whose answers were graded.

use std::fmt::Write;

use anyhow::{Context, Result, ensure};
use llm_router_routing::config::Cost;
use serde::Serialize;
use serde_json::Value;

use crate::eval::tradeoff::{self, Row, StrongWhen, Yield};
use crate::eval::{Grades, RoutingQuality, Section, drawing, random_apgr};
use llm_router_classifier::model::prediction::{HeadOutput, Prediction};
use llm_router_classifier::records::Record;

/// Parts of the strong model's quality for which the cost is told.
const KEPT: [f64; 4] = [0.9, 0.95, 0.98, 1.0];
/// The most points of a curve that are told and drawn.
const POINTS: usize = 101;

/// What the two models' tokens cost.
#[derive(Debug, Clone, PartialEq)]
pub struct Prices {
    /// The weak model's name and prices.
    pub weak: (String, Cost),
    /// The strong model's.
    pub strong: (String, Cost),
    /// How long an answer is taken to be, in tokens.
    pub answer_tokens: u64,
}

/// How rows are routed.
#[derive(Debug, Clone, PartialEq)]
pub struct WinRateSettings {
    /// Which scores go to the strong model.
    pub when: StrongWhen,
    /// Of a head that has labels: those whose probability is the score.
    pub positive: Vec<String>,
    /// Without prices, a strong call counts 1 and a weak one nothing.
    pub prices: Option<Prices>,
}

/// A router between two models, beside simpler ones.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WinRate {
    /// The weak model's mean grade.
    pub weak: f64,
    /// The strong model's.
    pub strong: f64,
    /// By the head's score.
    pub router: RoutingQuality,
    /// By the number of the prompt's characters, the longest to the strong model first.
    pub prompt_length: RoutingQuality,
    /// The mean APGR of 200 random routers.
    pub random_apgr: f64,
    /// Its standard deviation.
    pub random_deviation: f64,
    /// By the grades themselves.
    pub oracle_apgr: f64,
    /// What is paid for.
    pub cost_of: String,
    /// What thresholds of the score do, some of them evenly.
    pub tradeoff: Vec<tradeoff::Point>,
    /// The same by prompt length.
    pub tradeoff_by_length: Vec<tradeoff::Point>,
    /// The cheapest thresholds that keep a part of the strong model's quality.
    pub keeps: Vec<Keeps>,
}

/// A threshold that keeps a part of the strong model's quality.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Keeps {
    /// The part wanted.
    pub part: f64,
    /// The threshold, and what it yields.
    #[serde(flatten)]
    pub point: tradeoff::Point,
    /// Its cost as a part of that of strong calls alone.
    pub cost_part: f64,
}

/// The number by which a head routes a prompt.
///
/// # Errors
/// If it has labels, but not these.
pub(crate) fn routing_score(scores: &HeadOutput, positive: &[String]) -> Result<f32> {
    if let Some(score) = scores.score {
        return Ok(score);
    }
    ensure!(!positive.is_empty(), "head {:?} has labels: name those that count with --positive", scores.head);
    let unknown = positive.iter().find(|label| !scores.labels.contains(label));
    ensure!(unknown.is_none(), "--positive: the head has no label {unknown:?}, only {:?}", scores.labels);
    let of = scores.iter().filter(|(label, _)| positive.iter().any(|known| known == label));
    Ok(of.map(|(_, confidence)| confidence).sum::<f32>().clamp(0.0, 1.0))
}

impl WinRate {
    /// Routes the rows, whose fields `weak` and `strong` are the grades of the two models' answers.
    ///
    /// # Errors
    /// If a row lacks a grade, or the strong model is not better than the weak one.
    pub fn of(
        records: &[Record],
        text: &str,
        answers: &[Prediction],
        scores: &[HeadOutput],
        settings: &WinRateSettings,
    ) -> Result<Self> {
        let rows = rows(records, answers, scores, settings)?;
        let lengths: Vec<f64> = records
            .iter()
            .map(|record| Ok(record.text(text)?.chars().count() as f64))
            .collect::<Result<_>>()?;
        let longest = lengths.iter().copied().fold(1.0, f64::max);
        let by_length: Vec<_> = rows
            .iter()
            .zip(&lengths)
            .map(|(row, length)| Row { score: (length / longest) as f32, ..*row })
            .collect();
        let sign = if settings.when == StrongWhen::Low { -1.0 } else { 1.0 };
        let need: Vec<_> = rows.iter().map(|row| sign * f64::from(row.score)).collect();
        let grades: Vec<_> =
            rows.iter().map(|row| Grades { weak: row.weak.quality, strong: row.strong.quality }).collect();
        let mean = |of: &dyn Fn(&Grades) -> f64| grades.iter().map(of).sum::<f64>() / grades.len() as f64;
        let (weak, strong) = (mean(&|grades| grades.weak), mean(&|grades| grades.strong));
        let gap = || format!("the strong model ({strong:.3}) must be better than the weak one ({weak:.3})");
        let (random_apgr, random_deviation) = random_apgr(&grades).with_context(gap)?;
        let points = tradeoff::sweep(&rows, settings.when);
        Ok(Self {
            weak,
            strong,
            router: RoutingQuality::of(&need, &grades).with_context(gap)?,
            prompt_length: RoutingQuality::of(&lengths, &grades).with_context(gap)?,
            random_apgr,
            random_deviation,
            oracle_apgr: RoutingQuality::oracle(&grades).with_context(gap)?.apgr,
            cost_of: cost_of(settings.prices.as_ref()),
            keeps: keeps(&points, &rows),
            tradeoff: some(&points),
            tradeoff_by_length: some(&tradeoff::sweep(&by_length, StrongWhen::High)),
        })
    }
}

/// The rows with what each model yields.
///
/// # Errors
/// If a row lacks a grade.
pub(crate) fn rows(
    records: &[Record],
    answers: &[Prediction],
    scores: &[HeadOutput],
    settings: &WinRateSettings,
) -> Result<Vec<Row>> {
    let row = |((record, answer), scores): ((&Record, &Prediction), &HeadOutput)| {
        let prompt_tokens = answer.read.of as u64;
        let price = |cost: &Cost, answer_tokens| cost.of(prompt_tokens, answer_tokens);
        let (weak, strong) = match &settings.prices {
            Some(Prices { weak, strong, answer_tokens }) => {
                (price(&weak.1, *answer_tokens), price(&strong.1, *answer_tokens))
            }
            None => (0.0, 1.0),
        };
        Ok(Row {
            score: routing_score(scores, &settings.positive)?,
            weak: Yield { quality: record.number("weak")?, cost: weak },
            strong: Yield { quality: record.number("strong")?, cost: strong },
        })
    };
    records.iter().zip(answers).zip(scores).map(row).collect()
}

fn cost_of(prices: Option<&Prices>) -> String {
    match prices {
        None => "strong calls".to_owned(),
        Some(Prices { weak, strong, answer_tokens }) => format!(
            "{} ({}) or {} ({}), answers of {answer_tokens} tokens",
            weak.0, weak.1, strong.0, strong.1
        ),
    }
}

fn keeps(points: &[tradeoff::Point], rows: &[Row]) -> Vec<Keeps> {
    let always_strong = rows.iter().map(|row| row.strong.cost).sum::<f64>() / rows.len().max(1) as f64;
    let keep = |part| {
        let point = *tradeoff::with_quality(points, part)?;
        Some(Keeps { part, point, cost_part: point.cost / always_strong })
    };
    KEPT.into_iter().filter_map(keep).collect()
}

/// Some of the points, evenly, with the first and the last.
fn some(points: &[tradeoff::Point]) -> Vec<tradeoff::Point> {
    if points.len() <= POINTS {
        return points.to_vec();
    }
    let index = |number: usize| number * (points.len() - 1) / (POINTS - 1);
    (0..POINTS).filter_map(|number| points.get(index(number)).copied()).collect()
}

impl Section for WinRate {
    fn name(&self) -> &'static str {
        "win_rate"
    }

    fn table(&self) -> String {
        let percent =
            |share: Option<f64>| share.map_or("-".to_owned(), |share| format!("{:.1} %", 100.0 * share));
        let mut text = format!(
            "weak model {:.3}, strong model {:.3}\n\n{:<15}{:>7}{:>12}{:>12}\n",
            self.weak, self.strong, "router", "APGR", "CPT(50 %)", "CPT(80 %)"
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
        for Keeps { part, point, cost_part } in &self.keeps {
            let _ = writeln!(
                text,
                "threshold {:<9} keeps {:.0} % of the quality at {:.0} % of the cost ({:.0} % strong calls)",
                point.threshold,
                100.0 * part,
                100.0 * cost_part,
                100.0 * point.strong_share
            );
        }
        let _ = writeln!(
            text,
            "the weak model alone has {:.1} % of the strong one's quality; thresholds were chosen on these rows, and do a \
             little worse on others",
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
