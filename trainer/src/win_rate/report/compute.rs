//! Computes what routing gives.

use super::{CurrentFigures, CurvePoint, HeldOut, RoutingFigures, ScoredPrompts, Target};
use crate::eval::tradeoff::{self, ThresholdPoint};
use crate::eval::{KEPT_FRACTIONS, RoutingQuality, grades, mean_grades, selection};
use crate::win_rate::bootstrap::Bootstrap;
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
        let target = |quality| Target::compute(head, &length, quality, &prompts.folds, bootstrap);
        Some(Self {
            head_apgr,
            length_apgr,
            apgr_difference,
            oracle_apgr: RoutingQuality::oracle(&grades(rows))?.apgr,
            strong_when_length: length.when(),
            weak_cost: points.first()?.cost,
            strong_cost: points.last()?.cost,
            targets: qualities.into_iter().map(target).collect::<Option<_>>()?,
            current: prompts.current.as_ref().and_then(|now| CurrentFigures::compute(head, now, bootstrap)),
            curve: curve(head, &points, bootstrap)?,
            tradeoff: selection(&points),
            tradeoff_by_length: selection(&length.sweep(&all)),
        })
    }
}

impl Target {
    fn compute(
        head: &Ranking,
        length: &Ranking,
        quality: f64,
        folds: &[usize],
        bootstrap: &Bootstrap,
    ) -> Option<Self> {
        let all: Vec<_> = (0..folds.len()).collect();
        let point = head.keeping(&all, quality)?;
        let means = mean_grades(&head.sample(&all));
        let [head_calls, length_calls, random, difference] = bootstrap.estimate(|sample| {
            let random = random_keeping(mean_grades(&head.sample(sample)), quality)?;
            let calls = |router: &Ranking| Some(router.keeping(sample, quality)?.strong_fraction);
            let (head, length) = (calls(head)?, calls(length)?);
            Some([head, length, random, head - length])
        })?;
        let choices = head.held_out_choices(folds, quality)?;
        let [strong_fraction, kept, recovered, cost] = bootstrap.estimate(|sample| {
            let chosen = sample.iter().filter_map(|&row| choices.get(row)).copied();
            let rows: Vec<_> = head.sample(sample).into_iter().zip(chosen).collect();
            let Outcome { strong_fraction, kept, recovered, cost, .. } = Outcome::compute(&rows)?;
            Some([strong_fraction, kept, recovered, cost])
        })?;
        Some(Self {
            quality,
            recovered: (quality * means.strong - means.weak) / (means.strong - means.weak),
            threshold: point.threshold,
            head: head_calls,
            length: length_calls,
            random,
            difference,
            cost: point.cost,
            held_out: HeldOut { strong_fraction, kept, recovered, cost },
        })
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
