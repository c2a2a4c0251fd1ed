//! From numbers to places.

use std::ops::RangeInclusive;

use super::{Anchor, BLACK, Drawing, PALE};

/// Lines across, above the axis.
const GRID: u32 = 4;

/// The axes' corners.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frame {
    pub(crate) left: f64,
    pub(crate) right: f64,
    pub(crate) top: f64,
    pub(crate) bottom: f64,
}

/// Where numbers lie in a frame.
pub(crate) struct Axes {
    frame: Frame,
    x: RangeInclusive<f64>,
    y: RangeInclusive<f64>,
}

impl Axes {
    /// The ranges' ends are at the frame's.
    pub(crate) fn new(frame: Frame, x: RangeInclusive<f64>, y: RangeInclusive<f64>) -> Self {
        Self { frame, x, y }
    }

    /// To the right.
    pub(crate) fn x(&self, value: f64) -> f64 {
        let Frame { left, right, .. } = self.frame;
        left + (right - left) * share(&self.x, value)
    }

    /// Down.
    pub(crate) fn y(&self, value: f64) -> f64 {
        let Frame { top, bottom, .. } = self.frame;
        bottom - (bottom - top) * share(&self.y, value)
    }

    /// Lines across with their values.
    pub(crate) fn grid(&self, drawing: &mut Drawing, name: impl Fn(f64) -> String) {
        let Frame { left, right, .. } = self.frame;
        for value in steps(&self.y) {
            let y = self.y(value);
            drawing.line((left, y), (right, y), PALE);
            drawing.text((left - 6.0, y + 4.0), Anchor::End, BLACK, &name(value));
        }
    }

    /// Values below.
    pub(crate) fn values_below(&self, drawing: &mut Drawing, name: impl Fn(f64) -> String) {
        for value in steps(&self.x) {
            let place = (self.x(value), self.frame.bottom + 18.0);
            drawing.text(place, Anchor::Middle, BLACK, &name(value));
        }
    }

    /// What the axes are.
    pub(crate) fn titles(&self, drawing: &mut Drawing, x: &str, y: &str) {
        let Frame { left, right, top, bottom } = self.frame;
        drawing.text((f64::midpoint(left, right), bottom + 42.0), Anchor::Middle, BLACK, x);
        drawing.upward_text((left - 52.0, f64::midpoint(top, bottom)), y);
    }
}

fn share(range: &RangeInclusive<f64>, value: f64) -> f64 {
    let length = range.end() - range.start();
    // All values are at one place if they are all the same.
    if length > 0.0 { (value - range.start()) / length } else { 0.0 }
}

fn steps(range: &RangeInclusive<f64>) -> impl Iterator<Item = f64> {
    let (start, length) = (*range.start(), range.end() - range.start());
    (0..=GRID).map(move |step| start + length * f64::from(step) / f64::from(GRID))
}
