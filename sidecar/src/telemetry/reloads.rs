//! Counts reloads.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

/// What can be reloaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reload {
    /// The routing policy.
    Policy,
    /// The model's folder.
    Model,
}

/// How a reload ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reloaded {
    /// The new one is in use.
    Applied,
    /// The new version is invalid; the previous one stays in use.
    Rejected,
}

/// Number of reloads by subject and outcome. Clones share the counts.
#[derive(Debug, Clone)]
pub struct Reloads(pub(super) Family<[(&'static str, &'static str); 2], Counter>);

impl Default for Reloads {
    /// All counts are zero.
    fn default() -> Self {
        let reloads = Self(Family::default());
        for what in [Reload::Policy, Reload::Model] {
            for outcome in [Reloaded::Applied, Reloaded::Rejected] {
                drop(reloads.0.get_or_create(&labels(what, outcome)));
            }
        }
        reloads
    }
}

impl Reloads {
    /// Counts a reload.
    pub fn count(&self, what: Reload, outcome: Reloaded) {
        self.0.get_or_create(&labels(what, outcome)).inc();
    }
}

fn labels(what: Reload, outcome: Reloaded) -> [(&'static str, &'static str); 2] {
    let what = match what {
        Reload::Policy => "policy",
        Reload::Model => "model",
    };
    let outcome = match outcome {
        Reloaded::Applied => "applied",
        Reloaded::Rejected => "rejected",
    };
    [("what", what), ("outcome", outcome)]
}
