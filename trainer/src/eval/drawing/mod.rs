//! The drawings of a report, as SVG.

mod confusion;
mod cost_quality;
mod reliability;
mod style;

pub(super) use confusion::svg as confusion;
pub(crate) use cost_quality::CostQuality;
pub(super) use cost_quality::svg as cost_quality;
pub(super) use reliability::svg as reliability;
