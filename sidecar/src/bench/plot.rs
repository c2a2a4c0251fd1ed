//! Draws latency over load, as SVG: a line for each percentile, and what was answered below each load.

use super::load::Load;
use super::report::Step;
use super::statistics::Latency;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 420.0;
/// The axes' corner and their ends.
const LEFT: f64 = 70.0;
const RIGHT: f64 = WIDTH - 70.0;
const TOP: f64 = 30.0;
const BOTTOM: f64 = HEIGHT - 70.0;

/// Lines across, above the axis.
const GRID: u32 = 4;

/// What is drawn.
const LINES: [Line; 3] = [
    Line { name: "p50", colour: "#1b7f5c", value: |latency| latency.p50 },
    Line { name: "p90", colour: "#c77700", value: |latency| latency.p90 },
    Line { name: "p99", colour: "#b3261e", value: |latency| latency.p99 },
];

/// A percentile.
struct Line {
    name: &'static str,
    colour: &'static str,
    value: fn(&Latency) -> f64,
}

/// A figure's place, from a load and milliseconds.
struct Scale {
    most_load: f64,
    most_milliseconds: f64,
}

/// The drawing. Loads without an answer have no point.
#[must_use]
pub fn svg(steps: &[Step]) -> String {
    let points: Vec<_> =
        steps.iter().filter_map(|step| Some((amount(step.load), step.statistics.latency_ms?))).collect();
    let most = |values: &mut dyn Iterator<Item = f64>| values.fold(f64::MIN_POSITIVE, f64::max);
    let scale = Scale {
        most_load: most(&mut steps.iter().map(|step| amount(step.load))),
        most_milliseconds: most(&mut points.iter().map(|(_, latency)| latency.p99)),
    };
    let lines: String = LINES.iter().map(|line| polyline(&scale, &points, line)).collect();
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n{}{}{lines}</svg>\n",
        grid(&scale),
        loads(&scale, steps),
    )
}

/// Callers, or calls a second.
fn amount(load: Load) -> f64 {
    match load {
        Load::Callers(callers) => callers.get() as f64,
        Load::Rate(rate) => rate,
    }
}

impl Scale {
    fn x(&self, load: f64) -> f64 {
        LEFT + (RIGHT - LEFT) * load / self.most_load
    }

    fn y(&self, milliseconds: f64) -> f64 {
        BOTTOM - (BOTTOM - TOP) * milliseconds / self.most_milliseconds
    }
}

/// A percentile's line, with its name at its end.
fn polyline(scale: &Scale, points: &[(f64, Latency)], line: &Line) -> String {
    let Line { name, colour, value } = line;
    let places: Vec<_> =
        points.iter().map(|(load, latency)| (scale.x(*load), scale.y(value(latency)))).collect();
    let list: Vec<_> = places.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    let (x, y) = places.last().copied().unwrap_or((RIGHT, BOTTOM));
    format!(
        "<polyline id=\"{name}\" points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>\n\
         <text x=\"{:.1}\" y=\"{:.1}\" fill=\"{colour}\">{name}</text>\n",
        list.join(" "),
        x + 6.0,
        y + 4.0,
    )
}

/// Lines across with their milliseconds.
fn grid(scale: &Scale) -> String {
    let line = |number: u32| {
        let milliseconds = scale.most_milliseconds * f64::from(number) / f64::from(GRID);
        let y = scale.y(milliseconds);
        format!(
            "<line x1=\"{LEFT}\" y1=\"{y:.1}\" x2=\"{RIGHT}\" y2=\"{y:.1}\" stroke=\"#ccc\"/>\n\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{milliseconds:.1} ms</text>\n",
            LEFT - 6.0,
            y + 4.0,
        )
    };
    (0..=GRID).map(line).collect()
}

/// Each load, and what was answered, below its points.
fn loads(scale: &Scale, steps: &[Step]) -> String {
    let unit = match steps.first().map(|step| step.load) {
        Some(Load::Rate(_)) => "calls a second, and those answered",
        _ => "callers, and answers a second",
    };
    let label = |step: &Step| {
        let load = amount(step.load);
        let (x, answered) = (scale.x(load), step.statistics.answered_per_second);
        let (first, second) = (BOTTOM + 18.0, BOTTOM + 34.0);
        format!(
            "<text x=\"{x:.1}\" y=\"{first}\" text-anchor=\"middle\">{load}</text>\n\
             <text x=\"{x:.1}\" y=\"{second}\" text-anchor=\"middle\" fill=\"#666\">{answered:.0}/s</text>\n"
        )
    };
    let labels: String = steps.iter().map(label).collect();
    let (middle, bottom) = ((LEFT + RIGHT) / 2.0, HEIGHT - 12.0);
    format!("{labels}<text x=\"{middle}\" y=\"{bottom}\" text-anchor=\"middle\">{unit}</text>\n")
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
