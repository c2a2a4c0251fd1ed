//! What a router is worth between a weak and a strong model, by the measures of RouteLLM (Ong et al. 2024,
//! arXiv:2406.18665, with the choices of its published evaluation: ten quantile bins, the trapezoidal rule).

use serde::Serialize;

/// Number of bins into which thresholds divide the rows.
const BINS: u32 = 10;

/// How well each model answers a prompt: 0 or 1, or a grade between.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Grades {
    /// The weak model's.
    pub weak: f64,
    /// The strong model's.
    pub strong: f64,
}

/// Mean quality when a share of the prompts goes to the strong model.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Point {
    /// From 0 to 1.
    pub strong_share: f64,
    /// The mean grade.
    pub quality: f64,
}

/// What a router is worth.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RoutingQuality {
    /// Average performance gap recovered: the area between the curve and the weak model's quality, as a part of that
    /// between strong and weak. Random routing has 0.5.
    pub apgr: f64,
    /// The least share of strong calls that recovers half of the gap.
    pub cpt50: Option<f64>,
    /// The least share of strong calls that recovers four fifths of it.
    pub cpt80: Option<f64>,
    /// The curve, by rising share.
    pub curve: Vec<Point>,
}

impl RoutingQuality {
    /// Of a router that sends the rows with the largest `need` to the strong model first. None if the strong model is
    /// not better on the whole: there is no gap to recover.
    #[must_use]
    pub fn of(need: &[f64], grades: &[Grades]) -> Option<Self> {
        let curve = curve(need, grades);
        let (weak, strong) = (curve.first()?.quality, curve.last()?.quality);
        let gap = strong - weak;
        let area: f64 = pairs(&curve)
            .map(|(a, b)| (b.strong_share - a.strong_share) * f64::midpoint(a.quality, b.quality))
            .sum();
        let [cpt50, cpt80] = [0.5, 0.8].map(|part| reach(&curve, weak + part * gap));
        (gap > 0.0).then(|| Self { apgr: (area - weak) / gap, cpt50, cpt80, curve })
    }

    /// Of a router that knows the grades: what no router can surpass.
    #[must_use]
    pub fn oracle(grades: &[Grades]) -> Option<Self> {
        Self::of(&grades.iter().map(|grades| grades.strong - grades.weak).collect::<Vec<_>>(), grades)
    }
}

/// Mean and standard deviation of the APGR of random routers: how much of a difference is chance.
#[must_use]
pub fn random_apgr(grades: &[Grades]) -> Option<(f64, f64)> {
    const ROUTERS: u64 = 200;
    let apgr = |seed| {
        let mut random = fastrand::Rng::with_seed(seed);
        let need: Vec<_> = grades.iter().map(|_| random.f64()).collect();
        RoutingQuality::of(&need, grades).map(|quality| quality.apgr)
    };
    let all = (1..=ROUTERS).map(apgr).collect::<Option<Vec<_>>>()?;
    let mean = all.iter().sum::<f64>() / all.len() as f64;
    let variance = all.iter().map(|apgr| (apgr - mean).powi(2)).sum::<f64>() / all.len() as f64;
    Some((mean, variance.sqrt()))
}

/// A point for each bound of the bins, and the ends, by rising share.
fn curve(need: &[f64], grades: &[Grades]) -> Vec<Point> {
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

fn point(need: &[f64], grades: &[Grades], is_strong: impl Fn(f64) -> bool) -> Point {
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
    Point { strong_share: strong / rows, quality: quality / rows }
}

/// The value at a share of the sorted values, between neighbours by proportion.
fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let position = share * sorted.len().checked_sub(1)? as f64;
    let (below, above) = (sorted.get(position.floor() as usize)?, sorted.get(position.ceil() as usize)?);
    Some(below + (above - below) * position.fract())
}

/// The least share at which the curve, straight between its points, reaches a quality.
fn reach(curve: &[Point], quality: f64) -> Option<f64> {
    pairs(curve).find(|(_, b)| b.quality >= quality).map(|(a, b)| {
        let rise = b.quality - a.quality;
        let part = if rise > 0.0 { ((quality - a.quality) / rise).max(0.0) } else { 0.0 };
        a.strong_share + (b.strong_share - a.strong_share) * part
    })
}

fn pairs(curve: &[Point]) -> impl Iterator<Item = (&Point, &Point)> {
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
    fn a_router_that_sends_all_that_need_it_first_recovers_the_gap_soonest() {
        // Of ten rows, two need the strong model; these first: 0 → 1 of 2 → all.
        let rows = grades(&[(1, 1), (1, 1), (1, 1), (1, 1), (1, 1), (1, 1), (1, 1), (1, 1), (0, 1), (0, 1)]);
        let need: Vec<_> = (0..10).map(f64::from).collect();
        let quality = RoutingQuality::of(&need, &rows).unwrap();
        assert_eq!(quality.curve.len(), 11);
        assert_eq!(quality.curve[1], Point { strong_share: 0.1, quality: 0.9 });
        // Recovered: 0, 0.5, 1, 1, ...: 0.1 · (0.25 + 0.75 + 8)
        assert!((quality.apgr - 0.9).abs() < 1e-12, "{}", quality.apgr);
        assert!((quality.cpt50.unwrap() - 0.1).abs() < 1e-12);
        assert!((quality.cpt80.unwrap() - 0.16).abs() < 1e-12);
        // Who knows the grades knows no more: the two jump to the strong model together.
        assert!((RoutingQuality::oracle(&rows).unwrap().apgr - 0.9).abs() < 1e-12);
    }

    #[test]
    fn the_wrong_way_round_is_worse_than_chance() {
        let rows = grades(&[(1, 1), (1, 1), (1, 1), (1, 1), (0, 1)]);
        let quality = RoutingQuality::of(&[5.0, 4.0, 3.0, 2.0, 1.0], &rows).unwrap();
        assert!(quality.apgr < 0.2, "{quality:?}");
        let (random, deviation) = random_apgr(&rows).unwrap();
        assert!((random - 0.5).abs() < 0.05 && deviation > 0.05, "{random} {deviation}");
    }

    #[test]
    fn rows_of_the_same_need_go_together() {
        let rows = grades(&[(0, 1), (1, 1), (0, 1), (1, 1)]);
        let quality = RoutingQuality::of(&[1.0; 4], &rows).unwrap();
        assert_eq!(quality.curve.first().unwrap().strong_share, 0.0);
        assert!(quality.curve.iter().skip(1).all(|point| point.strong_share == 1.0));
        // A straight line from weak to strong, as random routing has.
        assert_eq!((quality.apgr, quality.cpt50, quality.cpt80), (0.5, Some(0.5), Some(0.8)));
    }

    #[test]
    fn without_a_gap_there_is_nothing_to_recover() {
        assert_eq!(RoutingQuality::of(&[1.0, 2.0], &grades(&[(1, 0), (1, 1)])), None);
        assert_eq!(RoutingQuality::of(&[], &[]), None);
    }
}
