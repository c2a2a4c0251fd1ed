//! Draws a reliability diagram: share of right answers over confidence.

use crate::eval::Reliability;
use crate::svg::{Anchor, Axes, BLUE, Drawing, Frame, GREY};

const FRAME: Frame = Frame { left: 70.0, right: 450.0, top: 30.0, bottom: 410.0 };

/// The drawing. A bin's bar is as high as its share of right answers; on the dashed line, that is what was said.
pub(super) fn svg(reliability: &Reliability) -> String {
    let axes = Axes::new(FRAME, 0.0..=1.0, 0.0..=1.0);
    let mut drawing = Drawing::new(480.0, 470.0);
    axes.grid(&mut drawing, |value| format!("{value:.2}"));
    axes.values_below(&mut drawing, |value| format!("{value:.2}"));
    axes.titles(&mut drawing, "confidence", "share of right answers");
    for bin in &reliability.bins {
        let (left, right, top) = (axes.x(bin.from), axes.x(bin.to), axes.y(bin.accuracy));
        let title = format!(
            "{} rows of {:.2} to {:.2}: mean confidence {:.3}, right {:.3}",
            bin.rows, bin.from, bin.to, bin.confidence, bin.accuracy
        );
        drawing.rectangle((left + 1.0, top), (right - left - 2.0, FRAME.bottom - top), "#9dbbe0", &title);
        drawing.dot((axes.x(bin.confidence), top), BLUE);
    }
    drawing.dashes((FRAME.left, FRAME.bottom), (FRAME.right, FRAME.top), GREY);
    let ece = format!("expected calibration error {:.3}", reliability.ece);
    drawing.text((FRAME.left, FRAME.top - 12.0), Anchor::Start, GREY, &ece);
    drawing.into_svg()
}

#[cfg(test)]
mod tests {
    use roxmltree::Document;

    use super::*;

    #[test]
    fn a_bins_dot_is_where_it_is_right_and_what_it_says() {
        let svg = svg(&Reliability::of(&[(0.5, true), (0.5, false), (1.0, true)]));
        let document = Document::parse(&svg).unwrap();
        let dots: Vec<_> = document.descendants().filter(|node| node.has_tag_name("circle")).collect();
        let places: Vec<_> = dots.iter().map(|dot| (dot.attribute("cx"), dot.attribute("cy"))).collect();
        assert_eq!(places, [(Some("260.0"), Some("220.0")), (Some("450.0"), Some("30.0"))]);
        assert_eq!(document.descendants().filter(|node| node.has_tag_name("title")).count(), 2);
    }
}
