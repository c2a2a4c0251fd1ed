//! The data for a diagram of a policy: which requests go where. Without values of body edits, which may be secret.

use std::collections::BTreeMap;

use serde::Serialize;

use super::phrases::{conditions, outcome_cell};
use crate::config::{Config, Cost, Mode, Model, Policy, Rule, Strategy, Target, Then};

/// A configuration. Names of models and policies are those that clients use.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PolicyOutline {
    /// `enforce` or `shadow`.
    pub mode: &'static str,
    /// The policy of requests that name none.
    pub default_policy: String,
    /// What happens to a `model` that is not configured: `route`, `reject` or `passthrough`.
    pub on_unknown_model: &'static str,
    /// The models, in the order of their names.
    pub models: Vec<ModelOutline>,
    /// Other names of models that clients may send, with the models.
    pub aliases: BTreeMap<String, String>,
    /// The rules, in order.
    pub rules: Vec<RuleOutline>,
    /// The policies, in the order of their names.
    pub policies: Vec<StrategyOutline>,
}

/// A model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ModelOutline {
    /// Its name.
    pub name: String,
    /// The Envoy cluster.
    pub cluster: String,
    /// The name that its API knows.
    pub upstream_model: String,
    /// The API that it speaks.
    pub api: String,
    /// Its capabilities; none if they are not declared.
    pub capabilities: Option<Vec<String>>,
    /// The maximum number of tokens of prompt and completion together, if it is declared.
    pub context: Option<u64>,
    /// The price of its tokens, if it is declared.
    pub prices: Option<Prices>,
    /// The members of bodies that it edits.
    pub edited_members: Vec<String>,
}

/// Prices in dollars per million tokens.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Prices {
    /// Tokens of the prompt.
    pub input: f64,
    /// Tokens of the prompt that come from the provider's cache.
    pub cached_input: f64,
    /// Tokens of the completion.
    pub output: f64,
}

impl From<Cost> for Prices {
    fn from(Cost { input, cached_input, output }: Cost) -> Self {
        Self { input, cached_input, output }
    }
}

/// A rule.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RuleOutline {
    /// Its name in metrics.
    pub name: String,
    /// Its condition in one line.
    pub when: String,
    /// What it does, in one line.
    pub then: String,
    /// `enforce`, or `shadow` if matches are only counted.
    pub mode: &'static str,
    /// The models that it chooses; empty if a policy chooses, or the request is rejected.
    pub models: Vec<WeightedModel>,
    /// The policy that then chooses, if one does.
    pub policy: Option<String>,
    /// The status of the rejection, if it rejects.
    pub status: Option<u16>,
}

/// A policy, and how its classifier's predictions select models.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StrategyOutline {
    /// Its name.
    pub name: String,
    /// Its classifier: a head, or `examples`.
    pub classifier: String,
    /// Below this probability, 0 to 1, the default is taken; none for bands of a score.
    pub min_confidence: Option<f32>,
    /// Labels in the order of their names, or bands from the lowest.
    pub routes: Vec<RouteOutline>,
    /// The target of all other requests.
    pub default: Vec<WeightedModel>,
    /// The fallback models, best first.
    pub fallbacks: Vec<String>,
    /// Classes that only clients name, with their models.
    pub classes: BTreeMap<String, String>,
    /// The policy that is compared with this one, if there is one.
    pub candidate: Option<String>,
}

/// A label or a band of scores, and where it goes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RouteOutline {
    /// The label; none for a band.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Scores above this fall into the band; none for the first one and for labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub above: Option<f32>,
    /// Scores up to this fall into the band; none for the last one and for labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub up_to: Option<f32>,
    /// The number of few-shot examples that define the label, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub examples: Option<usize>,
    /// Where it goes.
    pub models: Vec<WeightedModel>,
}

/// A model of a target.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WeightedModel {
    /// Its name.
    pub model: String,
    /// Its weight among the target's models.
    pub weight: u32,
}

impl From<&Config> for PolicyOutline {
    fn from(config: &Config) -> Self {
        let aliases = config.aliases().map(|(alias, model)| (alias.to_owned(), model.name.to_string()));
        Self {
            mode: config.mode.as_str(),
            default_policy: config.default_policy.name.to_string(),
            on_unknown_model: config.on_unknown_model.as_str(),
            models: config.models().map(|model| model_outline(model)).collect(),
            aliases: aliases.collect(),
            rules: config.rules.iter().map(rule_outline).collect(),
            policies: config.policies().map(|policy| strategy_outline(policy)).collect(),
        }
    }
}

fn model_outline(model: &Model) -> ModelOutline {
    let capabilities = model.capabilities.map(|has| has.iter().map(|one| one.to_string()).collect());
    ModelOutline {
        name: model.name.to_string(),
        cluster: model.cluster.clone(),
        upstream_model: model.upstream.clone(),
        api: model.api.to_string(),
        capabilities,
        context: model.context,
        prices: model.cost.map(Prices::from),
        edited_members: model.body.names(),
    }
}

fn rule_outline(rule: &Rule) -> RuleOutline {
    let (models, policy, status) = match &rule.then {
        Then::Policy(policy) => (Vec::new(), Some(policy.name.to_string()), None),
        Then::Target(target) => (weighted(target), None, None),
        Then::Reject(reject) => (Vec::new(), None, Some(reject.status)),
    };
    RuleOutline {
        name: rule.name.clone(),
        when: conditions(&rule.when),
        then: outcome_cell(rule),
        mode: Mode::as_str(rule.mode),
        models,
        policy,
        status,
    }
}

fn strategy_outline(policy: &Policy) -> StrategyOutline {
    let (min_confidence, routes) = match &policy.chooser {
        Strategy::Labels { routes, min_confidence } => {
            let examples = policy.classifier.examples();
            let route = |(label, target): (&String, &Target)| RouteOutline {
                label: Some(label.clone()),
                above: None,
                up_to: None,
                examples: examples.and_then(|examples| examples.routes().get(label)).map(Vec::len),
                models: weighted(target),
            };
            (Some(*min_confidence), routes.iter().map(route).collect())
        }
        Strategy::Bands(bands) => {
            let mut above = None;
            let mut routes = Vec::new();
            for (up_to, target) in bands.rows() {
                routes.push(RouteOutline {
                    label: None,
                    above,
                    up_to,
                    examples: None,
                    models: weighted(target),
                });
                above = up_to;
            }
            (None, routes)
        }
    };
    let classes = policy.classes.iter().map(|(class, model)| (class.clone(), model.name.to_string()));
    StrategyOutline {
        name: policy.name.to_string(),
        classifier: policy.classifier.to_string(),
        min_confidence,
        routes,
        default: weighted(&policy.default),
        fallbacks: policy.fallbacks.iter().map(|model| model.name.to_string()).collect(),
        classes: classes.collect(),
        candidate: policy.candidate.as_ref().map(|candidate| candidate.name.to_string()),
    }
}

fn weighted(target: &Target) -> Vec<WeightedModel> {
    match target {
        Target::Model(model) => vec![WeightedModel { model: model.name.to_string(), weight: 1 }],
        Target::Weighted(all) => {
            let part = |part: &crate::config::Weighted| WeightedModel {
                model: part.model.name.to_string(),
                weight: part.weight,
            };
            all.iter().map(part).collect()
        }
    }
}
