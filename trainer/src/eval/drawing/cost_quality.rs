//! Draws the quality of routing between two models over its cost.

use anyhow::Result;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::style::{FONT, GREEN, GREY, ORANGE};
use crate::eval::tradeoff::ThresholdPoint;
use crate::eval::{KeptQuality, WinRate};

/// Width and height in pixels.
const SIZE: (u32, u32) = (720, 440);
/// The fraction of the strong model's quality whose cost is marked.
const MARKED: f64 = 0.95;

/// Draws the head's curve, that of routing by prompt length, and the straight line of random routing.
///
/// # Errors
/// If the drawing library fails.
pub(in crate::eval) fn svg(win_rate: &WinRate) -> Result<String> {
    let (head, length) = (&win_rate.tradeoff, &win_rate.tradeoff_by_length);
    let all = || head.iter().chain(length);
    let most_cost = all().map(|point| point.cost).fold(f64::MIN_POSITIVE, f64::max);
    let (least, most) = all()
        .map(|point| point.quality)
        .fold((f64::MAX, f64::MIN), |(a, b), quality| (a.min(quality), b.max(quality)));
    let margin = 0.04 * (most - least).max(1e-6);
    let place = |point: &ThresholdPoint| (100.0 * point.cost / most_cost, point.quality);
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        root.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&root)
            .margin(16)
            .x_label_area_size(44)
            .y_label_area_size(64)
            .build_cartesian_2d(0.0..102.0, least - margin..most + margin)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .light_line_style(TRANSPARENT)
            .label_style(FONT)
            .axis_desc_style(FONT)
            .x_desc("cost, in % of strong calls alone")
            .y_desc("mean grade")
            .x_label_formatter(&|percent| format!("{percent:.0}"))
            .y_label_formatter(&|quality| format!("{quality:.3}"))
            .draw()?;
        if let (Some(first), Some(last)) = (length.first(), length.last()) {
            chart
                .draw_series(DashedLineSeries::new([place(first), place(last)], 5, 4, GREY.into()))?
                .label("random")
                .legend(|(x, y)| PathElement::new([(x, y), (x + 18, y)], GREY));
        }
        for (name, colour, points) in [("prompt length", ORANGE, length), ("this head", GREEN, head)] {
            chart
                .draw_series(LineSeries::new(points.iter().map(place), colour.stroke_width(2)))?
                .label(name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
        }
        if let Some(KeptQuality { part, point, cost_part }) =
            win_rate.keeps.iter().find(|kept| kept.part == MARKED)
        {
            let text = format!("{:.0} % of quality at {:.0} % of cost", 100.0 * part, 100.0 * cost_part);
            // Above the curve, or where there is no room, below.
            let (cost, quality) = place(point);
            let (anchor, offset) = match cost > 35.0 {
                true => (Pos::new(HPos::Right, VPos::Bottom), (-8, -2)),
                false => (Pos::new(HPos::Left, VPos::Top), (8, 6)),
            };
            let style = FONT.into_font().into_text_style(&root).pos(anchor);
            let dot = EmptyElement::at((cost, quality)) + Circle::new((0, 0), 4, BLACK.filled());
            let mark = dot + Text::new(text, offset, style);
            chart.draw_series([mark])?;
        }
        chart
            .configure_series_labels()
            .label_font(FONT)
            .background_style(WHITE)
            .position(SeriesLabelPosition::LowerRight)
            .draw()?;
        root.present()?;
    }
    Ok(svg)
}
