//! What all drawings share: fonts, and colours that differ in print and for colour-blind readers.

use plotters::style::RGBColor;

pub(super) const GREEN: RGBColor = RGBColor(0x1b, 0x7f, 0x5c);
/// The green of intervals, over which lines are drawn.
pub(super) const PALE_GREEN: RGBColor = RGBColor(0xd3, 0xe9, 0xe0);
pub(super) const ORANGE: RGBColor = RGBColor(0xc7, 0x77, 0x00);
pub(super) const RED: RGBColor = RGBColor(0xb3, 0x26, 0x1e);
pub(super) const BLUE: RGBColor = RGBColor(0x2b, 0x5f, 0xa8);
pub(super) const PALE_BLUE: RGBColor = RGBColor(0x9d, 0xbb, 0xe0);
pub(super) const GREY: RGBColor = RGBColor(0x66, 0x66, 0x66);

/// The font of labels and titles: its family and size.
pub(super) const FONT: (&str, u32) = ("sans-serif", 15);
