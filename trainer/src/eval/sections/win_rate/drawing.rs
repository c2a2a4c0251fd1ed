//! Draws quality over cost.

use super::{Keeps, WinRate};
use crate::eval::tradeoff::Point;
use crate::svg::{Anchor, Axes, BLACK, Drawing, Frame, GREEN, GREY, ORANGE};

const FRAME: Frame = Frame { left: 80.0, right: 620.0, top: 40.0, bottom: 350.0 };

/// The drawing: the head's curve, that of prompt length, and the straight line of random routing.
pub(super) fn svg(win_rate: &WinRate) -> String {
    let (router, length) = (&win_rate.tradeoff, &win_rate.tradeoff_by_length);
    let all = || router.iter().chain(length);
    let most_cost = all().map(|point| point.cost).fold(f64::MIN_POSITIVE, f64::max);
    let (least, most) = all()
        .map(|point| point.quality)
        .fold((f64::MAX, f64::MIN), |(a, b), quality| (a.min(quality), b.max(quality)));
    let axes = Axes::new(FRAME, 0.0..=100.0, least..=most);
    let place = |point: &Point| (axes.x(100.0 * point.cost / most_cost), axes.y(point.quality));
    let mut drawing = Drawing::new(720.0, 420.0);
    axes.grid(&mut drawing, |quality| format!("{quality:.3}"));
    axes.values_below(&mut drawing, |percent| format!("{percent:.0} %"));
    axes.titles(&mut drawing, "cost, as a part of strong calls alone", "mean grade");
    if let (Some(first), Some(last)) = (length.first(), length.last()) {
        drawing.dashes(place(first), place(last), GREY);
        let (from, to) = (place(first), place(last));
        let middle = (f64::midpoint(from.0, to.0) + 6.0, f64::midpoint(from.1, to.1) + 14.0);
        drawing.text(middle, Anchor::Start, GREY, "random");
    }
    for (name, colour, points) in [("prompt length", ORANGE, length), ("this head", GREEN, router)] {
        drawing.polyline(name, &points.iter().map(place).collect::<Vec<_>>(), colour);
    }
    drawing.text((FRAME.left, FRAME.top - 18.0), Anchor::Start, GREEN, "this head");
    drawing.text((FRAME.left + 80.0, FRAME.top - 18.0), Anchor::Start, ORANGE, "prompt length");
    if let Some(Keeps { part, point, cost_part }) = win_rate.keeps.iter().find(|keeps| keeps.part == 0.95) {
        let (x, y) = place(point);
        drawing.dot((x, y), BLACK);
        let text = format!("{:.0} % of quality at {:.0} % of cost", 100.0 * part, 100.0 * cost_part);
        let (anchor, x) = if x < 400.0 { (Anchor::Start, x + 8.0) } else { (Anchor::End, x - 8.0) };
        drawing.text((x, y + 18.0), anchor, BLACK, &text);
    }
    drawing.into_svg()
}
