//! Envoy stats of what the filter did. Label values come from the configuration, so their number is bounded; the
//! bootstraps' `stats_tags` turn them into real Prometheus labels.

mod counters;

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Duration;

use counters::Counters;

use llm_router_routing::classification::Classification;
use llm_router_routing::config::{Classifier, Model, Prices};
use llm_router_routing::decision::{Decision, Reason};
use llm_router_routing::rejection::Rejection;
use llm_router_routing::usage::Usage;
use proxy_wasm::types::MetricType;

use crate::host;
use crate::place::Place;

/// How often Envoy is told the counts. Prometheus asks less often.
pub(crate) const FLUSH_INTERVAL: Duration = Duration::from_secs(1);

/// The stats of one worker; Envoy adds the workers' up.
#[derive(Default)]
pub(crate) struct Stats {
    counters: Counters<Counter>,
    /// Envoy's numbers of the histograms that were used already. It wants each value by itself.
    histograms: RefCell<HashMap<Histogram, u32>>,
}

/// What tells a counter from the others, in place of its name.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Counter {
    Requests { policy: Option<Place>, model: Place, reason: Reason },
    Labels { policy: Place, label: Place },
    Refused { code: &'static str },
    FailedOver { model: Place },
    CacheHits,
    CacheMisses,
    Calls { classifier: Place, answered: bool },
    InputTokens { model: Place },
    OutputTokens { model: Place },
    Cost { model: Place },
    DearestCost { model: Place },
}

/// What tells a histogram from the others.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Histogram {
    CallDuration { classifier: Place },
    FirstToken { model: Place },
}

/// What stands for a policy where none chose.
const NO_POLICY: &str = "none";

impl Stats {
    pub(crate) fn routed(&self, decision: &Decision) {
        let (policy, model, reason) = (decision.policy.as_deref(), &*decision.model, decision.reason);
        let stat = Counter::Requests { policy: policy.map(Place::of), model: Place::of(model), reason };
        self.counters.add(stat, 1, || {
            let policy = policy.map_or(NO_POLICY, |policy| policy.name.as_str());
            format!("policy.{policy}.model.{}.reason.{reason}.requests_total", model.name)
        });
        let label = decision.classification.as_ref().and_then(Classification::label);
        if let (Some(policy), Some(label)) = (policy, label) {
            let label = policy.metric_label(label.name());
            let stat = Counter::Labels { policy: Place::of(policy), label: Place::of(label) };
            self.counters.add(stat, 1, || format!("policy.{}.label.{label}.labels_total", policy.name));
        }
    }

    pub(crate) fn refused(&self, refusal: &Rejection) {
        let code = refusal.code();
        self.counters.add(Counter::Refused { code }, 1, || format!("code.{code}.refused_total"));
    }

    /// The LLM failed, and another was asked in its place.
    pub(crate) fn failed_over(&self, model: &Model) {
        let stat = Counter::FailedOver { model: Place::of(model) };
        self.counters.add(stat, 1, || format!("model.{}.failovers_total", model.name));
    }

    pub(crate) fn cache_hit(&self) {
        self.counters.add(Counter::CacheHits, 1, || "cache_hits_total".to_owned());
    }

    pub(crate) fn cache_miss(&self) {
        self.counters.add(Counter::CacheMisses, 1, || "cache_misses_total".to_owned());
    }

    /// The sidecar answered, or did not, after this time.
    pub(crate) fn classified(&self, classifier: &Classifier, answered: bool, took: Duration) {
        let place = Place::of(classifier);
        self.counters.add(Counter::Calls { classifier: place, answered }, 1, || {
            let outcome = if answered { "answered" } else { "failed" };
            format!("classifier.{classifier}.outcome.{outcome}.calls_total")
        });
        self.record(Histogram::CallDuration { classifier: place }, took.as_micros(), || {
            format!("classifier.{classifier}.call_duration_microseconds")
        });
    }

    pub(crate) fn first_token(&self, model: &Model, took: Duration) {
        self.record(Histogram::FirstToken { model: Place::of(model) }, took.as_millis(), || {
            format!("model.{}.time_to_first_token_milliseconds", model.name)
        });
    }

    pub(crate) fn used(&self, prices: &Prices, model: &Model, usage: &Usage) {
        let (name, place) = (&model.name, Place::of(model));
        let (input, output) = (usage.input_tokens, usage.output_tokens);
        self.counters
            .add(Counter::InputTokens { model: place }, input, || format!("model.{name}.input_tokens_total"));
        self.counters.add(Counter::OutputTokens { model: place }, output, || {
            format!("model.{name}.output_tokens_total")
        });
        // Of a model without a price, nobody can say what it saves.
        if let (Some(cost), Some(dearest)) = (model.cost, prices.dearest(input, output)) {
            self.counters.add(Counter::Cost { model: place }, microdollars(cost.of(input, output)), || {
                format!("model.{name}.cost_microdollars_total")
            });
            self.counters.add(Counter::DearestCost { model: place }, microdollars(dearest), || {
                format!("model.{name}.dearest_cost_microdollars_total")
            });
        }
    }

    /// Tells Envoy what was counted since the last time.
    pub(crate) fn flush(&self) {
        self.counters.flush();
    }

    fn record(&self, histogram: Histogram, value: u128, name: impl FnOnce() -> String) {
        let known = self.histograms.borrow().get(&histogram).copied();
        let Some(id) = known.or_else(|| define(MetricType::Histogram, name)) else { return };
        if known.is_none() {
            self.histograms.borrow_mut().insert(histogram, id);
        }
        host::record_stat(id, u64::try_from(value).unwrap_or(u64::MAX));
    }
}

/// Envoy's counters are whole numbers: a micro-dollar is fine enough for a request of a hundred tokens.
fn microdollars(dollars: f64) -> u64 {
    (dollars * 1e6).round() as u64
}

/// Envoy's number of a stat.
fn define(kind: MetricType, name: impl FnOnce() -> String) -> Option<u32> {
    host::define_stat(kind, &format!("llmrouter.{}", name()))
}
