//! What is measured of each kind of head.

mod detection;
mod examples;
mod multi_label;
mod score;
mod single_label;
mod win_rate;

pub use detection::Detection;
pub use examples::Examples;
pub use multi_label::MultiLabel;
pub use score::Score;
pub use single_label::SingleLabel;
pub use win_rate::{Keeps, Prices, WinRate, WinRateSettings};
pub(crate) use win_rate::{routing_score, rows as win_rate_rows};

/// A number that may be undefined, for a table.
fn or_dash(number: Option<f64>) -> String {
    number.map_or_else(|| "-".to_owned(), |number| format!("{number:.3}"))
}

/// The width of the longest of some names, for a table.
fn width<'a>(names: impl Iterator<Item = &'a str>) -> usize {
    names.map(|name| name.chars().count()).max().unwrap_or(0).max(5)
}
