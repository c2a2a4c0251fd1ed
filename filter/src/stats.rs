//! Envoy stats of what the filter did. Label values come from the configuration, so their number is bounded; the
//! bootstraps' `stats_tags` turn them into real Prometheus labels.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ptr;
use std::time::Duration;

use llm_router_routing::config::{Classifier, Model};
use llm_router_routing::decision::{Decision, Reason};
use llm_router_routing::refusal::Refusal;
use llm_router_routing::usage::Usage;
use proxy_wasm::types::MetricType;

use crate::host;

/// The stats of one worker; Envoy adds the workers' up.
#[derive(Default)]
pub(crate) struct Stats {
    /// Envoy's numbers of the stats that were used already: their names need not be put together again.
    ids: RefCell<HashMap<Stat, u32>>,
}

/// What tells a stat from the others, in place of its name.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Stat {
    Requests { policy: Option<Place>, model: Place, reason: Reason },
    Refused { code: &'static str },
    CacheHits,
    CacheMisses,
    Calls { classifier: Place, answered: bool },
    CallDuration { classifier: Place },
    FirstToken { model: Place },
    InputTokens { model: Place },
    OutputTokens { model: Place },
    Cost { model: Place },
}

/// Where a part of the configuration lies in memory, all the time that the stats are kept.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Place(usize);

impl Place {
    fn of<T>(part: &T) -> Self {
        Self(ptr::from_ref(part).addr())
    }
}

/// What stands for a policy where none chose.
const NO_POLICY: &str = "none";

impl Stats {
    pub(crate) fn routed(&self, decision: &Decision) {
        let (policy, model, reason) = (decision.policy.as_deref(), &*decision.model, decision.reason);
        let stat = Stat::Requests { policy: policy.map(Place::of), model: Place::of(model), reason };
        self.count(stat, 1, || {
            let policy = policy.map_or(NO_POLICY, |policy| policy.name.as_str());
            format!("policy.{policy}.model.{}.reason.{reason}.requests_total", model.name)
        });
    }

    pub(crate) fn refused(&self, refusal: &Refusal) {
        let code = refusal.code();
        self.count(Stat::Refused { code }, 1, || format!("code.{code}.refused_total"));
    }

    pub(crate) fn cache_hit(&self) {
        self.count(Stat::CacheHits, 1, || "cache_hits_total".to_owned());
    }

    pub(crate) fn cache_miss(&self) {
        self.count(Stat::CacheMisses, 1, || "cache_misses_total".to_owned());
    }

    /// The sidecar answered, or did not, after this time.
    pub(crate) fn classified(&self, classifier: &Classifier, answered: bool, took: Duration) {
        let place = Place::of(classifier);
        self.count(Stat::Calls { classifier: place, answered }, 1, || {
            let outcome = if answered { "answered" } else { "failed" };
            format!("classifier.{classifier}.outcome.{outcome}.calls_total")
        });
        self.record(Stat::CallDuration { classifier: place }, took.as_micros(), || {
            format!("classifier.{classifier}.call_duration_microseconds")
        });
    }

    pub(crate) fn first_token(&self, model: &Model, took: Duration) {
        self.record(Stat::FirstToken { model: Place::of(model) }, took.as_millis(), || {
            format!("model.{}.time_to_first_token_milliseconds", model.name)
        });
    }

    pub(crate) fn used(&self, model: &Model, usage: &Usage) {
        let (name, place) = (&model.name, Place::of(model));
        self.count(Stat::InputTokens { model: place }, usage.input_tokens, || {
            format!("model.{name}.input_tokens_total")
        });
        self.count(Stat::OutputTokens { model: place }, usage.output_tokens, || {
            format!("model.{name}.output_tokens_total")
        });
        if let Some(cost) = model.cost {
            // Envoy's counters are whole numbers: a micro-dollar is fine enough for a request of a hundred tokens.
            let micro_dollars = cost.of(usage.input_tokens, usage.output_tokens) * 1e6;
            self.count(Stat::Cost { model: place }, micro_dollars.round() as u64, || {
                format!("model.{name}.cost_microdollars_total")
            });
        }
    }

    fn count(&self, stat: Stat, by: u64, name: impl FnOnce() -> String) {
        host::increment_stat(self.id(stat, MetricType::Counter, name), by);
    }

    fn record(&self, stat: Stat, value: u128, name: impl FnOnce() -> String) {
        let id = self.id(stat, MetricType::Histogram, name);
        host::record_stat(id, u64::try_from(value).unwrap_or(u64::MAX));
    }

    fn id(&self, stat: Stat, kind: MetricType, name: impl FnOnce() -> String) -> Option<u32> {
        if let Some(id) = self.ids.borrow().get(&stat) {
            return Some(*id);
        }
        let id = host::define_stat(kind, &format!("llmrouter.{}", name()))?;
        self.ids.borrow_mut().insert(stat, id);
        Some(id)
    }
}
