//! Measures a classifier under load: latency, throughput, and errors once it is overloaded.
//!
//! The load generator ([`load`]) sends [`prompts`] to a [`target`], from callers that wait for their predictions or on a
//! [`schedule`] of arrivals. The [`statistics`] of the calls are written as a [`report`] and drawn as a [`plot`].
//!
//! [`gateway`] measures a whole gateway instead, from its clients' side, and beside it what each [`process`] uses over time.

pub mod gateway;
pub mod load;
pub mod memory;
pub mod plot;
pub mod process;
pub mod prompts;
pub mod report;
pub mod schedule;
pub mod statistics;
pub mod target;
pub mod trend;
