//! What is measured of each kind of head.

mod detection;
mod examples;
mod multi_label;
mod score;
mod single_label;
mod table;
mod win_rate;

pub use detection::Detection;
pub use examples::Examples;
pub use multi_label::MultiLabel;
pub use score::Score;
pub use single_label::SingleLabel;
pub use win_rate::{Keeps, Prices, WinRate, WinRateSettings};
pub(crate) use win_rate::{routing_score, rows as win_rate_rows};
