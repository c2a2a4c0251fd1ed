//! The sections of a report: one for each kind of head and of measurement.

mod by_group;
mod detection;
mod few_shot;
mod multi_label;
mod score;
mod single_label;
mod table;
mod win_rate;

pub use by_group::{ByGroup, Group};
pub use detection::{Detection, GroupDetection};
pub use few_shot::FewShot;
pub use multi_label::MultiLabel;
pub use score::Score;
pub use single_label::SingleLabel;
pub(crate) use win_rate::{
    KEPT_FRACTIONS, REVERSED, by_length, grades, length, mean_grades, need, ranks_in_reverse, routing_score,
    rows as win_rate_rows, selection,
};
pub use win_rate::{KeptQuality, Prices, WinRate, WinRateSettings};
