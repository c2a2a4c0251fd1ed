//! The rows to grade. All are checked before the first request.

mod answer;
mod messages;
mod row;
mod rows;

pub(crate) use messages::text as message_text;
pub(crate) use row::{Check, GradingRow};
pub(crate) use rows::{GradingRows, Methods};
