//! Measures a classifier under load: how long prompts take, how many get through, and what happens beyond that.
//!
//! A [`target`] is loaded ([`load`]) with [`prompts`], by callers that wait for their answers or by arrivals on a
//! [`schedule`]. What is left of it are [`statistics`], written as a [`report`] and drawn as a [`plot`].

pub mod load;
pub mod memory;
pub mod plot;
pub mod prompts;
pub mod report;
pub mod schedule;
pub mod statistics;
pub mod target;
