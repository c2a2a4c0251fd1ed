//! Prometheus metrics of what was decided, under the names and labels that our filter's stats have in Prometheus, so
//! that one dashboard shows both modes. Label values come from the policy, so their number is bounded.

use std::time::Duration;

use llm_router_routing::classification::Classification;
use llm_router_routing::config::{Model, Prices};
use llm_router_routing::decision::Decision;
use llm_router_routing::rejection::Rejection;
use llm_router_routing::usage::Usage;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// A metric by the values of these many labels.
type By<const LABELS: usize, M> = Family<[(&'static str, String); LABELS], M>;

/// What stands for a policy where none chose.
const NO_POLICY: &str = "none";

/// The metrics of decisions, and of what became of them.
pub struct Decisions {
    registry: Registry,
    requests: By<3, Counter>,
    labels: By<2, Counter>,
    refused: By<1, Counter>,
    cache_hits: Counter,
    cache_misses: Counter,
    calls: By<2, Counter>,
    call_duration: By<1, Histogram>,
    time_to_first_token: By<1, Histogram>,
    input_tokens: By<1, Counter>,
    output_tokens: By<1, Counter>,
    cost: By<1, Counter>,
    dearest_cost: By<1, Counter>,
}

impl Default for Decisions {
    fn default() -> Self {
        // 100 µs to 3.3 s.
        let microseconds: fn() -> Histogram = || Histogram::new(exponential_buckets(100.0, 2.0, 16));
        // 10 ms to 164 s.
        let milliseconds: fn() -> Histogram = || Histogram::new(exponential_buckets(10.0, 2.0, 15));
        let decisions = Self {
            registry: Registry::with_prefix("llmrouter"),
            requests: Family::default(),
            labels: Family::default(),
            refused: Family::default(),
            cache_hits: Counter::default(),
            cache_misses: Counter::default(),
            calls: Family::default(),
            call_duration: Family::new_with_constructor(microseconds),
            time_to_first_token: Family::new_with_constructor(milliseconds),
            input_tokens: Family::default(),
            output_tokens: Family::default(),
            cost: Family::default(),
            dearest_cost: Family::default(),
        };
        decisions.registered()
    }
}

impl Decisions {
    fn registered(mut self) -> Self {
        let registry = &mut self.registry;
        registry.register("requests", "Requests by what was decided", self.requests.clone());
        registry.register("labels", "Requests by what the classifier said", self.labels.clone());
        registry.register("refused", "Requests that were not routed, by why", self.refused.clone());
        registry.register("cache_hits", "Prompts classified before", self.cache_hits.clone());
        registry.register("cache_misses", "Prompts to classify, with a cache", self.cache_misses.clone());
        registry.register("calls", "Classifications by classifier and outcome", self.calls.clone());
        registry.register(
            "call_duration_microseconds",
            "Time of a classification",
            self.call_duration.clone(),
        );
        registry.register(
            "time_to_first_token_milliseconds",
            "Time from a decision to the first token of a streamed answer",
            self.time_to_first_token.clone(),
        );
        registry.register(
            "input_tokens",
            "Tokens of prompts, as LLMs report them",
            self.input_tokens.clone(),
        );
        registry.register(
            "output_tokens",
            "Tokens of answers, as LLMs report them",
            self.output_tokens.clone(),
        );
        registry.register(
            "cost_microdollars",
            "What these tokens cost by the policy's prices",
            self.cost.clone(),
        );
        registry.register(
            "dearest_cost_microdollars",
            "What these tokens would have cost on the dearest model",
            self.dearest_cost.clone(),
        );
        self
    }

    pub(super) fn registry(&self) -> &Registry {
        &self.registry
    }

    /// A request was routed, or in shadow would have been.
    pub fn routed(&self, decision: &Decision) {
        let policy = decision.policy.as_ref().map_or(NO_POLICY, |policy| policy.name.as_str());
        let labels = [
            ("llm_policy", policy.to_owned()),
            ("llm_model", decision.model.name.to_string()),
            ("llm_reason", decision.reason.to_string()),
        ];
        self.requests.get_or_create(&labels).inc();
        let label = decision.classification.as_ref().and_then(Classification::label);
        if let (Some(policy), Some(label)) = (&decision.policy, label) {
            let name = policy.metric_label(label.name()).to_owned();
            let labels = [("llm_policy", policy.name.to_string()), ("llm_label", name)];
            self.labels.get_or_create(&labels).inc();
        }
    }

    /// A request was refused, or in shadow would have been.
    pub fn refused(&self, refusal: &Rejection) {
        self.refused.get_or_create(&[("code", refusal.code().to_owned())]).inc();
    }

    /// A prompt was classified before.
    pub fn cache_hit(&self) {
        self.cache_hits.inc();
    }

    /// A prompt was not classified before, or not lately.
    pub fn cache_miss(&self) {
        self.cache_misses.inc();
    }

    /// The classifier answered, or did not, after this time.
    pub fn classified(&self, classifier: &str, answered: bool, took: Duration) {
        let outcome = if answered { "answered" } else { "failed" }.to_owned();
        let classifier = ("llm_classifier", classifier.to_owned());
        self.calls.get_or_create(&[classifier.clone(), ("outcome", outcome)]).inc();
        self.call_duration.get_or_create(&[classifier]).observe(took.as_secs_f64() * 1e6);
    }

    /// A streamed answer began after this time.
    pub fn first_token(&self, model: &Model, took: Duration) {
        self.time_to_first_token.get_or_create(&by(model)).observe(took.as_secs_f64() * 1e3);
    }

    /// An answer is over, and used these tokens.
    pub fn used(&self, prices: &Prices, model: &Model, usage: &Usage) {
        let (input, output) = (usage.input_tokens, usage.output_tokens);
        self.input_tokens.get_or_create(&by(model)).inc_by(input);
        self.output_tokens.get_or_create(&by(model)).inc_by(output);
        // Of a model without a price, nobody can say what it saves.
        if let (Some(cost), Some(dearest)) = (model.cost, prices.dearest(input, output)) {
            self.cost.get_or_create(&by(model)).inc_by(microdollars(cost.of(input, output)));
            self.dearest_cost.get_or_create(&by(model)).inc_by(microdollars(dearest));
        }
    }
}

fn microdollars(dollars: f64) -> u64 {
    (dollars * 1e6).round() as u64
}

fn by(model: &Model) -> [(&'static str, String); 1] {
    [("llm_model", model.name.to_string())]
}
