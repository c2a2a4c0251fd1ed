//! Computes the results of routing.

use super::{CurrentFigures, CurvePoint, HeldOut, RoutingFigures, ScoredPrompts, Target};
use crate::eval::tradeoff::{self, ThresholdPoint};
use crate::eval::{KEPT_FRACTIONS, RoutingQuality, grades, mean_grades, selection};
use crate::win_rate::bootstrap::{Bootstrap, Estimate};
use crate::win_rate::ranking::{Outcome, Ranking, random_keeping};

/// Fractions of strong calls at which the curve has an interval.
const CURVE: usize = 21;

impl RoutingFigures {
    pub(super) fn compute(
        head: &Ranking,
        prompts: &ScoredPrompts,
        quality: f64,
        bootstrap: &Bootstrap,
    ) -> Option<Self> {
        let rows = &prompts.rows;
        let length = Ranking::by_length(rows, &prompts.lengths);
        let [head_apgr, length_apgr, apgr_difference] = bootstrap.estimate(|sample| {
            let (head, length) = (head.apgr(sample)?, length.apgr(sample)?);
            Some([head, length, head - length])
        })?;
        let mut qualities: Vec<f64> =
            KEPT_FRACTIONS.into_iter().filter(|fraction| *fraction < 1.0).chain([quality]).collect();
        qualities.sort_by(f64::total_cmp);
        qualities.dedup();
        let all: Vec<_> = (0..rows.len()).collect();
        let points = head.sweep(&all);
        let targets = Target::compute(head, &length, &qualities, &prompts.folds, bootstrap)?;
        Some(Self {
            head_apgr,
            length_apgr,
            apgr_difference,
            oracle_apgr: RoutingQuality::oracle(&grades(rows))?.apgr,
            strong_when_length: length.when(),
            weak_cost: points.first()?.cost,
            strong_cost: points.last()?.cost,
            targets,
            current: prompts.current.as_ref().and_then(|now| CurrentFigures::compute(head, now, bootstrap)),
            curve: curve(head, &points, bootstrap)?,
            tradeoff: selection(&points),
            tradeoff_by_length: selection(&length.sweep(&all)),
        })
    }
}

impl Target {
    /// For each quality, from the same resamples.
    fn compute(
        head: &Ranking,
        length: &Ranking,
        qualities: &[f64],
        folds: &[usize],
        bootstrap: &Bootstrap,
    ) -> Option<Vec<Self>> {
        let choices: Vec<_> =
            qualities.iter().map(|&quality| head.held_out_choices(folds, quality)).collect::<Option<_>>()?;
        let estimates = bootstrap.estimate_all(|sample| {
            let rows = head.sample(sample);
            let means = mean_grades(&rows);
            let (by_head, by_length) = (head.sweep(sample), length.sweep(sample));
            let figures = |(&quality, choices): (&f64, &Vec<bool>)| {
                let random = random_keeping(means, quality)?;
                let calls = |points| Some(tradeoff::with_quality(points, quality)?.strong_fraction);
                let (head, length) = (calls(&by_head)?, calls(&by_length)?);
                let chosen = sample.iter().filter_map(|&row| choices.get(row)).copied();
                let chosen: Vec<_> = rows.iter().copied().zip(chosen).collect();
                let Outcome { strong_fraction, kept, recovered, cost, .. } = Outcome::compute(&chosen)?;
                Some([head, length, random, head - length, strong_fraction, kept, recovered, cost])
            };
            qualities.iter().zip(&choices).map(figures).collect()
        })?;
        let all: Vec<_> = (0..folds.len()).collect();
        let (points, means) = (head.sweep(&all), mean_grades(&head.sample(&all)));
        let target = |(&quality, estimates): (&f64, [Estimate; 8])| {
            let [head, length, random, difference, strong_fraction, kept, recovered, cost] = estimates;
            let point = tradeoff::with_quality(&points, quality)?;
            Some(Self {
                quality,
                recovered: (quality * means.strong - means.weak) / (means.strong - means.weak),
                threshold: point.threshold,
                head,
                length,
                random,
                difference,
                cost: point.cost,
                held_out: HeldOut { strong_fraction, kept, recovered, cost },
            })
        };
        qualities.iter().zip(estimates).map(target).collect()
    }
}

impl CurrentFigures {
    fn compute(head: &Ranking, current: &[Option<bool>], bootstrap: &Bootstrap) -> Option<Self> {
        let comparable = |sample: &[usize]| -> (Vec<usize>, Vec<bool>) {
            let choice = |&row: &usize| Some((row, (*current.get(row)?)?));
            sample.iter().filter_map(choice).unzip()
        };
        let outcome = |rows: &[usize], choices: Vec<bool>| {
            Outcome::compute(&head.sample(rows).into_iter().zip(choices).collect::<Vec<_>>())
        };
        let (all, choices) = comparable(&(0..current.len()).collect::<Vec<_>>());
        let [strong_fraction, quality, kept, head_minus_current] = bootstrap.estimate(|sample| {
            let (rows, choices) = comparable(sample);
            let now = outcome(&rows, choices)?;
            let points = head.sweep(&rows);
            let ours = tradeoff::with_strong_fraction(&points, now.strong_fraction)?;
            Some([now.strong_fraction, now.quality, now.kept, ours.quality - now.quality])
        })?;
        Some(Self {
            prompts: all.len(),
            elsewhere: current.len() - all.len(),
            cost: outcome(&all, choices)?.cost,
            strong_fraction,
            quality,
            kept,
            head_minus_current,
        })
    }
}

fn curve(head: &Ranking, points: &[ThresholdPoint], bootstrap: &Bootstrap) -> Option<Vec<CurvePoint>> {
    let fractions: [f64; CURVE] = std::array::from_fn(|index| index as f64 / (CURVE - 1) as f64);
    let qualities: [_; CURVE] = bootstrap.estimate(|sample| {
        let points = head.sweep(sample);
        let quality = |fraction| Some(tradeoff::with_strong_fraction(&points, fraction)?.quality);
        (!points.is_empty()).then(|| fractions.map(|fraction| quality(fraction).unwrap_or(f64::NAN)))
    })?;
    let point = |(fraction, quality)| {
        let point = tradeoff::with_strong_fraction(points, fraction)?;
        Some(CurvePoint { strong_fraction: point.strong_fraction, cost: point.cost, quality })
    };
    fractions.into_iter().zip(qualities).map(point).collect()
}
