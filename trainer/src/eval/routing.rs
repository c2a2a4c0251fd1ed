//! The value of a router between a weak and a strong model, by the metrics of RouteLLM (Ong et al. 2024, arXiv:2406.18665).
//! Bins and integration are those of its published evaluation: ten quantile bins and the trapezoidal rule.

use serde::Serialize;

/// The number of bins into which thresholds divide the rows.
const BINS: u32 = 10;

/// The grades of both models' completions of a prompt, from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Grades {
    /// The weak model's grade.
    pub weak: f64,
    /// The strong model's grade.
    pub strong: f64,
}

/// The mean quality if a fraction of the prompts goes to the strong model.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct CurvePoint {
    /// The fraction of strong calls, from 0 to 1.
    pub strong_fraction: f64,
    /// The mean grade.
    pub quality: f64,
}

/// The value of a router.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RoutingQuality {
    /// Average performance gap recovered: the area between the curve and the weak model's quality, divided by the gap
    /// between the two models. Random routing has 0.5.
    pub apgr: f64,
    /// The smallest fraction of strong calls that recovers 50 % of the gap.
    pub cpt50: Option<f64>,
    /// The smallest fraction of strong calls that recovers 80 % of it.
    pub cpt80: Option<f64>,
    /// The curve, by rising fraction of strong calls.
    pub curve: Vec<CurvePoint>,
}

impl RoutingQuality {
    /// Evaluates a router that sends the rows with the largest `need` to the strong model first. None if the strong model
    /// is not better on average, since there is no gap to recover.
    #[must_use]
    pub fn compute(need: &[f64], grades: &[Grades]) -> Option<Self> {
        let curve = curve(need, grades);
        let (weak, strong) = (curve.first()?.quality, curve.last()?.quality);
        let gap = strong - weak;
        let area: f64 = pairs(&curve)
            .map(|(a, b)| (b.strong_fraction - a.strong_fraction) * f64::midpoint(a.quality, b.quality))
            .sum();
        let [cpt50, cpt80] = [0.5, 0.8].map(|part| reach(&curve, weak + part * gap));
        (gap > 0.0).then(|| Self { apgr: (area - weak) / gap, cpt50, cpt80, curve })
    }

    /// Evaluates a router that knows the grades, which no router can surpass.
    #[must_use]
    pub fn oracle(grades: &[Grades]) -> Option<Self> {
        Self::compute(&grades.iter().map(|grades| grades.strong - grades.weak).collect::<Vec<_>>(), grades)
    }
}

/// The mean and standard deviation of the APGR of random routers. They show how large a difference can be by
/// chance.
#[must_use]
pub fn random_apgr(grades: &[Grades]) -> Option<(f64, f64)> {
    const ROUTERS: u64 = 200;
    let apgr = |seed| {
        let mut random = fastrand::Rng::with_seed(seed);
        let need: Vec<_> = grades.iter().map(|_| random.f64()).collect();
        RoutingQuality::compute(&need, grades).map(|quality| quality.apgr)
    };
    let all = (1..=ROUTERS).map(apgr).collect::<Option<Vec<_>>>()?;
    let mean = all.iter().sum::<f64>() / all.len() as f64;
    let variance = all.iter().map(|apgr| (apgr - mean).powi(2)).sum::<f64>() / all.len() as f64;
    Some((mean, variance.sqrt()))
}

/// A point for each bound of the bins and for both ends, by rising fraction of strong calls.
fn curve(need: &[f64], grades: &[Grades]) -> Vec<CurvePoint> {
    let mut sorted = need.to_vec();
    sorted.sort_by(f64::total_cmp);
    let mut curve: Vec<_> = (0..BINS)
        .filter_map(|bound| quantile(&sorted, f64::from(bound) / f64::from(BINS)))
        .map(|threshold| point(need, grades, |need| need >= threshold))
        .collect();
    curve.push(point(need, grades, |_| false));
    curve.reverse();
    curve
}

fn point(need: &[f64], grades: &[Grades], is_strong: impl Fn(f64) -> bool) -> CurvePoint {
    let rows = need.len().max(1) as f64;
    let (mut strong, mut quality) = (0.0, 0.0);
    for (&need, grades) in need.iter().zip(grades) {
        if is_strong(need) {
            strong += 1.0;
            quality += grades.strong;
        } else {
            quality += grades.weak;
        }
    }
    CurvePoint { strong_fraction: strong / rows, quality: quality / rows }
}

/// A quantile of sorted values, interpolated between neighbours.
pub(crate) fn quantile(sorted: &[f64], fraction: f64) -> Option<f64> {
    let position = fraction * sorted.len().checked_sub(1)? as f64;
    let (below, above) = (sorted.get(position.floor() as usize)?, sorted.get(position.ceil() as usize)?);
    Some(below + (above - below) * position.fract())
}

/// The smallest fraction of strong calls at which the interpolated curve reaches a quality.
fn reach(curve: &[CurvePoint], quality: f64) -> Option<f64> {
    pairs(curve).find(|(_, b)| b.quality >= quality).map(|(a, b)| {
        let rise = b.quality - a.quality;
        let part = if rise > 0.0 { ((quality - a.quality) / rise).max(0.0) } else { 0.0 };
        a.strong_fraction + (b.strong_fraction - a.strong_fraction) * part
    })
}

fn pairs(curve: &[CurvePoint]) -> impl Iterator<Item = (&CurvePoint, &CurvePoint)> {
    curve.iter().zip(curve.iter().skip(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grades(rows: &[(u8, u8)]) -> Vec<Grades> {
        let grades = |&(weak, strong)| Grades { weak: f64::from(weak), strong: f64::from(strong) };
        rows.iter().map(grades).collect()
    }

    #[test]
    fn a_router_that_sends_the_needy_rows_first_recovers_the_gap_soonest() {
        // Two of ten rows need the strong model, and they go first.
        let rows = grades(&[(1, 1), (1, 1), (1, 1), (1, 1), (1, 1), (1, 1), (1, 1), (1, 1), (0, 1), (0, 1)]);
        let need: Vec<_> = (0..10).map(f64::from).collect();
        let quality = RoutingQuality::compute(&need, &rows).unwrap();
        assert_eq!(quality.curve.len(), 11);
        assert_eq!(quality.curve[1], CurvePoint { strong_fraction: 0.1, quality: 0.9 });
        // Recovered: 0, 0.5, 1, 1, ...: 0.1 · (0.25 + 0.75 + 8)
        assert!((quality.apgr - 0.9).abs() < 1e-12, "{}", quality.apgr);
        assert!((quality.cpt50.unwrap() - 0.1).abs() < 1e-12);
        assert!((quality.cpt80.unwrap() - 0.16).abs() < 1e-12);
        // The oracle is no better: both rows go to the strong model together.
        assert!((RoutingQuality::oracle(&rows).unwrap().apgr - 0.9).abs() < 1e-12);
    }

    #[test]
    fn a_reversed_ranking_is_worse_than_chance() {
        let rows = grades(&[(1, 1), (1, 1), (1, 1), (1, 1), (0, 1)]);
        let quality = RoutingQuality::compute(&[5.0, 4.0, 3.0, 2.0, 1.0], &rows).unwrap();
        assert!(quality.apgr < 0.2, "{quality:?}");
        let (random, deviation) = random_apgr(&rows).unwrap();
        assert!((random - 0.5).abs() < 0.05 && deviation > 0.05, "{random} {deviation}");
    }

    #[test]
    fn rows_of_the_same_need_go_together() {
        let rows = grades(&[(0, 1), (1, 1), (0, 1), (1, 1)]);
        let quality = RoutingQuality::compute(&[1.0; 4], &rows).unwrap();
        assert_eq!(quality.curve.first().unwrap().strong_fraction, 0.0);
        assert!(quality.curve.iter().skip(1).all(|point| point.strong_fraction == 1.0));
        // A straight line from weak to strong, like that of random routing.
        assert_eq!((quality.apgr, quality.cpt50, quality.cpt80), (0.5, Some(0.5), Some(0.8)));
    }

    #[test]
    fn without_a_gap_there_is_no_value() {
        assert_eq!(RoutingQuality::compute(&[1.0, 2.0], &grades(&[(1, 0), (1, 1)])), None);
        assert_eq!(RoutingQuality::compute(&[], &[]), None);
    }
}
