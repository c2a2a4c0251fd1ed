//! Draws a series as SVG: latency over time, and memory and open files of the watched processes below it.

use anyhow::Result;
use plotters::coord::Shift;
use plotters::prelude::*;

use super::series::{Row, Series};
use super::usage::{megabytes, over_time};
use crate::bench::plot::label;

/// Width of the drawing and height of each of its charts, in pixels.
const SIZE: (u32, u32) = (720, 240);

/// Room above the highest value, for the legend.
const HEADROOM: f64 = 1.6;

/// A load this long, in seconds, is drawn over minutes.
const LONG: f64 = 180.0;

/// The colours of the lines, in turn. They differ in print and for colour-blind readers.
const COLOURS: [RGBColor; 4] = [
    RGBColor(0x1b, 0x7f, 0x5c),
    RGBColor(0xb3, 0x26, 0x1e),
    RGBColor(0x2f, 0x5d, 0xa8),
    RGBColor(0xc7, 0x77, 0x00),
];

/// A figure over time.
struct Chart {
    name: &'static str,
    lines: Vec<Line>,
}

/// Values, each after its time in seconds.
struct Line {
    name: String,
    points: Vec<(f64, f64)>,
}

/// The drawing.
///
/// # Errors
/// If the drawing library fails.
pub fn svg(series: &Series) -> Result<String> {
    let charts = charts(series.rows(), &series.names().collect::<Vec<_>>());
    let end = series.rows().last().map_or(0.0, |row| row.seconds);
    let mut svg = String::new();
    {
        let size = (SIZE.0, SIZE.1 * charts.len() as u32);
        let root = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        root.fill(&WHITE)?;
        for (area, chart) in root.split_evenly((charts.len(), 1)).iter().zip(&charts) {
            draw(area, chart, end)?;
        }
        root.present()?;
    }
    Ok(svg)
}

fn charts(rows: &[Row], processes: &[&str]) -> Vec<Chart> {
    let latency = |name: &str, figure: fn(&Row) -> Option<f64>| Line {
        name: name.to_owned(),
        points: rows.iter().filter_map(|row| Some((row.seconds, figure(row)?))).collect(),
    };
    let lines = [
        latency("p50", |row| row.latency.p50),
        latency("p99", |row| row.latency.p99),
        latency("first event, p50", |row| row.first_event.p50),
        latency("first event, p99", |row| row.first_event.p99),
    ];
    let lines = lines.into_iter().filter(|line| !line.points.is_empty()).collect();
    let mut charts = vec![Chart { name: "latency in ms", lines }];
    if !processes.is_empty() {
        let of_processes = |figure: fn(&crate::bench::process::Usage) -> f64| {
            let line = |(index, name): (usize, &&str)| Line {
                name: (*name).to_owned(),
                points: over_time(rows, index, figure),
            };
            processes.iter().enumerate().map(line).collect()
        };
        charts.push(Chart { name: "memory in MB", lines: of_processes(megabytes) });
        charts.push(Chart { name: "open files", lines: of_processes(|usage| usage.open_files as f64) });
    }
    charts
}

fn draw(area: &DrawingArea<SVGBackend<'_>, Shift>, chart: &Chart, end: f64) -> Result<()> {
    let (unit, seconds) = if end < LONG { ("seconds", 1.0) } else { ("minutes", 60.0) };
    let values = chart.lines.iter().flat_map(|line| &line.points).map(|(_, value)| *value);
    let most = values.fold(f64::MIN_POSITIVE, f64::max);
    let mut context = ChartBuilder::on(area)
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(60)
        .build_cartesian_2d(0.0..(end / seconds).max(f64::MIN_POSITIVE), 0.0..most * HEADROOM)?;
    context
        .configure_mesh()
        .disable_x_mesh()
        .max_light_lines(1)
        .y_labels(6)
        .x_desc(unit)
        .y_desc(chart.name)
        .x_label_formatter(&|time| label(*time))
        .y_label_formatter(&|value| label(*value))
        .draw()?;
    for (line, colour) in chart.lines.iter().zip(COLOURS.iter().cycle()) {
        let points = line.points.iter().map(|(time, value)| (time / seconds, *value));
        context
            .draw_series(LineSeries::new(points, colour.stroke_width(2)))?
            .label(&line.name)
            .legend(|(x, y)| PathElement::new([(x, y), (x + 18, y)], *colour));
    }
    context
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE)
        .draw()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::series::Quantiles;
    use super::*;
    use crate::bench::process::Usage;

    fn row(seconds: f64, p99: Option<f64>, memory: u64) -> Row {
        let usage = Usage { resident_bytes: memory, open_files: 9, threads: 1, cpu_seconds: 0.0 };
        let (latency, first_event) = (Quantiles { p50: p99, p99 }, Quantiles::default());
        Row { seconds, served_per_second: 1.0, latency, first_event, failed: 0, usage: vec![Some(usage)] }
    }

    #[test]
    fn a_load_with_processes_has_a_chart_for_each_figure() {
        let rows = [row(0.0, None, 5_000_000), row(10.0, Some(2.0), 7_000_000)];
        let charts = charts(&rows, &["envoy"]);
        let names: Vec<_> = charts.iter().map(|chart| chart.name).collect();
        assert_eq!(names, ["latency in ms", "memory in MB", "open files"]);
        // Before the load there is memory, but no latency. There are no streams.
        let lines: Vec<_> = charts[0].lines.iter().map(|line| line.name.as_str()).collect();
        assert_eq!(lines, ["p50", "p99"]);
        assert_eq!(charts[0].lines[1].points, [(10.0, 2.0)]);
        assert_eq!(charts[1].lines[0].points, [(0.0, 5.0), (10.0, 7.0)]);
    }

    #[test]
    fn the_drawing_names_what_it_shows() {
        let this = format!("this={}", std::process::id()).parse().unwrap();
        let processes = vec![crate::bench::process::Process::open(&this).unwrap()];
        let mut series = Series::begin(std::time::Duration::from_secs(1), processes, None).unwrap();
        series.end_interval().unwrap();
        series.end_interval().unwrap();
        let svg = svg(&series).unwrap();
        for text in ["this", "latency in ms", "memory in MB", "open files", "seconds"] {
            assert!(svg.contains(text), "no {text} in {svg}");
        }
    }

    #[test]
    fn a_series_without_rows_can_be_drawn() {
        let series = Series::begin(std::time::Duration::from_secs(1), Vec::new(), None).unwrap();
        assert!(svg(&series).unwrap().contains("latency in ms"));
    }
}
