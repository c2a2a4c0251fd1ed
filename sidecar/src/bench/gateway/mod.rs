//! Measures a gateway from the outside, by chat completions over HTTP as clients send them.
//!
//! [`load`] sends [`chats`] to an [`endpoint`] and, on request, to the LLM itself: the difference is what the
//! gateway adds. Each [`exchange`] becomes a [`sample`], which the [`recording`] keeps. The results of a
//! [`step`], [`figures`] and what is [`added`], are computed from the samples and written as a [`report`]. A
//! [`series`] has the same over time, with what the watched processes use, and is drawn as a [`plot`].
//! [`check`] sends the first request, so that a wrong URL is an error and not a measurement.

pub mod added;
pub mod chats;
pub mod check;
pub mod endpoint;
pub mod event_stream;
pub mod exchange;
pub mod failure;
pub mod figures;
pub mod load;
pub mod plot;
pub mod recording;
pub mod report;
pub mod sample;
pub mod series;
pub mod setup;
pub mod step;
pub mod usage;
