//! Envoy stats of what the filter did. Label values come from the configuration, so their number is bounded; the
//! bootstraps' `stats_tags` turn them into real Prometheus labels.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Duration;

use llm_router_routing::config::Model;
use llm_router_routing::decision::Decision;
use llm_router_routing::refusal::Refusal;
use llm_router_routing::usage::Usage;
use proxy_wasm::types::MetricType;

use crate::host;

/// The stats of one worker; Envoy adds the workers' up.
#[derive(Default)]
pub(crate) struct Stats {
    /// Envoy's numbers of the stats that were used already.
    ids: RefCell<HashMap<String, u32>>,
}

/// What stands for a policy where none chose.
const NO_POLICY: &str = "none";

impl Stats {
    pub(crate) fn routed(&self, decision: &Decision) {
        let policy = decision.policy.as_ref().map_or(NO_POLICY, |policy| policy.name.as_str());
        let (model, reason) = (&decision.model.name, decision.reason);
        self.count(&format!("policy.{policy}.model.{model}.reason.{reason}.requests_total"), 1);
    }

    pub(crate) fn refused(&self, refusal: &Refusal) {
        self.count(&format!("code.{}.refused_total", refusal.code()), 1);
    }

    pub(crate) fn cache_hit(&self) {
        self.count("cache_hits_total", 1);
    }

    pub(crate) fn cache_miss(&self) {
        self.count("cache_misses_total", 1);
    }

    /// The sidecar answered, or did not, after this time.
    pub(crate) fn classified(&self, classifier: &str, answered: bool, took: Duration) {
        let outcome = if answered { "answered" } else { "failed" };
        self.count(&format!("classifier.{classifier}.outcome.{outcome}.calls_total"), 1);
        self.record(&format!("classifier.{classifier}.call_duration_microseconds"), took.as_micros());
    }

    pub(crate) fn first_token(&self, model: &Model, took: Duration) {
        self.record(&format!("model.{}.time_to_first_token_milliseconds", model.name), took.as_millis());
    }

    pub(crate) fn used(&self, model: &Model, usage: &Usage) {
        self.count(&format!("model.{}.input_tokens_total", model.name), usage.input_tokens);
        self.count(&format!("model.{}.output_tokens_total", model.name), usage.output_tokens);
        if let Some(cost) = model.cost {
            // Envoy's counters are whole numbers: a micro-dollar is fine enough for a request of a hundred tokens.
            let micro_dollars = cost.of(usage.input_tokens, usage.output_tokens) * 1e6;
            self.count(
                &format!("model.{}.cost_microdollars_total", model.name),
                micro_dollars.round() as u64,
            );
        }
    }

    fn count(&self, name: &str, by: u64) {
        host::increment_stat(self.id(MetricType::Counter, name), by);
    }

    fn record(&self, name: &str, value: u128) {
        host::record_stat(self.id(MetricType::Histogram, name), u64::try_from(value).unwrap_or(u64::MAX));
    }

    fn id(&self, kind: MetricType, name: &str) -> Option<u32> {
        if let Some(id) = self.ids.borrow().get(name) {
            return Some(*id);
        }
        let id = host::define_stat(kind, &format!("llmrouter.{name}"))?;
        self.ids.borrow_mut().insert(name.to_owned(), id);
        Some(id)
    }
}
