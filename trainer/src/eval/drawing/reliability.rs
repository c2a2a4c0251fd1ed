//! Draws a reliability diagram: the fraction of right predictions over their confidence.

use anyhow::Result;
use plotters::prelude::*;

use super::style::{BLUE, FONT, GREY, PALE_BLUE};
use crate::eval::Reliability;

/// Width and height in pixels.
const SIZE: (u32, u32) = (480, 500);

/// Draws the diagram. A bin's bar is as high as its fraction of right predictions, and its dot is at its mean confidence.
/// On the dashed line the two are the same.
///
/// # Errors
/// If the drawing library fails.
pub(in crate::eval) fn svg(reliability: &Reliability) -> Result<String> {
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        root.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&root)
            .margin(16)
            .caption(format!("expected calibration error {:.3}", reliability.ece), FONT)
            .x_label_area_size(44)
            .y_label_area_size(56)
            .build_cartesian_2d(0.0..1.0, 0.0..1.0)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .light_line_style(TRANSPARENT)
            .label_style(FONT)
            .axis_desc_style(FONT)
            .x_desc("confidence")
            .y_desc("fraction of right predictions")
            .x_label_formatter(&|confidence| format!("{confidence:.1}"))
            .y_label_formatter(&|fraction| format!("{fraction:.1}"))
            .draw()?;
        let bars = reliability.bins.iter().map(|bin| {
            let mut bar = Rectangle::new([(bin.from, 0.0), (bin.to, bin.accuracy)], PALE_BLUE.filled());
            bar.set_margin(0, 0, 1, 1);
            bar
        });
        chart.draw_series(bars)?;
        let dots =
            reliability.bins.iter().map(|bin| Circle::new((bin.confidence, bin.accuracy), 4, BLUE.filled()));
        chart.draw_series(dots)?;
        chart.draw_series(DashedLineSeries::new([(0.0, 0.0), (1.0, 1.0)], 5, 4, GREY.into()))?;
        root.present()?;
    }
    Ok(svg)
}

#[cfg(test)]
mod tests {
    use roxmltree::{Document, Node};

    use super::*;

    fn number(node: &Node, name: &str) -> f64 {
        node.attribute(name).unwrap().parse().unwrap()
    }

    #[test]
    fn a_bins_bar_and_dot_are_as_high_as_it_is_right() {
        let svg = svg(&Reliability::from_outcomes(&[(0.5, true), (0.5, false), (1.0, true)])).unwrap();
        let document = Document::parse(&svg).unwrap();
        let all = |name, fill| {
            let nodes = document.descendants().filter(move |node| node.has_tag_name(name));
            nodes.filter(|node| node.attribute("fill") == Some(fill)).collect::<Vec<_>>()
        };
        let (bars, dots) = (all("rect", "#9DBBE0"), all("circle", "#2B5FA8"));
        let ([half, one], [half_dot, one_dot]) = (&bars[..], &dots[..]) else { panic!("{svg}") };
        for (bar, dot) in [(half, half_dot), (one, one_dot)] {
            assert_eq!(number(bar, "y"), number(dot, "cy"));
        }
        let heights = [half, one].map(|bar| number(bar, "height"));
        assert!((heights[0] / heights[1] - 0.5).abs() < 0.01, "{heights:?}");
        // Confidences 0.5 and 1 are half of the width apart, which is as wide as 7.5 bars of 1/15, less their margins.
        let apart = number(one_dot, "cx") - number(half_dot, "cx");
        assert!((apart / (number(half, "width") + 2.0) - 7.5).abs() < 0.5, "{apart}");
        for text in ["expected calibration error 0.000", "confidence", "fraction of right predictions", "0.5"]
        {
            assert!(svg.contains(&format!(">\n{text}\n<")), "no {text} in {svg}");
        }
    }
}
