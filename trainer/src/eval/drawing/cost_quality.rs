//! Draws the quality of routing between two models over its cost.

use anyhow::Result;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::style::{FONT, GREEN, GREY, ORANGE, PALE_GREEN};
use crate::eval::tradeoff::ThresholdPoint;
use crate::eval::{KeptQuality, WinRate};

/// Width and height in pixels.
const SIZE: (u32, u32) = (720, 440);
/// The fraction of the strong model's quality whose cost is marked.
const MARKED: f64 = 0.95;

/// A drawing of quality over cost.
pub(crate) struct CostQuality<'a> {
    /// What the cost is, with its unit.
    pub(crate) cost: &'a str,
    /// Digits behind the point of costs.
    pub(crate) digits: usize,
    /// The factor from the costs of points to those that are drawn.
    pub(crate) factor: f64,
    /// The head's curve.
    pub(crate) head: &'a [ThresholdPoint],
    /// The curve of routing by prompt length.
    pub(crate) length: &'a [ThresholdPoint],
    /// The interval of the head's quality: costs of points, and the lower and upper ends.
    pub(crate) band: Vec<(f64, f64, f64)>,
    /// Points with labels: costs of points, and qualities.
    pub(crate) marks: Vec<(f64, f64, String)>,
}

/// Draws the head's curve, that of routing by prompt length, and the straight line of random routing.
///
/// # Errors
/// If the drawing library fails.
pub(in crate::eval) fn svg(win_rate: &WinRate) -> Result<String> {
    let (head, length) = (&win_rate.tradeoff, &win_rate.tradeoff_by_length);
    let most_cost = head.iter().chain(length).map(|point| point.cost).fold(f64::MIN_POSITIVE, f64::max);
    let marked = win_rate.keeps.iter().filter(|kept| kept.part == MARKED);
    let mark = |KeptQuality { part, point, cost_part }: &KeptQuality| {
        let label = format!("{:.0} % of quality at {:.0} % of cost", 100.0 * part, 100.0 * cost_part);
        (point.cost, point.quality, label)
    };
    CostQuality {
        cost: "cost, in % of strong calls alone",
        digits: 0,
        factor: 100.0 / most_cost,
        head,
        length,
        band: Vec::new(),
        marks: marked.map(mark).collect(),
    }
    .svg()
}

impl CostQuality<'_> {
    /// Draws it.
    ///
    /// # Errors
    /// If the drawing library fails.
    pub(crate) fn svg(&self) -> Result<String> {
        let curves =
            self.head.iter().chain(self.length).map(|point| (point.cost, point.quality, point.quality));
        let marks = self.marks.iter().map(|(cost, quality, _)| (*cost, *quality, *quality));
        let all: Vec<_> = curves.chain(self.band.iter().copied()).chain(marks).collect();
        let right = all.iter().map(|(cost, ..)| cost * self.factor).fold(f64::MIN_POSITIVE, f64::max);
        let (least, most) =
            all.iter().fold((f64::MAX, f64::MIN), |(a, b), (_, low, high)| (a.min(*low), b.max(*high)));
        let margin = 0.04 * (most - least).max(1e-6);
        let place = |point: &ThresholdPoint| (point.cost * self.factor, point.quality);
        let mut svg = String::new();
        {
            let root = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
            root.fill(&WHITE)?;
            let mut chart = ChartBuilder::on(&root)
                .margin(16)
                .x_label_area_size(44)
                .y_label_area_size(64)
                .build_cartesian_2d(0.0..1.02 * right, least - margin..most + margin)?;
            chart
                .configure_mesh()
                .disable_x_mesh()
                .light_line_style(TRANSPARENT)
                .label_style(FONT)
                .axis_desc_style(FONT)
                .x_desc(self.cost)
                .y_desc("mean grade")
                .x_label_formatter(&|cost| format!("{cost:.0$}", self.digits))
                .y_label_formatter(&|quality| format!("{quality:.3}"))
                .draw()?;
            if !self.band.is_empty() {
                let low = self.band.iter().map(|(cost, low, _)| (cost * self.factor, *low));
                let high = self.band.iter().rev().map(|(cost, _, high)| (cost * self.factor, *high));
                chart
                    .draw_series([Polygon::new(low.chain(high).collect::<Vec<_>>(), PALE_GREEN)])?
                    .label("95 % interval")
                    .legend(|(x, y)| Rectangle::new([(x, y - 4), (x + 18, y + 4)], PALE_GREEN.filled()));
            }
            if let (Some(first), Some(last)) = (self.length.first(), self.length.last()) {
                chart
                    .draw_series(DashedLineSeries::new([place(first), place(last)], 5, 4, GREY.into()))?
                    .label("random")
                    .legend(|(x, y)| PathElement::new([(x, y), (x + 18, y)], GREY));
            }
            for (name, colour, points) in
                [("prompt length", ORANGE, self.length), ("this head", GREEN, self.head)]
            {
                chart
                    .draw_series(LineSeries::new(points.iter().map(place), colour.stroke_width(2)))?
                    .label(name)
                    .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
            }
            for (cost, quality, label) in &self.marks {
                let at = (cost * self.factor, *quality);
                // Above the curve, or where there is no room, below.
                let (anchor, offset) = match at.0 > 0.35 * right {
                    true => (Pos::new(HPos::Right, VPos::Bottom), (-8, -2)),
                    false => (Pos::new(HPos::Left, VPos::Top), (8, 6)),
                };
                let style = FONT.into_font().into_text_style(&root).pos(anchor);
                let dot = EmptyElement::at(at) + Circle::new((0, 0), 4, BLACK.filled());
                chart.draw_series([dot + Text::new(label.clone(), offset, style)])?;
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
}
