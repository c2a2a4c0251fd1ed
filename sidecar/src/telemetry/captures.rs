//! Counts captured prompts, and shows whether prompts are captured.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// The outcome for a prompt that was selected for capture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Captured {
    /// It was written to a file.
    Written,
    /// Too many prompts waited to be written.
    Dropped,
    /// Writing failed.
    Failed,
    /// It is longer than the limit for captured prompts.
    TooLong,
}

impl Captured {
    const ALL: [Self; 4] = [Self::Written, Self::Dropped, Self::Failed, Self::TooLong];

    fn label(self) -> [(&'static str, &'static str); 1] {
        let name = match self {
            Self::Written => "written",
            Self::Dropped => "dropped",
            Self::Failed => "failed",
            Self::TooLong => "too_long",
        };
        [("outcome", name)]
    }
}

/// The metrics of captured prompts. Clones share the numbers.
#[derive(Debug, Clone)]
pub struct Captures {
    /// 1 if prompts are captured.
    pub enabled: Gauge,
    prompts: Family<[(&'static str, &'static str); 1], Counter>,
}

impl Default for Captures {
    /// All numbers are zero.
    fn default() -> Self {
        let captures = Self { enabled: Gauge::default(), prompts: Family::default() };
        for outcome in Captured::ALL {
            drop(captures.prompts.get_or_create(&outcome.label()));
        }
        captures
    }
}

impl Captures {
    /// Counts a prompt. Returns how many had this outcome.
    pub fn count(&self, outcome: Captured) -> u64 {
        self.prompts.get_or_create(&outcome.label()).inc() + 1
    }

    /// How many prompts had this outcome.
    #[cfg(test)]
    pub(crate) fn counted(&self, outcome: Captured) -> u64 {
        self.prompts.get_or_create(&outcome.label()).get()
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("capture_enabled", "1 while prompts are captured in files", self.enabled.clone());
        registry.register("captured", "Prompts selected for capture, by outcome", self.prompts.clone());
    }
}
