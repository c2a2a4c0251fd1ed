//! How a classifier's prediction selects a model.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Classifier, Model, PolicyId, PolicyName};

/// Routes a prompt by the prediction of a classifier.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Its position among the configuration's policies.
    pub id: PolicyId,
    /// The name that clients and metrics use.
    pub name: PolicyName,
    /// The classifier.
    pub classifier: Classifier,
    /// How the classifier's predictions select a model.
    pub chooser: Strategy,
    /// The target of all other requests.
    pub default: Target,
    /// The fallback models, best first, for requests that the chosen model does not support; without the chosen model.
    pub fallbacks: Vec<Arc<Model>>,
    /// Class names that only manual routing uses, with their models.
    pub classes: BTreeMap<String, Arc<Model>>,
    /// The policy that is compared with this one, without a candidate of its own; none if nothing is compared.
    pub candidate: Option<Arc<Policy>>,
}

/// The name in metrics of all labels without a route.
const UNROUTED: &str = "unrouted";

/// How a classifier's predictions select a model.
#[derive(Clone, Debug, PartialEq)]
pub enum Strategy {
    /// A target for each label.
    Labels {
        /// By label.
        routes: BTreeMap<String, Target>,
        /// Below this probability, 0 to 1, the policy uses its default.
        min_confidence: f32,
    },
    /// A target for each range of the score, cheapest first.
    Bands(Bands),
}

/// Ranges that together cover all scores.
#[derive(Clone, Debug, PartialEq)]
pub struct Bands {
    /// Ordered by their bounds.
    pub(super) bounded: Vec<Band>,
    pub(super) last: Target,
}

/// The range of scores from the band before up to a bound.
#[derive(Clone, Debug, PartialEq)]
pub struct Band {
    /// The upper bound of the band, inclusive.
    pub up_to: f32,
    /// Their target.
    pub target: Target,
}

impl Bands {
    /// The target of a score.
    pub fn target(&self, score: f32) -> &Target {
        self.bounded.iter().find(|band| score <= band.up_to).map_or(&self.last, |band| &band.target)
    }

    /// The target of a score if the request sets the bound between two bands. None if the policy has more or fewer bands,
    /// because the bound would be ambiguous.
    pub fn target_by_threshold(&self, score: f32, threshold: f32) -> Option<&Target> {
        match self.bounded.as_slice() {
            [only] => Some(if score <= threshold { &only.target } else { &self.last }),
            _ => None,
        }
    }

    /// The strength of a model among them: the position of the last band that has it.
    pub fn rank(&self, model: &Model) -> Option<usize> {
        let bands = self.rows().enumerate();
        bands
            .filter(|(_, (_, target))| target.models().any(|it| it.id == model.id))
            .map(|(index, _)| index)
            .last()
    }

    /// The bands in order, each with its upper bound; the last has none.
    pub fn rows(&self) -> impl Iterator<Item = (Option<f32>, &Target)> {
        let bounded = self.bounded.iter().map(|band| (Some(band.up_to), &band.target));
        bounded.chain([(None, &self.last)])
    }
}

/// A model, or several that share the requests by weight.
#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    /// Always this one.
    Model(Arc<Model>),
    /// One of these, by weight; there is at least one.
    Weighted(Vec<Weighted>),
}

/// A model with its fraction of a target's requests.
#[derive(Clone, Debug, PartialEq)]
pub struct Weighted {
    /// The model.
    pub model: Arc<Model>,
    /// Its weight, relative to the others'.
    pub weight: u32,
}

impl Target {
    /// The model for a conversation: the same conversation always gets the same one. `draw` is the hash of the
    /// identity of the conversation.
    pub fn pick(&self, draw: u64) -> Option<&Arc<Model>> {
        match self {
            Self::Model(model) => Some(model),
            Self::Weighted(shares) => {
                let total: u64 = shares.iter().map(|share| u64::from(share.weight)).sum();
                let mut left = draw.checked_rem(total)?;
                let share = shares.iter().find(|share| match left.checked_sub(u64::from(share.weight)) {
                    Some(rest) => {
                        left = rest;
                        false
                    }
                    None => true,
                });
                share.map(|share| &share.model)
            }
        }
    }

    /// All models of the target.
    pub fn models(&self) -> impl Iterator<Item = &Arc<Model>> {
        let (one, several) = match self {
            Self::Model(model) => (Some(model), [].as_slice()),
            Self::Weighted(shares) => (None, shares.as_slice()),
        };
        one.into_iter().chain(several.iter().map(|share| &share.model))
    }
}

impl Policy {
    /// The model that manual routing selects by a class's name: one of the policy's `classes`, or a routed label.
    pub fn class(&self, name: &str) -> Option<&Arc<Model>> {
        let routed = || match &self.chooser {
            Strategy::Labels { routes, .. } => routes.get(name)?.models().next(),
            Strategy::Bands(_) => None,
        };
        self.classes.get(name).or_else(routed)
    }

    /// Its bands, if it routes by a score.
    pub fn bands(&self) -> Option<&Bands> {
        match &self.chooser {
            Strategy::Labels { .. } => None,
            Strategy::Bands(bands) => Some(bands),
        }
    }

    /// The position of a label among those with a route; none without a route.
    pub fn label_index(&self, label: &str) -> Option<usize> {
        match &self.chooser {
            Strategy::Labels { routes, .. } => routes.keys().position(|routed| routed == label),
            Strategy::Bands(_) => None,
        }
    }

    /// The label at a [`Policy::label_index`] as metrics have it: `unrouted` for those without a route. The configuration bounds
    /// the number of labels, whatever a classifier predicts.
    pub fn metric_label(&self, index: Option<usize>) -> &str {
        let routed = match &self.chooser {
            Strategy::Labels { routes, .. } => index.and_then(|index| routes.keys().nth(index)),
            Strategy::Bands(_) => None,
        };
        routed.map_or(UNROUTED, String::as_str)
    }

    /// All models that the policy may choose by itself, some more than once.
    pub fn models(&self) -> impl Iterator<Item = &Arc<Model>> {
        self.targets().flat_map(Target::models)
    }

    /// Whether one of its targets distributes requests by weight.
    pub(super) fn is_weighted(&self) -> bool {
        self.targets().any(|target| matches!(target, Target::Weighted(_)))
    }

    pub(crate) fn targets(&self) -> impl Iterator<Item = &Target> {
        let routed: Vec<&Target> = match &self.chooser {
            Strategy::Labels { routes, .. } => routes.values().collect(),
            Strategy::Bands(bands) => bands.rows().map(|(_, target)| target).collect(),
        };
        routed.into_iter().chain([&self.default])
    }
}

#[cfg(test)]
mod tests {
    use super::super::ModelId;
    use super::*;

    fn model(name: &str) -> Arc<Model> {
        Arc::new(Model {
            id: ModelId(0),
            name: name.into(),
            cluster: name.to_owned(),
            upstream: name.to_owned(),
            api: Default::default(),
            capabilities: None,
            context: None,
            cost: None,
            base_path: None,
            host: None,
            body: Default::default(),
        })
    }

    fn target(name: &str) -> Target {
        Target::Model(model(name))
    }

    #[test]
    fn weights_share_the_draws() {
        let share = |name, weight| Weighted { model: model(name), weight };
        let target = Target::Weighted(vec![share("a", 1), share("none", 0), share("b", 3)]);
        let picked: Vec<_> = (0..8).map(|draw| target.pick(draw).unwrap().name.as_str().to_owned()).collect();
        assert_eq!(picked, ["a", "b", "b", "b", "a", "b", "b", "b"]);
    }

    #[test]
    fn labels_without_a_route_are_counted_as_one() {
        let policy = |chooser| Policy {
            id: PolicyId(0),
            name: "p".into(),
            classifier: "task".into(),
            chooser,
            default: target("small"),
            fallbacks: vec![],
            classes: BTreeMap::new(),
            candidate: None,
        };
        let routes = BTreeMap::from([("Code Generation".to_owned(), target("large"))]);
        let labels = policy(Strategy::Labels { routes, min_confidence: 0.0 });
        assert_eq!(labels.metric_label(labels.label_index("Code Generation")), "Code Generation");
        assert_eq!(labels.metric_label(labels.label_index("Poetry")), UNROUTED);
        let bands = policy(Strategy::Bands(Bands { bounded: vec![], last: target("large") }));
        assert_eq!(bands.metric_label(bands.label_index("reasoning")), UNROUTED);
    }

    #[test]
    fn a_score_falls_into_the_first_band_that_reaches_up_to_it() {
        let band = |up_to, name| Band { up_to, target: target(name) };
        let bands = Bands { bounded: vec![band(0.3, "small"), band(0.6, "middle")], last: target("large") };
        for (score, name) in
            [(0.0, "small"), (0.3, "small"), (0.31, "middle"), (0.61, "large"), (1.0, "large")]
        {
            assert_eq!(bands.target(score), &target(name));
        }
    }

    #[test]
    fn a_threshold_is_the_bound_between_two_bands() {
        let bands =
            Bands { bounded: vec![Band { up_to: 0.5, target: target("small") }], last: target("large") };
        assert_eq!(bands.target_by_threshold(0.6, 0.7), Some(&target("small")));
        assert_eq!(bands.target_by_threshold(0.6, 0.5), Some(&target("large")));
        let one = Bands { bounded: vec![], last: target("large") };
        assert_eq!(one.target_by_threshold(0.6, 0.5), None);
    }
}
