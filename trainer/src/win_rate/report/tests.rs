//! Figures by hand on a few prompts, and the gate on rows whose scores are noise, length or knowledge.

use super::*;
use crate::eval::tradeoff::QualityCost;
use crate::win_rate::gate::{self, Rejection};

fn subject() -> Subject {
    Subject {
        head: "win-rate-small-large".into(),
        models: Some(Names { weak: "small".into(), strong: "large".into() }),
        sources: vec!["graded.jsonl".into()],
        rows: 12,
        ungraded: 0,
        cost_unit: CostUnit::Dollars,
        policy: Some("by-task".into()),
    }
}

/// A prompt: its score, its length, and the grades of both models. A weak call costs 1 millidollar, a strong one 10.
type Prompt = (f32, f64, f64, f64);

fn prompts(all: &[Prompt], current: Option<Vec<Option<bool>>>) -> ScoredPrompts {
    let row = |&(score, _, weak, strong): &Prompt| GradedRow {
        score,
        weak: QualityCost { quality: weak, cost: 0.001 },
        strong: QualityCost { quality: strong, cost: 0.01 },
    };
    ScoredPrompts {
        rows: all.iter().map(row).collect(),
        lengths: all.iter().map(|(_, length, ..)| *length).collect(),
        folds: (0..all.len()).map(|row| row % 5).collect(),
        groups: (0..all.len()).collect(),
        current,
    }
}

fn report(all: &[Prompt]) -> Report {
    Report::compute(subject(), &prompts(all, None), 0.95, 1).unwrap()
}

/// Ten prompts. The weak model fails the two with the lowest scores. Lengths are unrelated to that.
const TEN: [Prompt; 10] = [
    (0.10, 5.0, 0.0, 1.0),
    (0.15, 4.0, 0.0, 1.0),
    (0.40, 9.0, 1.0, 1.0),
    (0.45, 1.0, 1.0, 1.0),
    (0.50, 8.0, 1.0, 1.0),
    (0.55, 2.0, 1.0, 1.0),
    (0.60, 7.0, 1.0, 1.0),
    (0.65, 3.0, 1.0, 1.0),
    (0.70, 6.0, 1.0, 1.0),
    (0.75, 10.0, 1.0, 1.0),
];

#[test]
fn the_figures_of_ten_prompts_match_a_calculation_by_hand() {
    let current = [false, true, false, false, true, false, false, false, false, false].map(Some);
    let mut current = current.to_vec();
    current[9] = None;
    let report = Report::compute(subject(), &prompts(&TEN, Some(current)), 0.95, 1).unwrap();
    assert_eq!((report.prompts, report.weak_better, report.strong_better, report.folds), (10, 0, 2, 5));
    assert_eq!((report.weak.value, report.strong.value), (0.8, 1.0));
    let routing = report.routing.as_ref().unwrap();
    // The curve rises to 0.9 and 1 with the first two strong calls, and stays: 0.1 · (0.25 + 0.75 + 8) of the gap.
    assert!((routing.head_apgr.value - 0.9).abs() < 1e-9, "{:?}", routing.head_apgr);
    assert!((routing.oracle_apgr - 0.9).abs() < 1e-9);
    assert!((routing.weak_cost - 0.001).abs() < 1e-12 && (routing.strong_cost - 0.01).abs() < 1e-12);
    // Lengths of 4 and 5 are in the middle, so they are reached after four to six of the shortest.
    assert_eq!(routing.strong_when_length, StrongWhen::Low);
    let qualities: Vec<_> = routing.targets.iter().map(|target| target.quality).collect();
    assert_eq!(qualities, [0.9, 0.95, 0.98]);
    let calls: Vec<_> = routing
        .targets
        .iter()
        .map(|target| [target.head, target.length, target.random, target.difference].map(|it| it.value))
        .collect();
    // 90 % of the quality takes one of the two failures, and more than that takes both. At random, a tenth of the prompts
    // brings a tenth of the gap, which is 0.2.
    for (found, expected) in
        calls.iter().zip([[0.1, 0.4, 0.5, -0.3], [0.2, 0.5, 0.75, -0.3], [0.2, 0.5, 0.9, -0.3]])
    {
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-9, "{calls:?}");
        }
    }
    let target = report.target(0.95).unwrap();
    assert!(
        (target.recovered - 0.75).abs() < 1e-9
            && (target.cost - (2.0 * 0.01 + 8.0 * 0.001) / 10.0).abs() < 1e-9
    );
    assert!((0.15..0.4).contains(&target.threshold), "{}", target.threshold);
    // Nine prompts, of which two go to the strong model and one of these needed it.
    let current = routing.current.as_ref().unwrap();
    assert_eq!((current.prompts, current.elsewhere), (9, 1));
    assert!((current.strong_fraction.value - 2.0 / 9.0).abs() < 1e-9);
    assert!(
        (current.quality.value - 8.0 / 9.0).abs() < 1e-9 && (current.kept.value - 8.0 / 9.0).abs() < 1e-9
    );
    assert!(
        (current.head_minus_current.value - 1.0 / 9.0).abs() < 1e-9,
        "two strong calls by the head are enough"
    );
}

#[test]
fn every_value_is_in_its_interval_and_the_same_seed_gives_the_same_report() {
    let report = report(&TEN);
    assert_eq!(report, self::report(&TEN));
    let routing = report.routing.unwrap();
    let targets = routing
        .targets
        .iter()
        .flat_map(|target| [target.head, target.length, target.random, target.difference]);
    let curve = routing.curve.iter().map(|point| point.quality);
    let all = targets.chain(curve).chain([
        routing.head_apgr,
        routing.length_apgr,
        routing.apgr_difference,
        report.gap,
    ]);
    for Estimate { value, low, high } in all {
        assert!(low <= value + 1e-9 && value <= high + 1e-9, "{low} {value} {high}");
    }
}

#[test]
fn the_text_has_the_figures_the_costs_and_the_lines_for_a_policy() {
    let report = report(&TEN);
    let text = report.markdown();
    for line in [
        "## Routing between small and large",
        "| small | 0.800 (0.500 to 1.000) | 0 prompts |",
        "| prompt length, shortest first |",
        "| 95 % | 75 % | 20.0 % (10.0 to ",
        " | 2.800 |",
        "small alone costs 1.000, and large alone 10.000.",
    ] {
        assert!(text.contains(line), "no {line:?} in\n{text}");
    }
    let lines = report.policy_lines(0.95).unwrap();
    let policy = format!(
        "sidecar: {{cluster: c}}\ndefault_policy: p\nmodels: {{small: {{cluster: c, model: s}}, large: {{cluster: c, model: l}}}}\n\
         policies:\n  p:\n    {}\n",
        lines.trim_end().replace('\n', "\n    ")
    );
    let config = llm_router_routing::documents::parse_one(&policy).unwrap();
    let bands = config.default_policy.bands().unwrap();
    let model = |score: f32| bands.target(score).models().next().unwrap().name.to_string();
    assert_eq!([0.10, 0.15, 0.40, 0.75].map(model), ["large", "large", "small", "small"]);
    assert_eq!(config.default_policy.classifier.as_str(), "win-rate-small-large");
    assert!(
        report.note().starts_with("Trained on grades of small against large on 10 prompts (graded.jsonl).")
    );
}

/// Prompts of which the weak model fails those that are `hard`, and the strong one some; `score` knows whether one is hard.
fn many(count: usize, score: impl Fn(bool, f64, &mut fastrand::Rng) -> f32, by_length: bool) -> Vec<Prompt> {
    let mut random = fastrand::Rng::with_seed(11);
    let mut all = Vec::new();
    for _ in 0..count {
        let length = random.f64();
        let hard = if by_length { length > 0.6 } else { random.f64() < 0.4 };
        let fails = |random: &mut fastrand::Rng, rate: f64| f64::from(u8::from(random.f64() >= rate));
        let weak = fails(&mut random, if hard { 0.9 } else { 0.1 });
        let strong = fails(&mut random, 0.1);
        let score = score(hard, length, &mut random);
        all.push((score, 1.0 + (1000.0 * length).floor(), weak, strong));
    }
    all
}

fn noise(_: bool, _: f64, random: &mut fastrand::Rng) -> f32 {
    random.f32()
}

#[test]
fn a_head_that_knows_more_than_length_is_accepted() {
    let knows = |hard, _: f64, random: &mut fastrand::Rng| if hard { 0.0 } else { 0.5 } + 0.5 * random.f32();
    assert_eq!(gate::check(&report(&many(300, knows, false))), Ok(()));
}

#[test]
fn noise_is_rejected() {
    let rejection = gate::check(&report(&many(300, noise, false))).unwrap_err();
    assert!(matches!(rejection, Rejection::NotBetterThanLength { .. }), "{rejection:?}");
    assert!(
        rejection.to_string().contains("does not beat prompt length beyond chance: APGR 0."),
        "{rejection}"
    );
}

#[test]
fn a_head_that_knows_length_only_is_rejected() {
    let knows_length = |_: bool, length: f64, _: &mut fastrand::Rng| 1.0 - length as f32;
    let report = report(&many(300, knows_length, true));
    let routing = report.routing.as_ref().unwrap();
    assert!(routing.head_apgr.low > 0.6, "it is far better than random: {:?}", routing.head_apgr);
    let rejection = gate::check(&report).unwrap_err();
    assert!(matches!(rejection, Rejection::NotBetterThanLength { .. }), "{rejection:?}");
}

#[test]
fn at_most_two_of_forty_heads_of_noise_pass() {
    let passed = (0..40u64).filter(|&seed| {
        let mut random = fastrand::Rng::with_seed(100 + seed);
        let all: Vec<_> = many(200, noise, false)
            .into_iter()
            .map(|(_, length, weak, strong)| (random.f32(), length, weak, strong))
            .collect();
        gate::check(&report(&all)).is_ok()
    });
    let passed = passed.count();
    assert!(passed <= 2, "{passed} of 40 heads of noise passed");
}

#[test]
fn models_without_a_difference_leave_nothing_to_route() {
    // The weak model is better on as many prompts as the strong one.
    let all: Vec<Prompt> =
        (0..120).map(|row| (0.5, 1.0, f64::from(row % 2), f64::from((row + 1) % 2))).collect();
    let equal = report(&all);
    assert_eq!((equal.routing.clone(), equal.different()), (None, 120));
    let rejection = gate::check(&equal).unwrap_err().to_string();
    assert!(
        rejection.contains("not better than the weak one beyond chance")
            && rejection.contains("Use the weak"),
        "{rejection}"
    );
    assert!(equal.markdown().contains("nothing to gain by routing"));

    let swapped: Vec<Prompt> = all.iter().map(|&(score, length, ..)| (score, length, 1.0, 0.0)).collect();
    let rejection = gate::check(&report(&swapped)).unwrap_err().to_string();
    assert!(rejection.contains("Are the fields \"weak\" and \"strong\" swapped?"));

    let few: Vec<Prompt> = all.iter().map(|&(score, length, ..)| (score, length, 1.0, 1.0)).collect();
    let rejection = gate::check(&report(&few)).unwrap_err();
    assert_eq!(rejection, Rejection::TooFewDifferences { different: 0, prompts: 120 });
}
