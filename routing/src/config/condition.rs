//! Conditions of rules: on the request, and on what classifiers predict for its prompt.

use std::sync::Arc;

use ipnet::IpNet;
use regex_lite::Regex;

use crate::context::{Attribute, ContextKeys, MetadataKey, RequestContext, Scalar, ip_address};

/// A condition.
#[derive(Clone, Debug)]
pub enum Condition {
    /// All of these match.
    All(Vec<Self>),
    /// At least one of these matches.
    Any(Vec<Self>),
    /// This does not match.
    Not(Box<Self>),
    /// On the request.
    Request(RequestCondition),
    /// On a prediction.
    Head(Arc<HeadCondition>),
}

/// A condition that the request alone decides.
#[derive(Clone, Debug)]
pub enum RequestCondition {
    /// A header, by lower-case name, has exactly this value.
    Header(String, String),
    /// The attribute in Envoy with this name is one of these.
    Attribute(Attribute, AttributeTest),
    /// The value in Envoy's dynamic metadata, or one of a list there, is one of these.
    Metadata(Arc<MetadataKey>, Vec<Scalar>),
    /// The path starts with this.
    PathPrefix(String),
    /// The prompt's text has a match.
    TextMatches(Regex),
    /// Whether the request has tools.
    HasTools(bool),
    /// Whether the request has images.
    HasImages(bool),
    /// This number of tokens or more, by estimate.
    MinTokens(u64),
    /// This number of tokens or fewer, by estimate.
    MaxTokens(u64),
}

/// The expected value of an attribute. An unknown value does not match.
#[derive(Clone, Debug, PartialEq)]
pub enum AttributeTest {
    /// One of these.
    AnyOf(Vec<Scalar>),
    /// A text that starts with this.
    Prefix(String),
    /// An address in one of these networks.
    Networks(Vec<IpNet>),
}

/// A condition on what a head of the sidecar's model predicts.
#[derive(Clone, Debug, PartialEq)]
pub struct HeadCondition {
    /// The head's name.
    pub head: String,
    /// The expected prediction.
    pub test: HeadTest,
}

/// The expected prediction of a head.
#[derive(Clone, Debug, PartialEq)]
pub enum HeadTest {
    /// Its best label is one of these.
    Labels(Vec<String>),
    /// A number is above the first bound and below the second.
    Range {
        /// The labels whose probabilities are added. For a head with a score, the dimensions whose maximum is used. If empty,
        /// the number is the score, or the probability of the best label.
        of: Vec<String>,
        /// The number must be above this.
        above: Option<f32>,
        /// The number must be below this.
        below: Option<f32>,
    },
}

/// Inputs that conditions on the request are matched against.
pub trait MatchInput {
    /// The value of a header, if it is there and is text.
    fn header(&self, name: &str) -> Option<&str>;
    /// The attributes and metadata of the request in Envoy.
    fn context(&self) -> &RequestContext;
    /// Whether the client's path, or the path that the LLM gets, starts with this prefix.
    fn path_starts_with(&self, prefix: &str) -> bool;
    /// Whether the request has tools.
    fn has_tools(&self) -> bool;
    /// Whether the request has images.
    fn has_images(&self) -> bool;
    /// Estimated tokens of the prompt.
    fn tokens(&self) -> u64;
    /// The prompt's text.
    fn text(&self) -> &str;
}

/// The part of a condition that is still undecided once the request is known.
#[derive(Clone, Debug, PartialEq)]
pub enum Residual {
    /// All of these must match.
    All(Vec<Self>),
    /// At least one of these must match.
    Any(Vec<Self>),
    /// This must not match.
    Not(Box<Self>),
    /// A prediction decides.
    Head(Arc<HeadCondition>),
}

impl Condition {
    /// Whether the condition matches the request, or the part that predictions must decide.
    pub fn reduce(&self, input: &impl MatchInput) -> Result<bool, Residual> {
        match self {
            Self::All(all) => reduce_all(all, false, input, Residual::All),
            Self::Any(any) => reduce_all(any, true, input, Residual::Any),
            Self::Not(inner) => match inner.reduce(input) {
                Ok(holds) => Ok(!holds),
                Err(residual) => Err(Residual::Not(Box::new(residual))),
            },
            Self::Request(condition) => Ok(condition.holds(input)),
            Self::Head(condition) => Err(Residual::Head(Arc::clone(condition))),
        }
    }

    /// Whether the condition matches, whatever the prompt's text is and whatever classifiers predict; `None` if they decide.
    pub fn matches_without_text(&self, input: &impl MatchInput) -> Option<bool> {
        match self {
            Self::All(all) => join(all.iter().map(|it| it.matches_without_text(input)), false),
            Self::Any(any) => join(any.iter().map(|it| it.matches_without_text(input)), true),
            Self::Not(inner) => inner.matches_without_text(input).map(|matches| !matches),
            Self::Request(RequestCondition::TextMatches(_)) | Self::Head(_) => None,
            Self::Request(condition) => Some(condition.holds(input)),
        }
    }

    /// Its conditions on heads.
    pub fn heads(&self) -> Vec<&Arc<HeadCondition>> {
        match self {
            Self::All(all) | Self::Any(all) => all.iter().flat_map(Self::heads).collect(),
            Self::Not(inner) => inner.heads(),
            Self::Request(_) => Vec::new(),
            Self::Head(condition) => vec![condition],
        }
    }

    /// The attributes and metadata that it reads.
    pub(super) fn context_keys(&self, keys: &mut ContextKeys) {
        match self {
            Self::All(all) | Self::Any(all) => all.iter().for_each(|it| it.context_keys(keys)),
            Self::Not(inner) => inner.context_keys(keys),
            Self::Request(RequestCondition::Attribute(attribute, _)) => {
                if !keys.attributes.contains(attribute) {
                    keys.attributes.push(*attribute);
                }
            }
            Self::Request(RequestCondition::Metadata(key, _)) => {
                if let Err(place) = keys.metadata.binary_search(key) {
                    keys.metadata.insert(place, Arc::clone(key));
                }
            }
            Self::Request(_) | Self::Head(_) => {}
        }
    }

    /// Whether it depends on the messages of a request.
    pub fn reads_messages(&self) -> bool {
        match self {
            Self::All(all) | Self::Any(all) => all.iter().any(Self::reads_messages),
            Self::Not(inner) => inner.reads_messages(),
            Self::Request(condition) => matches!(
                condition,
                RequestCondition::TextMatches(_)
                    | RequestCondition::HasImages(_)
                    | RequestCondition::MinTokens(_)
                    | RequestCondition::MaxTokens(_)
            ),
            Self::Head(_) => true,
        }
    }

    /// The order in which conditions that must all match are compared: cheap ones first.
    pub(super) fn cost(&self) -> u8 {
        match self {
            Self::Request(RequestCondition::TextMatches(_)) => 2,
            Self::Request(_) => 0,
            Self::All(all) | Self::Any(all) => all.iter().map(Self::cost).max().unwrap_or(0).max(1),
            Self::Not(inner) => inner.cost(),
            Self::Head(_) => 3,
        }
    }
}

/// Several conditions. One that is `decisive` decides for all.
fn reduce_all(
    all: &[Condition],
    decisive: bool,
    input: &impl MatchInput,
    join: fn(Vec<Residual>) -> Residual,
) -> Result<bool, Residual> {
    let mut open = Vec::new();
    for condition in all {
        match condition.reduce(input) {
            Ok(holds) if holds == decisive => return Ok(decisive),
            Ok(_) => {}
            Err(residual) => open.push(residual),
        }
    }
    if open.is_empty() { Ok(!decisive) } else { Err(join(open)) }
}

impl RequestCondition {
    fn holds(&self, input: &impl MatchInput) -> bool {
        match self {
            Self::Header(name, value) => input.header(name) == Some(value.as_str()),
            Self::Attribute(attribute, test) => {
                input.context().attribute(*attribute).is_some_and(|value| test.holds(value))
            }
            Self::Metadata(key, wanted) => {
                input.context().metadata(key).iter().any(|value| wanted.contains(value))
            }
            Self::PathPrefix(prefix) => input.path_starts_with(prefix),
            Self::TextMatches(regex) => regex.is_match(input.text()),
            Self::HasTools(wanted) => input.has_tools() == *wanted,
            Self::HasImages(wanted) => input.has_images() == *wanted,
            Self::MinTokens(least) => input.tokens() >= *least,
            Self::MaxTokens(most) => input.tokens() <= *most,
        }
    }
}

impl AttributeTest {
    fn holds(&self, value: &Scalar) -> bool {
        match (self, value) {
            (Self::AnyOf(wanted), value) => wanted.contains(value),
            (Self::Prefix(prefix), Scalar::Text(text)) => text.starts_with(prefix),
            (Self::Networks(networks), Scalar::Text(text)) => {
                ip_address(text).is_some_and(|address| networks.iter().any(|it| it.contains(&address)))
            }
            _ => false,
        }
    }
}

impl Residual {
    /// Whether it matches, given the results of `holds` for conditions on heads; `None` if that depends on unknown results.
    pub fn evaluate(&self, holds: &mut impl FnMut(&HeadCondition) -> Option<bool>) -> Option<bool> {
        match self {
            Self::All(all) => join(all.iter().map(|it| it.evaluate(holds)), false),
            Self::Any(any) => join(any.iter().map(|it| it.evaluate(holds)), true),
            Self::Not(inner) => inner.evaluate(holds).map(|held| !held),
            Self::Head(condition) => holds(condition),
        }
    }

    /// The heads that it reads.
    pub fn heads(&self) -> Vec<&str> {
        match self {
            Self::All(all) | Self::Any(all) => all.iter().flat_map(Self::heads).collect(),
            Self::Not(inner) => inner.heads(),
            Self::Head(condition) => vec![condition.head.as_str()],
        }
    }
}

/// Several results; some may be unknown. One that is `decisive` decides for all.
fn join(results: impl Iterator<Item = Option<bool>>, decisive: bool) -> Option<bool> {
    let mut joined = Some(!decisive);
    for result in results {
        match result {
            Some(held) if held == decisive => return Some(decisive),
            Some(_) => {}
            None => joined = None,
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Default)]
    struct Input {
        has_tools: bool,
        context: RequestContext,
    }

    impl MatchInput for Input {
        fn header(&self, _: &str) -> Option<&str> {
            None
        }
        fn context(&self) -> &RequestContext {
            &self.context
        }
        fn path_starts_with(&self, _: &str) -> bool {
            false
        }
        fn has_tools(&self) -> bool {
            self.has_tools
        }
        fn has_images(&self) -> bool {
            false
        }
        fn tokens(&self) -> u64 {
            0
        }
        fn text(&self) -> &str {
            ""
        }
    }

    fn head(name: u8) -> Arc<HeadCondition> {
        Arc::new(HeadCondition { head: name.to_string(), test: HeadTest::Labels(Vec::new()) })
    }

    fn any_condition() -> impl Strategy<Value = Condition> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(|wanted| Condition::Request(RequestCondition::HasTools(wanted))),
            (0_u8..4).prop_map(|name| Condition::Head(head(name))),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 1..4).prop_map(Condition::All),
                prop::collection::vec(inner.clone(), 1..4).prop_map(Condition::Any),
                inner.prop_map(|inner| Condition::Not(Box::new(inner))),
            ]
        })
    }

    fn plain(condition: &Condition, tools: bool, heads: [bool; 4]) -> bool {
        match condition {
            Condition::All(all) => all.iter().all(|it| plain(it, tools, heads)),
            Condition::Any(any) => any.iter().any(|it| plain(it, tools, heads)),
            Condition::Not(inner) => !plain(inner, tools, heads),
            Condition::Request(RequestCondition::HasTools(wanted)) => tools == *wanted,
            Condition::Request(_) => unreachable!(),
            Condition::Head(head) => heads[head.head.parse::<usize>().unwrap()],
        }
    }

    proptest! {
        /// In two steps, with some predictions missing, the result is the same or unknown.
        #[test]
        fn what_is_known_decides_as_all_would(
            condition in any_condition(), has_tools: bool, heads: [bool; 4], known: [bool; 4],
        ) {
            let expected = plain(&condition, has_tools, heads);
            match condition.reduce(&Input { has_tools, ..Input::default() }) {
                Ok(holds) => prop_assert_eq!(holds, expected),
                Err(residual) => {
                    let index = |head: &HeadCondition| head.head.parse::<usize>().unwrap();
                    let all = residual.evaluate(&mut |head| Some(heads[index(head)]));
                    prop_assert_eq!(all, Some(expected));
                    let some = residual.evaluate(&mut |head| known[index(head)].then_some(heads[index(head)]));
                    prop_assert!(some.is_none() || some == Some(expected));
                }
            }
        }
    }
}
