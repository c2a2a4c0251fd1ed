//! All models of a configuration, and why each was chosen or not.

use std::sync::Arc;

use serde::Serialize;

use super::narrator::Narrator;
use super::outline::Prices;
use crate::config::{Model, Policy, Strategy, Target};
use crate::decision::Decision;

/// More labels than this are only counted.
const MAX_LABELS: usize = 4;

/// A model, and its role in a decision.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ConsideredModel {
    /// The name in the configuration.
    pub name: String,
    /// The Envoy cluster.
    pub cluster: String,
    /// The name that the model's API knows.
    pub upstream_model: String,
    /// Whether it was chosen.
    pub standing: Standing,
    /// Why, in words.
    pub why: String,
    /// The price of its tokens, if it is declared.
    pub prices: Option<Prices>,
    /// What the request would cost there, in dollars, if there is a price.
    pub estimated_cost: Option<f64>,
}

/// The role of a model in a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It gets the request.
    Chosen,
    /// It gets the request if those before it fail.
    Next,
    /// The policy has it, for other requests.
    PassedOver,
    /// It does not support the request.
    Unable,
    /// The policy does not have it.
    NotConsidered,
}

/// All models: the chosen one first, then by relevance.
pub(super) fn all(narrator: &Narrator, prompt_tokens: u64, completion_tokens: u64) -> Vec<ConsideredModel> {
    let considered = |model: &Arc<Model>| {
        let (standing, why) = standing(narrator, model);
        ConsideredModel {
            name: model.name.to_string(),
            cluster: model.cluster.clone(),
            upstream_model: model.upstream.clone(),
            standing,
            why,
            prices: model.cost.map(Prices::from),
            estimated_cost: model.cost.map(|cost| cost.of(prompt_tokens, completion_tokens)),
        }
    };
    let mut all: Vec<_> = narrator.config.models().map(considered).collect();
    all.sort_by_key(|model| model.standing);
    all
}

fn standing(narrator: &Narrator, model: &Model) -> (Standing, String) {
    let decision = narrator.decision.as_ref();
    if let Some(Decision { model: chosen, reason, next, .. }) = decision {
        if chosen.id == model.id {
            return (Standing::Chosen, format!("chosen by reason {reason}"));
        }
        if next.iter().any(|next| next.id == model.id) {
            return (Standing::Next, format!("takes the request if {} fails", chosen.name));
        }
    }
    if let Some(unmet) = narrator.requirements.and_then(|requirements| model.lacks(&requirements)) {
        return (Standing::Unable, format!("does not support {unmet}"));
    }
    let policy = match decision {
        Some(decision) => decision.policy.as_ref(),
        None => narrator.policy.as_ref(),
    };
    let Some(policy) = policy else {
        let why = match decision {
            Some(decision) => format!("{} was chosen by reason {}", decision.model.name, decision.reason),
            None => "the request is not routed to a model".to_owned(),
        };
        return (Standing::NotConsidered, why);
    };
    match role(policy, model, decision.map(|decision| decision.model.as_ref())) {
        Some(why) => (Standing::PassedOver, why),
        None => (Standing::NotConsidered, format!("{} does not have it", policy.name)),
    }
}

/// What a policy uses a model for; none if the policy does not have it.
fn role(policy: &Policy, model: &Model, chosen: Option<&Model>) -> Option<String> {
    let has = |target: &Target| target.models().any(|it| it.id == model.id);
    let routed = match &policy.chooser {
        Strategy::Labels { routes, .. } => {
            let labels = routes.iter().filter(|(_, target)| has(target)).map(|(label, _)| label.as_str());
            labels_phrase(&labels.collect::<Vec<_>>())
        }
        Strategy::Bands(bands) => {
            let mut above = None;
            let mut ranges = Vec::new();
            for (up_to, target) in bands.rows() {
                if has(target) {
                    ranges.push(range(above, up_to));
                }
                above = up_to;
            }
            (!ranges.is_empty()).then(|| format!("takes scores {}", ranges.join(" and ")))
        }
    };
    let shared = policy.targets().find(|target| {
        has(target) && chosen.is_some_and(|chosen| target.models().any(|it| it.id == chosen.id))
    });
    if let (Some(_), Some(chosen)) = (shared, chosen) {
        return Some(format!("shares these requests by weight; this conversation draws {}", chosen.name));
    }
    routed
        .or_else(|| has(&policy.default).then(|| "the policy's default".to_owned()))
        .or_else(|| {
            policy.fallbacks.iter().any(|it| it.id == model.id).then(|| "only a fallback model".to_owned())
        })
        .or_else(|| {
            policy
                .classes
                .values()
                .any(|it| it.id == model.id)
                .then(|| "only for clients that name its class".to_owned())
        })
}

fn labels_phrase(labels: &[&str]) -> Option<String> {
    let named = labels.get(..MAX_LABELS).unwrap_or(labels).join(", ");
    match labels.len() {
        0 => None,
        count if count > MAX_LABELS => Some(format!("takes {named} and {} more labels", count - MAX_LABELS)),
        _ => Some(format!("takes {named}")),
    }
}

fn range(above: Option<f32>, up_to: Option<f32>) -> String {
    match (above, up_to) {
        (Some(above), Some(up_to)) => format!("above {above} up to {up_to}"),
        (Some(above), None) => format!("above {above}"),
        (None, Some(up_to)) => format!("up to {up_to}"),
        (None, None) => "of all sizes".to_owned(),
    }
}
