//! Rules that choose before any classifier is asked.

use std::sync::Arc;

use regex_lite::Regex;

use super::{Policy, Target};

/// Chooses for the requests that it matches. The first rule that matches counts.
#[derive(Clone, Debug)]
pub struct Rule {
    /// What a request must be like.
    pub when: When,
    /// What then happens.
    pub then: Then,
}

/// What a rule does with a request.
#[derive(Clone, Debug)]
pub enum Then {
    /// This policy chooses, in place of the default one.
    Policy(Arc<Policy>),
    /// It goes there.
    Target(Target),
}

/// Conditions, all of which must hold. There is at least one.
#[derive(Clone, Debug, Default)]
pub struct When {
    /// Headers, by lower-case name, and their values.
    pub headers: Vec<(String, String)>,
    /// How the path starts.
    pub path_prefix: Option<String>,
    /// Found in the text that would be classified.
    pub text_matches: Option<Regex>,
    /// Whether the request brings tools.
    pub has_tools: Option<bool>,
    /// Whether the request shows images.
    pub has_images: Option<bool>,
    /// At least so many tokens, by estimate.
    pub min_tokens: Option<u64>,
    /// At most so many tokens, by estimate.
    pub max_tokens: Option<u64>,
}

/// Inputs that rule conditions match against.
pub trait MatchInput {
    /// The value of a header, if it is there and is text.
    fn header(&self, name: &str) -> Option<&str>;
    /// The path as servers understand it, without its query.
    fn path(&self) -> &str;
    /// Whether the request brings tools.
    fn has_tools(&self) -> bool;
    /// Whether the request shows images.
    fn has_images(&self) -> bool;
    /// Estimated tokens of the prompt.
    fn tokens(&self) -> u64;
    /// The text that would be classified.
    fn text(&self) -> &str;
}

impl When {
    /// Whether there is no condition.
    pub(super) fn is_empty(&self) -> bool {
        self.headers.is_empty()
            && self.path_prefix.is_none()
            && self.text_matches.is_none()
            && self.has_tools.is_none()
            && self.has_images.is_none()
            && self.min_tokens.is_none()
            && self.max_tokens.is_none()
    }

    /// Whether all conditions hold. The text comes last, as it costs most.
    pub fn matches(&self, input: &impl MatchInput) -> bool {
        self.headers.iter().all(|(name, value)| input.header(name) == Some(value.as_str()))
            && self.path_prefix.as_deref().is_none_or(|prefix| starts_with(input.path(), prefix))
            && self.has_tools.is_none_or(|wanted| input.has_tools() == wanted)
            && self.has_images.is_none_or(|wanted| input.has_images() == wanted)
            && self.min_tokens.is_none_or(|least| input.tokens() >= least)
            && self.max_tokens.is_none_or(|most| input.tokens() <= most)
            && self.text_matches.as_ref().is_none_or(|regex| regex.is_match(input.text()))
    }
}

/// Whether a path starts so. Letters may be of any case: some servers make no difference.
fn starts_with(path: &str, prefix: &str) -> bool {
    path.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}
