//! The router's metrics: their names and labels, and what each event adds to them. Hosts only store the numbers.
//!
//! Label values come from the configuration or are constants, so their number is bounded.

use std::borrow::Cow;
use std::collections::HashMap;

use foldhash::fast::FixedState;

use crate::classification::Classification;
use crate::config::{ClassifierSet, Config, Model, ModelId, PolicyId};
use crate::decision::{Comparison, Decision, Reason};
use crate::exchange::Event;
use crate::router::Step;

/// A metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Metric {
    /// Requests by decision.
    Requests,
    /// Requests by the classifier's label.
    Labels,
    /// Rejected requests by reason.
    Rejected,
    /// Requests that a rule matched.
    Rules,
    /// Requests whose chosen model failed, so that another one responded.
    Failovers,
    /// Prompts with cached predictions.
    CacheHits,
    /// Prompts without cached predictions, if there is a cache.
    CacheMisses,
    /// Calls to the classifier by outcome.
    Calls,
    /// Time of a call to the classifier.
    CallDuration,
    /// Time from the decision to the first content of a streamed response.
    TimeToFirstToken,
    /// Tokens of prompts, as models report them.
    InputTokens,
    /// Tokens of responses, as models report them.
    OutputTokens,
    /// The cost of these tokens by the policy's prices.
    Cost,
    /// The cost of these tokens on the most expensive model.
    MaxCost,
    /// The cost of requests that kept their conversation's model.
    StickyCost,
    /// The cost of these requests on the model for their last message alone.
    SwitchCost,
    /// Requests of a policy with a candidate, by the models that both chose.
    Comparisons,
    /// The cost of the requests that a candidate was compared on.
    ComparedCost,
    /// The cost of these requests on the candidate's model.
    CandidateCost,
}

/// How a metric is aggregated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A sum. Exposed with `_total` after its name.
    Counter,
    /// A distribution.
    Histogram,
}

impl Metric {
    /// All of them.
    pub const ALL: [Self; 19] = [
        Self::Requests,
        Self::Labels,
        Self::Rejected,
        Self::Rules,
        Self::Failovers,
        Self::CacheHits,
        Self::CacheMisses,
        Self::Calls,
        Self::CallDuration,
        Self::TimeToFirstToken,
        Self::InputTokens,
        Self::OutputTokens,
        Self::Cost,
        Self::MaxCost,
        Self::StickyCost,
        Self::SwitchCost,
        Self::Comparisons,
        Self::ComparedCost,
        Self::CandidateCost,
    ];

    /// The name, after the prefix `llm_router`; of a counter without `_total`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Labels => "labels",
            Self::Rejected => "rejected",
            Self::Rules => "rules",
            Self::Failovers => "failovers",
            Self::CacheHits => "cache_hits",
            Self::CacheMisses => "cache_misses",
            Self::Calls => "calls",
            Self::CallDuration => "call_duration_microseconds",
            Self::TimeToFirstToken => "time_to_first_token_milliseconds",
            Self::InputTokens => "input_tokens",
            Self::OutputTokens => "output_tokens",
            Self::Cost => "cost_microdollars",
            Self::MaxCost => "max_cost_microdollars",
            Self::StickyCost => "sticky_cost_microdollars",
            Self::SwitchCost => "switch_cost_microdollars",
            Self::Comparisons => "comparisons",
            Self::ComparedCost => "compared_cost_microdollars",
            Self::CandidateCost => "candidate_cost_microdollars",
        }
    }

    /// The help text.
    pub fn help(self) -> &'static str {
        match self {
            Self::Requests => "Requests by policy, chosen model and reason",
            Self::Labels => "Requests by policy and predicted label",
            Self::Rejected => "Requests that the router rejected, by error code",
            Self::Rules => "Requests that a rule matched",
            Self::Failovers => "Requests that went to another model because theirs failed",
            Self::CacheHits => "Prompts whose predictions were in the cache",
            Self::CacheMisses => "Prompts whose predictions were not in the cache",
            Self::Calls => "Calls to the sidecar by classifier and outcome",
            Self::CallDuration => "Duration of a call to the sidecar, in microseconds",
            Self::TimeToFirstToken => {
                "Time from the decision to the first token of a streamed response, in milliseconds"
            }
            Self::InputTokens => "Input tokens that the LLMs report",
            Self::OutputTokens => "Output tokens that the LLMs report",
            Self::Cost => "Cost of the reported tokens at the policy's prices, in millionths of a dollar",
            Self::MaxCost => "Cost of the same tokens on the most expensive model, in millionths of a dollar",
            Self::StickyCost => {
                "Cost of requests that kept the model of their conversation, in millionths of a dollar"
            }
            Self::SwitchCost => {
                "Cost of the same requests on the model for their last message alone, in millionths of a dollar"
            }
            Self::Comparisons => "Requests by the policy's model and its candidate's model",
            Self::ComparedCost => {
                "Cost of the requests that were compared with a candidate policy, in millionths of a dollar"
            }
            Self::CandidateCost => {
                "Cost of the same requests on the candidate's model, in millionths of a dollar"
            }
        }
    }

    /// The names of its labels, in the order of [`Series::labels`].
    pub fn label_names(self) -> &'static [&'static str] {
        match self {
            Self::Requests => &["policy", "model", "reason"],
            Self::Labels => &["policy", "label"],
            Self::Rejected => &["code"],
            Self::Rules => &["rule", "mode"],
            Self::CacheHits | Self::CacheMisses => &[],
            Self::Calls => &["classifier", "outcome"],
            Self::CallDuration => &["classifier"],
            Self::Comparisons => &["policy", "model", "candidate"],
            Self::ComparedCost | Self::CandidateCost => &["policy", "model"],
            Self::Failovers
            | Self::TimeToFirstToken
            | Self::InputTokens
            | Self::OutputTokens
            | Self::Cost
            | Self::MaxCost
            | Self::StickyCost
            | Self::SwitchCost => &["model"],
        }
    }

    /// Whether it has labels.
    pub fn has_labels(self) -> bool {
        !self.label_names().is_empty()
    }

    /// How it is aggregated.
    pub fn kind(self) -> Kind {
        match self {
            Self::CallDuration | Self::TimeToFirstToken => Kind::Histogram,
            _ => Kind::Counter,
        }
    }
}

/// A metric with the values of its labels, as a small key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Series {
    /// The metric.
    pub metric: Metric,
    labels: Labels,
}

/// A value for each series. Clients do not choose the keys, so a fast hash is safe.
pub type BySeries<V> = HashMap<Series, V, FixedState>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Labels {
    None,
    Decision {
        policy: Option<PolicyId>,
        model: ModelId,
        reason: Reason,
    },
    /// The label's position among the policy's routes; none for those without a route.
    Label {
        policy: PolicyId,
        label: Option<usize>,
    },
    Code(&'static str),
    Model(ModelId),
    /// The model of the policy's candidate; none if it chose none.
    Compared {
        policy: PolicyId,
        model: ModelId,
        candidate: Option<ModelId>,
    },
    ModelOfPolicy {
        policy: PolicyId,
        model: ModelId,
    },
    /// The rule's position.
    Rule(usize),
    Call {
        classifiers: ClassifierSet,
        answered: bool,
    },
    Classifiers(ClassifierSet),
}

/// The value of `policy` where no policy chose.
const NO_POLICY: &str = "none";
/// The value of `candidate` where the candidate chose no model.
const NO_MODEL: &str = "none";

impl Series {
    /// The names of its labels with their values, in the order in which they are exposed.
    pub fn labels(self, config: &Config) -> Vec<(&'static str, Cow<'_, str>)> {
        let policy = |id| config.policy_by_id(id).map_or(NO_POLICY, |policy| policy.name.as_str());
        let model = |id| config.model_by_id(id).map_or("", |model| model.name.as_str());
        let borrowed: Vec<(&'static str, &str)> = match self.labels {
            Labels::None => Vec::new(),
            Labels::Decision { policy: id, model: model_id, reason } => vec![
                ("policy", id.map_or(NO_POLICY, policy)),
                ("model", model(model_id)),
                ("reason", reason.as_str()),
            ],
            Labels::Label { policy: id, label } => {
                let label = config.policy_by_id(id).map_or("", |policy| policy.metric_label(label));
                vec![("policy", policy(id)), ("label", label)]
            }
            Labels::Code(code) => vec![("code", code)],
            Labels::Model(id) => vec![("model", model(id))],
            Labels::Compared { policy: id, model: model_id, candidate } => vec![
                ("policy", policy(id)),
                ("model", model(model_id)),
                ("candidate", candidate.map_or(NO_MODEL, model)),
            ],
            Labels::ModelOfPolicy { policy: id, model: model_id } => {
                vec![("policy", policy(id)), ("model", model(model_id))]
            }
            Labels::Rule(index) => {
                let rule = config.rules.get(index);
                let mode = rule.map_or("", |rule| rule.mode.as_str());
                vec![("rule", rule.map_or("", |rule| rule.name.as_str())), ("mode", mode)]
            }
            Labels::Call { classifiers, answered } => {
                let outcome = if answered { "answered" } else { "failed" };
                let names = ("classifier", Cow::Owned(config.classifier_names(classifiers)));
                return vec![names, ("outcome", outcome.into())];
            }
            Labels::Classifiers(classifiers) => {
                return vec![("classifier", Cow::Owned(config.classifier_names(classifiers)))];
            }
        };
        borrowed.into_iter().map(|(name, value)| (name, value.into())).collect()
    }
}

/// Reports what an event adds: to a counter an amount, to a histogram a value.
pub fn measure(event: &Event<'_>, config: &Config, mut add: impl FnMut(Series, u64)) {
    let mut add = |metric, labels, value| add(Series { metric, labels }, value);
    match *event {
        Event::Step(Step::Rule { index, matches: Some(true) }) => add(Metric::Rules, Labels::Rule(index), 1),
        Event::Step(Step::Lookup { is_hit: true }) => add(Metric::CacheHits, Labels::None, 1),
        Event::Step(Step::Lookup { is_hit: false }) => add(Metric::CacheMisses, Labels::None, 1),
        Event::Step(_) | Event::Estimated { .. } => {}
        Event::Classified { classifiers, answered, took } => {
            let classifiers = config.classifier_set(classifiers);
            add(Metric::Calls, Labels::Call { classifiers, answered }, 1);
            add(Metric::CallDuration, Labels::Classifiers(classifiers), saturated(took.as_micros()));
        }
        Event::Routed(decision) => {
            let Decision { policy, model, reason, .. } = decision;
            let id = policy.as_ref().map(|policy| policy.id);
            add(Metric::Requests, Labels::Decision { policy: id, model: model.id, reason: *reason }, 1);
            let label = decision.classification.as_ref().and_then(Classification::label);
            if let (Some(policy), Some(label)) = (policy, label) {
                let label = policy.label_index(label.name());
                add(Metric::Labels, Labels::Label { policy: policy.id, label }, 1);
            }
            if let Some(Comparison { policy, model: candidate }) = &decision.comparison {
                let candidate = candidate.as_ref().map(|model| model.id);
                add(
                    Metric::Comparisons,
                    Labels::Compared { policy: policy.id, model: model.id, candidate },
                    1,
                );
            }
        }
        Event::Rejected(rejection) => add(Metric::Rejected, Labels::Code(rejection.code()), 1),
        Event::FailedOver { from, .. } => add(Metric::Failovers, Labels::Model(from.id), 1),
        Event::FirstToken { model, after } => {
            add(Metric::TimeToFirstToken, Labels::Model(model.id), saturated(after.as_millis()));
        }
        Event::Used { decision: Decision { model, alternative, comparison, .. }, usage } => {
            let labels = Labels::Model(model.id);
            add(Metric::InputTokens, labels, usage.input_tokens);
            add(Metric::OutputTokens, labels, usage.output_tokens);
            // The cost and savings of a model without a price are unknown.
            let Some(cost) = model.cost.map(|cost| cost.of_usage(usage)) else { return };
            let max_cost = config.max_cost(model, usage).unwrap_or(cost);
            add(Metric::Cost, labels, microdollars(cost));
            add(Metric::MaxCost, labels, microdollars(max_cost));
            let switch = alternative.as_ref().and_then(|other| other.cost_in_place_of(model, usage));
            if let Some(switch_cost) = switch {
                add(Metric::StickyCost, labels, microdollars(cost));
                add(Metric::SwitchCost, labels, microdollars(switch_cost));
            }
            if let Some(Comparison { policy, model: Some(candidate) }) = comparison
                && let Some(candidate_cost) = candidate.cost_in_place_of(model, usage)
            {
                let labels = |model: &Model| Labels::ModelOfPolicy { policy: policy.id, model: model.id };
                add(Metric::ComparedCost, labels(model), microdollars(cost));
                add(Metric::CandidateCost, labels(candidate), microdollars(candidate_cost));
            }
        }
    }
}

/// Envoy's counters are whole numbers: a micro-dollar is fine enough for a request of a hundred tokens.
fn microdollars(dollars: f64) -> u64 {
    (dollars * 1e6).round() as u64
}

fn saturated(value: u128) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::classification::Label;
    use crate::rejection::Rejection;
    use crate::usage::Usage;

    fn config() -> Config {
        let config = json!({
            "sidecar": {"cluster": "c"}, "default_policy": "p",
            "models": {
                "small": {"cluster": "a", "model": "x", "cost": {"input": 1, "cached_input": 0.1, "output": 2}},
                "large": {"cluster": "b", "model": "y", "cost": {"input": 10, "cached_input": 1, "output": 20}},
                "large-deep": {"cluster": "b", "model": "y", "cost": {"input": 10, "cached_input": 1, "output": 20}},
                "free": {"cluster": "b", "model": "z"},
            },
            "policies": {"p": {"classifier": "task", "routes": {"Chatbot": "small", "Code": "large"}, "default": "small"}},
        });
        Config::from_json(config.to_string().as_bytes()).unwrap()
    }

    /// Each series as `name{label="value"} added`.
    fn lines(config: &Config, event: &Event<'_>) -> Vec<String> {
        let mut lines = Vec::new();
        measure(event, config, |series, value| {
            let labels = series.labels(config);
            let labels: Vec<_> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
            lines.push(format!("{}{{{}}} {value}", series.metric.name(), labels.join(",")));
        });
        lines
    }

    fn model(config: &Config, name: &str) -> Arc<Model> {
        Arc::clone(config.models().find(|model| model.name.as_str() == name).unwrap())
    }

    fn decision(config: &Config, label: Option<&str>) -> Decision {
        let label = label.map(|label| Classification::Label(Label::new(label, 0.5).unwrap()));
        Decision {
            model: model(config, "large"),
            policy: label.is_some().then(|| Arc::clone(&config.default_policy)),
            classification: label,
            class: None,
            reason: Reason::Classified,
            next: Vec::new(),
            alternative: None,
            comparison: None,
        }
    }

    #[test]
    fn a_decision_counts_its_policy_model_reason_and_label() {
        let config = config();
        let of = |label| lines(&config, &Event::Routed(&decision(&config, label)));
        let requests = "requests{policy=p,model=large,reason=classified} 1";
        assert_eq!(of(Some("Code")), [requests, "labels{policy=p,label=Code} 1"]);
        assert_eq!(of(Some("Poetry")), [requests, "labels{policy=p,label=unrouted} 1"]);
        assert_eq!(of(None), ["requests{policy=none,model=large,reason=classified} 1"]);
    }

    #[test]
    fn the_names_of_labels_are_those_of_the_series() {
        let config = config();
        let compared = compared(&config, Some("small"));
        let decision = decision(&config, Some("Code"));
        let rejection = Rejection::body_too_large(1);
        let model = model(&config, "small");
        let classifiers = std::slice::from_ref(&config.default_policy.classifier);
        let (after, took) = (Duration::ZERO, Duration::ZERO);
        let events = [
            Event::Routed(&decision),
            Event::Rejected(&rejection),
            Event::FailedOver { from: &model, decision: &decision },
            Event::FirstToken { model: &model, after },
            Event::Used { decision: &decision, usage: &USAGE },
            Event::Routed(&compared),
            Event::Used { decision: &compared, usage: &USAGE },
            Event::Classified { classifiers, answered: true, took },
            Event::Step(Step::Lookup { is_hit: true }),
        ];
        for event in &events {
            measure(event, &config, |series, _| {
                let labels = series.labels(&config);
                let names: Vec<_> = labels.iter().map(|(name, _)| *name).collect();
                assert_eq!(names, series.metric.label_names(), "{:?}", series.metric);
            });
        }
    }

    /// A decision for `large`, and the model that the candidate would have chosen.
    fn compared(config: &Config, candidate: Option<&str>) -> Decision {
        let (policy, candidate) =
            (Arc::clone(&config.default_policy), candidate.map(|name| model(config, name)));
        Decision {
            comparison: Some(Comparison { policy, model: candidate }),
            ..decision(config, Some("Code"))
        }
    }

    #[test]
    fn a_comparison_counts_both_models_and_both_costs() {
        let config = config();
        let counted = |candidate| {
            let decision = compared(&config, candidate);
            let routed = lines(&config, &Event::Routed(&decision));
            let used = lines(&config, &Event::Used { decision: &decision, usage: &USAGE });
            (routed[2..].to_vec(), used[4..].to_vec())
        };
        let (routed, used) = counted(Some("small"));
        assert_eq!(routed, ["comparisons{policy=p,model=large,candidate=small} 1"]);
        assert_eq!(
            used,
            [
                "compared_cost_microdollars{policy=p,model=large} 1200",
                "candidate_cost_microdollars{policy=p,model=small} 120",
            ]
        );
        let (routed, used) = counted(None);
        assert_eq!(routed, ["comparisons{policy=p,model=large,candidate=none} 1"]);
        assert!(used.is_empty(), "{used:?}");
        assert!(counted(Some("free")).1.is_empty(), "nobody knows its price");
    }

    /// What is counted for these tokens.
    fn used(model_name: &str, alternative: Option<&str>, usage: &Usage) -> Vec<String> {
        let config = config();
        let decision = Decision {
            model: model(&config, model_name),
            alternative: alternative.map(|name| model(&config, name)),
            ..decision(&config, None)
        };
        lines(&config, &Event::Used { decision: &decision, usage })
    }

    const USAGE: Usage = Usage { input_tokens: 100, output_tokens: 10, cached_input_tokens: None };

    #[test]
    fn usage_counts_tokens_and_costs_of_models_with_a_price() {
        let expected = [
            "input_tokens{model=small} 100",
            "output_tokens{model=small} 10",
            "cost_microdollars{model=small} 120",
            "max_cost_microdollars{model=small} 1200",
        ];
        assert_eq!(used("small", None, &USAGE), expected);
        assert_eq!(
            used("free", None, &USAGE),
            ["input_tokens{model=free} 100", "output_tokens{model=free} 10"]
        );
    }

    #[test]
    fn cached_tokens_cost_less_at_the_model_that_has_them() {
        let usage = Usage { cached_input_tokens: Some(80), ..USAGE };
        let costs = |model| used(model, None, &usage).split_off(2);
        // Another model would have had to read all of the prompt.
        let small = ["cost_microdollars{model=small} 48", "max_cost_microdollars{model=small} 1200"];
        assert_eq!(costs("small"), small);
        // The most expensive model saves by its cache, but not by routing.
        let large = ["cost_microdollars{model=large} 480", "max_cost_microdollars{model=large} 480"];
        assert_eq!(costs("large"), large);
        // Both are the same LLM.
        let deep = ["cost_microdollars{model=large-deep} 480", "max_cost_microdollars{model=large-deep} 480"];
        assert_eq!(costs("large-deep"), deep);
    }

    #[test]
    fn a_kept_model_is_compared_with_a_switch() {
        let usage = Usage { cached_input_tokens: Some(80), ..USAGE };
        let compared = |model, alternative| used(model, Some(alternative), &usage).split_off(4);
        let kept = ["sticky_cost_microdollars{model=large} 480", "switch_cost_microdollars{model=large} 120"];
        assert_eq!(compared("large", "small"), kept);
        let kept = ["sticky_cost_microdollars{model=small} 48", "switch_cost_microdollars{model=small} 1200"];
        assert_eq!(compared("small", "large"), kept);
        let same = ["sticky_cost_microdollars{model=small} 48", "switch_cost_microdollars{model=small} 48"];
        assert_eq!(compared("small", "small"), same, "there is no switch");
        assert!(compared("large", "free").is_empty());
        assert_eq!(used("free", Some("large"), &usage).len(), 2);
    }

    #[test]
    fn a_call_counts_by_classifier_and_outcome() {
        let config = config();
        let classifiers = std::slice::from_ref(&config.default_policy.classifier);
        let took = Duration::from_micros(1500);
        let expected =
            ["calls{classifier=task,outcome=failed} 1", "call_duration_microseconds{classifier=task} 1500"];
        assert_eq!(lines(&config, &Event::Classified { classifiers, answered: false, took }), expected);
    }
}
