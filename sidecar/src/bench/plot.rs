//! Draws latency over load, as SVG: one line per percentile.

use anyhow::Result;
use plotters::prelude::*;

use super::load::Load;
use super::statistics::Latency;

/// Width and height in pixels.
const SIZE: (u32, u32) = (720, 420);

/// Radius of a measured point in pixels. A single load has no line, only points.
const POINT_SIZE: u32 = 3;

/// The percentiles drawn. The colours differ in print and for colour-blind readers.
const LINES: [Line; 3] = [
    Line { name: "p50", colour: RGBColor(0x1b, 0x7f, 0x5c), value: |latency| latency.p50 },
    Line { name: "p90", colour: RGBColor(0xc7, 0x77, 0x00), value: |latency| latency.p90 },
    Line { name: "p99", colour: RGBColor(0xb3, 0x26, 0x1e), value: |latency| latency.p99 },
];

/// A percentile.
struct Line {
    name: &'static str,
    colour: RGBColor,
    value: fn(&Latency) -> f64,
}

/// The drawing of each load's latency. A load without a response has no point.
///
/// # Errors
/// If the drawing library fails.
pub fn svg(steps: &[(Load, Option<Latency>)]) -> Result<String> {
    let points: Vec<_> =
        steps.iter().filter_map(|(load, latency)| Some((amount(*load), (*latency)?))).collect();
    let most = |values: &mut dyn Iterator<Item = f64>| values.fold(f64::MIN_POSITIVE, f64::max);
    let most_load = most(&mut steps.iter().map(|(load, _)| amount(*load)));
    let most_milliseconds = most(&mut points.iter().map(|(_, latency)| latency.p99));
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        root.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&root)
            .margin(16)
            .x_label_area_size(44)
            .y_label_area_size(60)
            .build_cartesian_2d(0.0..most_load * 1.02, 0.0..most_milliseconds * 1.05)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .max_light_lines(1)
            .x_desc(unit(steps))
            .y_desc("latency in ms")
            .x_label_formatter(&|load| label(*load))
            .y_label_formatter(&|milliseconds| label(*milliseconds))
            .draw()?;
        for Line { name, colour, value } in &LINES {
            let line: Vec<_> = points.iter().map(|(load, latency)| (*load, value(latency))).collect();
            chart
                .draw_series(LineSeries::new(line, colour.filled().stroke_width(2)).point_size(POINT_SIZE))?
                .label(*name)
                .legend(|(x, y)| PathElement::new([(x, y), (x + 18, y)], *colour));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .background_style(WHITE)
            .draw()?;
        root.present()?;
    }
    Ok(svg)
}

/// A number with at most two decimals, so that small ones differ.
pub(super) fn label(value: f64) -> String {
    ((value * 100.0).round() / 100.0).to_string()
}

/// Callers, or calls per second.
fn amount(load: Load) -> f64 {
    match load {
        Load::Callers(callers) => callers.get() as f64,
        Load::Rate(rate) => rate,
    }
}

fn unit(steps: &[(Load, Option<Latency>)]) -> &'static str {
    match steps.first() {
        Some((Load::Rate(_), _)) => "calls per second",
        _ => "callers",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(rate: f64, p50: f64, p99: f64) -> (Load, Option<Latency>) {
        let latency = Latency { p50, p90: p99, p99, max: 10.0 * p99 };
        (Load::Rate(rate), (p99 > 0.0).then_some(latency))
    }

    /// The points of the lines, in the order in which they are drawn.
    fn lines(svg: &str) -> Vec<Vec<(f64, f64)>> {
        let elements = svg.split("<polyline ").skip(1).filter_map(|it| it.split("/>").next());
        let polylines = elements.filter(|it| it.contains("stroke-width=\"2\""));
        let points = polylines.map(|it| it.split("points=\"").nth(1).unwrap().split('"').next().unwrap());
        let pair = |point: &str| {
            let (x, y) = point.split_once(',').unwrap();
            (x.parse().unwrap(), y.parse().unwrap())
        };
        points.map(|points| points.split_whitespace().map(pair).collect()).collect()
    }

    #[test]
    fn each_percentile_has_a_line_that_rises_with_its_latency() {
        let svg = svg(&[step(50.0, 5.0, 10.0), step(100.0, 10.0, 20.0)]).unwrap();
        let lines = lines(&svg);
        let [p50, _, p99] = lines.as_slice() else { panic!("{svg}") };
        assert_eq!((p50.len(), p99.len()), (2, 2));
        // Up is a smaller y: the latency at twice the load is twice as high, and p99 is above p50.
        assert!(p50[1].0 > p50[0].0 && p50[1].1 < p50[0].1, "{p50:?}");
        assert!(p99.iter().zip(p50).all(|(p99, p50)| p99.1 < p50.1), "{lines:?}");
        for text in ["p50", "p90", "p99", "calls per second", "latency in ms"] {
            assert!(svg.contains(text), "no {text} in {svg}");
        }
    }

    #[test]
    fn labels_have_the_decimals_that_they_need() {
        assert_eq!([0.0, 0.2 + 0.1, 0.25, 50.0, 1200.0].map(label), ["0", "0.3", "0.25", "50", "1200"]);
    }

    #[test]
    fn a_load_without_a_response_has_no_point() {
        let svg = svg(&[step(50.0, 5.0, 10.0), step(100.0, 0.0, 0.0)]).unwrap();
        assert!(lines(&svg).iter().all(|line| line.len() <= 1), "{svg}");
        super::svg(&[]).unwrap();
    }
}
