//! Draws latency over load, as SVG: a line for each percentile, and what was answered below each load.

use super::load::Load;
use super::report::Step;
use super::statistics::Latency;
use crate::svg::{Anchor, Axes, BLACK, Drawing, Frame, GREEN, GREY, ORANGE, RED};

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 420.0;
const FRAME: Frame = Frame { left: 70.0, right: WIDTH - 70.0, top: 30.0, bottom: HEIGHT - 70.0 };

/// What is drawn.
const LINES: [Line; 3] = [
    Line { name: "p50", colour: GREEN, value: |latency| latency.p50 },
    Line { name: "p90", colour: ORANGE, value: |latency| latency.p90 },
    Line { name: "p99", colour: RED, value: |latency| latency.p99 },
];

/// A percentile.
struct Line {
    name: &'static str,
    colour: &'static str,
    value: fn(&Latency) -> f64,
}

/// The drawing. Loads without an answer have no point.
#[must_use]
pub fn svg(steps: &[Step]) -> String {
    let points: Vec<_> =
        steps.iter().filter_map(|step| Some((amount(step.load), step.statistics.latency_ms?))).collect();
    let most = |values: &mut dyn Iterator<Item = f64>| values.fold(f64::MIN_POSITIVE, f64::max);
    let most_load = most(&mut steps.iter().map(|step| amount(step.load)));
    let most_milliseconds = most(&mut points.iter().map(|(_, latency)| latency.p99));
    let axes = Axes::new(FRAME, 0.0..=most_load, 0.0..=most_milliseconds);
    let mut drawing = Drawing::new(WIDTH, HEIGHT);
    axes.grid(&mut drawing, |milliseconds| format!("{milliseconds:.1} ms"));
    loads(&mut drawing, &axes, steps);
    for line in &LINES {
        percentile(&mut drawing, &axes, &points, line);
    }
    drawing.into_svg()
}

/// Callers, or calls a second.
fn amount(load: Load) -> f64 {
    match load {
        Load::Callers(callers) => callers.get() as f64,
        Load::Rate(rate) => rate,
    }
}

/// A percentile's line, with its name at its end.
fn percentile(drawing: &mut Drawing, axes: &Axes, points: &[(f64, Latency)], line: &Line) {
    let Line { name, colour, value } = line;
    let points: Vec<_> = points.iter().map(|(load, latency)| (*load, value(latency))).collect();
    let places = axes.places(&points);
    drawing.polyline(name, &places, colour);
    let (x, y) = places.last().copied().unwrap_or((FRAME.right, FRAME.bottom));
    drawing.text((x + 6.0, y + 4.0), Anchor::Start, colour, name);
}

/// Each load, and what was answered, below its points.
fn loads(drawing: &mut Drawing, axes: &Axes, steps: &[Step]) {
    for step in steps {
        let (load, answered) = (amount(step.load), step.statistics.answered_per_second);
        let x = axes.x(load);
        drawing.text((x, FRAME.bottom + 18.0), Anchor::Middle, BLACK, &load.to_string());
        drawing.text((x, FRAME.bottom + 34.0), Anchor::Middle, GREY, &format!("{answered:.0}/s"));
    }
    let unit = match steps.first().map(|step| step.load) {
        Some(Load::Rate(_)) => "calls a second, and those answered",
        _ => "callers, and answers a second",
    };
    let middle = f64::midpoint(FRAME.left, FRAME.right);
    drawing.text((middle, HEIGHT - 12.0), Anchor::Middle, BLACK, unit);
}

#[cfg(test)]
mod tests {
    use roxmltree::Document;

    use super::*;
    use crate::bench::statistics::{Errors, Statistics};

    fn step(rate: f64, p50: f64, p99: f64) -> Step {
        let latency = Latency { p50, p90: p99, p99, max: 10.0 * p99 };
        let statistics = Statistics {
            offered_per_second: rate,
            answered_per_second: rate,
            latency_ms: (p99 > 0.0).then_some(latency),
            errors: Errors::default(),
        };
        Step { load: Load::Rate(rate), statistics }
    }

    fn points<'a>(document: &'a Document, id: &str) -> &'a str {
        let line = document.descendants().find(|node| node.attribute("id") == Some(id));
        line.unwrap().attribute("points").unwrap()
    }

    #[test]
    fn points_are_where_load_and_latency_say() {
        let svg = svg(&[step(50.0, 5.0, 10.0), step(100.0, 10.0, 20.0)]);
        let document = Document::parse(&svg).unwrap();
        // From 70 to 650 across for 0 to 100 calls a second, from 350 up to 30 for 0 to 20 ms.
        assert_eq!(points(&document, "p50"), "360.0,270.0 650.0,190.0");
        assert_eq!(points(&document, "p99"), "360.0,190.0 650.0,30.0");
        let texts: Vec<_> = document.descendants().filter_map(|node| node.text()).collect();
        for text in ["20.0 ms", "0.0 ms", "50", "100", "100/s", "calls a second, and those answered"] {
            assert!(texts.contains(&text), "{text:?} in {texts:?}");
        }
    }

    #[test]
    fn a_load_without_an_answer_has_no_point() {
        let svg = svg(&[step(50.0, 5.0, 10.0), step(100.0, 0.0, 0.0)]);
        assert_eq!(points(&Document::parse(&svg).unwrap(), "p99"), "360.0,30.0");
        Document::parse(&super::svg(&[])).unwrap();
    }
}
