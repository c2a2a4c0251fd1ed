//! One load and everything that is computed from its recording.

use serde::Serialize;

use super::added::Added;
use super::failure::Failure;
use super::figures::{Figures, Group};
use super::recording::Recording;
use super::sample::{Sample, Side};
use super::setup::Setup;
use crate::bench::load::Load;
use crate::bench::statistics::Window;

/// A load and its results.
#[derive(Debug, Clone, Serialize)]
pub struct Step {
    /// The load.
    #[serde(flatten)]
    pub load: Load,
    /// How long it was measured.
    pub seconds: f64,
    /// The requests through the gateway.
    pub gateway: Figures,
    /// The comparison with the same requests straight to the LLM, if they were sent.
    pub comparison: Option<Comparison>,
    /// The requests through the gateway by model.
    pub models: Vec<Group>,
    /// The requests through the gateway by the reason for the model.
    pub reasons: Vec<Group>,
    /// What happened in the first failure of each kind.
    pub failures: Vec<Example>,
}

/// The LLM itself beside the gateway.
#[derive(Debug, Clone, Serialize)]
pub struct Comparison {
    /// The requests to the LLM itself.
    pub direct: Figures,
    /// What the gateway adds to responses that are not streamed; none if there are none.
    pub added_ms: Option<Added>,
    /// What it adds until the last byte of a stream; none without streams.
    pub added_to_streams_ms: Option<Added>,
    /// What it adds until the first event of a stream; none without streams.
    pub added_to_first_event_ms: Option<Added>,
}

/// What happened in a failed request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Example {
    /// Where it went.
    pub side: Side,
    /// The kind.
    pub kind: Failure,
    /// What happened.
    pub detail: String,
}

impl Step {
    /// Computes the results of a load.
    #[must_use]
    pub fn compute(setup: &Setup, load: Load, window: Window, recording: &Recording) -> Self {
        let of = |side| -> Vec<&Sample> {
            recording.samples.iter().filter(|sample| sample.side == side).collect()
        };
        let gateway = of(Side::Gateway);
        let added = |figure: fn(&Sample) -> Option<f64>| {
            Some(Added::compute(&recording.samples, window, figure)).filter(|added| added.pairs > 0)
        };
        let compare = || Comparison {
            direct: Figures::compute(&of(Side::Direct), window),
            added_ms: added(|sample| sample.latency_ms().filter(|_| !sample.is_streamed)),
            added_to_streams_ms: added(|sample| sample.latency_ms().filter(|_| sample.is_streamed)),
            added_to_first_event_ms: added(Sample::first_event_ms),
        };
        let example = |(&(side, kind), detail): (&(Side, Failure), &String)| Example {
            side,
            kind,
            detail: detail.clone(),
        };
        Self {
            load,
            seconds: window.seconds(),
            comparison: setup.direct.is_some().then(compare),
            models: Group::compute(&gateway, window, |labels| labels.model.as_ref()),
            reasons: Group::compute(&gateway, window, |labels| labels.reason.as_ref()),
            failures: recording.examples.iter().map(example).collect(),
            gateway: Figures::compute(&gateway, window),
        }
    }

    /// All failed requests by side and kind.
    pub fn errors(&self) -> impl Iterator<Item = (Side, Failure, usize)> {
        let of = |side, figures: &Figures| -> Vec<_> {
            figures.errors.iter().map(|(&failure, &count)| (side, failure, count)).collect()
        };
        let direct = self.comparison.iter().flat_map(move |it| of(Side::Direct, &it.direct));
        of(Side::Gateway, &self.gateway).into_iter().chain(direct)
    }
}
