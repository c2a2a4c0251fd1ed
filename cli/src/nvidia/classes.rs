//! Maps the classes of the blueprint to labels of the sidecar's classifiers.

use super::blueprint::Policy;

/// A classifier of the blueprint, and the head of the sidecar's model that replaces it.
#[derive(Debug, PartialEq)]
pub(super) struct Head {
    /// The head. The blueprint's classifier has the same name.
    pub(super) name: &'static str,
    /// In the order of the blueprint's classifier.
    labels: &'static [Label],
}

/// A label of a head, and its names in the blueprint.
#[derive(Debug, PartialEq)]
struct Label {
    label: &'static str,
    /// Its name in the blueprint's configuration.
    class: &'static str,
    /// Its name in the blueprint's classifier.
    target: &'static str,
}

/// A label with the same name everywhere.
const fn same(label: &'static str) -> Label {
    Label { label, class: label, target: label }
}

const fn label(label: &'static str, class: &'static str, target: &'static str) -> Label {
    Label { label, class, target }
}

const TASK: Head = Head {
    name: "task",
    labels: &[
        same("Brainstorming"),
        same("Chatbot"),
        same("Classification"),
        same("Closed QA"),
        same("Code Generation"),
        same("Extraction"),
        same("Open QA"),
        same("Other"),
        same("Rewrite"),
        same("Summarization"),
        same("Text Generation"),
        same("Unknown"),
    ],
};

const COMPLEXITY: Head = Head {
    name: "complexity",
    labels: &[
        label("creativity", "Creativity", "creativity_scope"),
        label("reasoning", "Reasoning", "reasoning"),
        label("contextual_knowledge", "Contextual-Knowledge", "contextual_knowledge"),
        label("few_shots", "Few-Shot", "number_of_few_shots"),
        label("domain_knowledge", "Domain-Knowledge", "domain_knowledge"),
        label("no_label_reason", "No-Label-Reason", "no_label_reason"),
        label("constraints", "Constraint", "constraint_ct"),
    ],
};

pub(super) const HEADS: [&Head; 2] = [&TASK, &COMPLEXITY];

/// Heads of the sidecar's own model with other labels, and the classifier by examples: a custom head must not have these names.
const TAKEN: [&str; 7] = ["task", "complexity", "domain", "safety", "pii", "win-rate", "examples"];

impl Head {
    pub(super) fn labels(&self) -> impl Iterator<Item = &'static str> {
        self.labels.iter().map(|label| label.label)
    }

    /// The labels as the blueprint's configuration names them.
    pub(super) fn classes(&self) -> impl Iterator<Item = &'static str> {
        self.labels.iter().map(|label| label.class)
    }

    /// The position of the label that a class is named after.
    pub(super) fn position(&self, class: &str) -> Option<usize> {
        let class = plain(class);
        self.labels.iter().position(|label| {
            [label.label, label.class, label.target].into_iter().any(|name| plain(name) == class)
        })
    }

    /// How many of a policy's classes are named after different labels.
    fn named(&self, policy: &Policy) -> usize {
        let mut positions: Vec<_> = policy.llms.iter().filter_map(|llm| self.position(&llm.name)).collect();
        positions.sort_unstable();
        positions.dedup();
        positions.len()
    }
}

fn plain(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

/// How a policy's classes get their labels.
#[derive(Debug, PartialEq)]
pub(super) enum Basis {
    /// The ensemble is the blueprint's: the n-th class has the n-th label, regardless of its name.
    Ensemble { head: &'static Head, ensemble: String },
    /// No ensemble is named, but the number of the classes, or most of their names, match an ensemble of the
    /// blueprint: classes have labels by position.
    Classes(&'static Head),
    /// The ensemble, if one is named, is not the blueprint's, but the classes are named after labels: classes
    /// have labels by name.
    Names { head: &'static Head, ensemble: Option<String> },
    /// The ensemble is the user's own. Its labels are assumed to be the names of the classes.
    Custom { head: String, ensemble: String },
    /// No classifier can be inferred: clients choose a class.
    Manual,
}

impl Basis {
    /// Infers the mapping from the ensemble in a policy's URL, if there is one, and from the classes.
    pub(super) fn new(policy: &Policy, ensemble: Option<String>) -> Self {
        let Some(ensemble) = ensemble else { return Self::without_ensemble(policy) };
        if let Some(head) = head_of(&ensemble) {
            return Self::Ensemble { head, ensemble };
        }
        match HEADS.into_iter().find(|head| head.named(policy) == policy.llms.len()) {
            Some(head) => Self::Names { head, ensemble: Some(ensemble) },
            None => Self::Custom { head: custom_head(&ensemble), ensemble },
        }
    }

    fn without_ensemble(policy: &Policy) -> Self {
        let count = policy.llms.len();
        let by_name = HEADS.into_iter().find(|head| head.named(policy) * 2 > count);
        let by_number = HEADS.into_iter().find(|head| head.labels.len() == count);
        match (by_name, by_number) {
            (Some(head), _) if count < head.labels.len() => Self::Names { head, ensemble: None },
            (Some(head), _) | (None, Some(head)) => Self::Classes(head),
            (None, None) => Self::Manual,
        }
    }

    /// The classifier of our policy.
    pub(super) fn classifier(&self) -> &str {
        match self {
            Self::Ensemble { head, .. } | Self::Classes(head) | Self::Names { head, .. } => head.name,
            Self::Custom { head, .. } => head,
            // A policy must have one. Without routes it decides nothing.
            Self::Manual => TASK.name,
        }
    }

    /// The label of the class with a name at a position.
    pub(super) fn label(&self, position: usize, name: &str) -> Option<String> {
        match self {
            Self::Ensemble { head, .. } | Self::Classes(head) => {
                head.labels().nth(position).map(str::to_owned)
            }
            Self::Names { head, .. } => head.labels().nth(head.position(name)?).map(str::to_owned),
            Self::Custom { .. } => Some(name.to_owned()).filter(|name| !name.is_empty()),
            Self::Manual => None,
        }
    }
}

/// The Triton ensemble in a URL: `.../v2/models/NAME/infer`, or its last part.
pub(super) fn ensemble(url: &str) -> Option<String> {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    let path =
        path.split_once("://").map_or(path, |(_, rest)| rest.split_once('/').map_or("", |(_, path)| path));
    let parts: Vec<_> = path.split('/').filter(|part| !part.is_empty()).collect();
    let after_models = parts.iter().position(|part| *part == "models").and_then(|at| parts.get(at + 1));
    let last = parts.iter().rfind(|part| **part != "infer");
    after_models.or(last).map(|name| (*name).to_owned())
}

/// The head for the blueprint's own ensembles, also if their names differ a little.
fn head_of(ensemble: &str) -> Option<&'static Head> {
    const FILLERS: [&str; 6] = ["router", "ensemble", "classifier", "model", "llm", "nvidia"];
    let lower = ensemble.to_ascii_lowercase();
    let words = lower.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let version = |word: &str| word.trim_start_matches('v').bytes().all(|byte| byte.is_ascii_digit());
    let mut telling = words.filter(|word| !FILLERS.contains(word) && !version(word));
    match (telling.next(), telling.next()) {
        (Some(word), None) => HEADS.into_iter().find(|head| head.name == word),
        _ => None,
    }
}

/// A name for the head that has to be trained: `intent` for `intent_router_ensemble`.
fn custom_head(ensemble: &str) -> String {
    let name: String = ensemble
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' })
        .collect();
    let stem = name.trim_end_matches("_ensemble").trim_end_matches("_router");
    if stem.is_empty() || TAKEN.contains(&stem) { format!("custom-{name}") } else { stem.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ensemble_is_the_model_in_the_url() {
        for (url, expected) in [
            ("http://router-server:8000/v2/models/task_router_ensemble/infer", Some("task_router_ensemble")),
            (
                "http://triton:8000/v2/models/task_router_ensemble/versions/1/infer",
                Some("task_router_ensemble"),
            ),
            ("http://{{ include \"name\" . }}-server:8000/v2/models/intent/infer", Some("intent")),
            ("http://classify/complexity_router_ensemble?timeout=1", Some("complexity_router_ensemble")),
            ("http://router-server:8000", None),
            ("", None),
        ] {
            assert_eq!(ensemble(url).as_deref(), expected, "{url}");
        }
    }

    #[test]
    fn custom_ensembles_are_distinguished_from_the_blueprints() {
        for (ensemble, expected) in [
            ("task_router_ensemble", Some("task")),
            ("complexity-router-v2", Some("complexity")),
            ("Complexity_Router_Ensemble", Some("complexity")),
            ("complexity_router_logits_ensemble", None),
            ("study_task_router_ensemble", None),
            ("intent_router_ensemble", None),
            ("router_ensemble", None),
        ] {
            assert_eq!(head_of(ensemble).map(|head| head.name), expected, "{ensemble}");
        }
    }

    #[test]
    fn a_custom_head_does_not_take_the_name_of_a_shipped_one() {
        assert_eq!(custom_head("intent_router_ensemble"), "intent");
        assert_eq!(custom_head("domain_router_ensemble"), "custom-domain_router_ensemble");
        assert_eq!(custom_head("_ensemble"), "custom-_ensemble");
        let heads = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/e5/heads");
        for head in std::fs::read_dir(heads).unwrap() {
            let name = head.unwrap().file_name().into_string().unwrap();
            assert_eq!(
                custom_head(&format!("{name}_router_ensemble")),
                format!("custom-{name}_router_ensemble")
            );
        }
    }
}
