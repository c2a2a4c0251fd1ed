//! Puts the chosen model into a body by splicing its bytes: all other bytes, their order and their format stay.

mod edits;
mod restore;
mod splice;

pub use edits::BodyEdits;
pub(crate) use edits::{ValueEdit, is_same_but_for_case};
pub(crate) use restore::Restore;
pub(crate) use splice::Member;
use splice::{ObjectChange, Splices};

/// The places of a body to change, found when it was parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewrite {
    /// The members that name the model, in order.
    models: Vec<Member>,
    /// The members with routing metadata.
    metadata: Vec<Member>,
}

/// How many bytes longer than the body [`Rewrite::apply`] can make it for this model, whatever the body is.
pub fn growth(model: &str, edits: &BodyEdits) -> usize {
    edits::member(MODEL, &quoted(model)).len() + ",".len() + edits.growth()
}

const MODEL: &str = "model";

fn quoted(text: &str) -> String {
    // A string always serializes.
    serde_json::to_string(text).unwrap_or_default()
}

impl Rewrite {
    /// `models`: the members that name the model, in order; the last stays, and gets the chosen one's name. The others
    /// are removed: they would only leave it to the LLM's parser which counts. `metadata`: further members to remove.
    pub(crate) fn new(models: Vec<Member>, metadata: Vec<Member>) -> Self {
        Self { models, metadata }
    }

    /// The body with `model` as the LLM's API wants it, with that model's edits, and without routing metadata. `body`
    /// must be the one that was parsed.
    pub fn apply(&self, body: &[u8], model: &str, edits: &BodyEdits) -> Vec<u8> {
        let mut splices = Splices::new(body);
        let brace = brace(body).unwrap_or(0);
        let mut change =
            if edits.is_empty() { ObjectChange::default() } else { edits.find(&mut splices, body, brace) };
        change.removed.extend_from_slice(&self.metadata);
        match self.models.split_last() {
            Some((last, others)) => {
                splices.replace(last.value.clone(), quoted(model).into_bytes());
                change.removed.extend_from_slice(others);
            }
            None => change.added.push(edits::member(MODEL, &quoted(model))),
        }
        splices.change_members(brace, change);
        splices.apply()
    }

    /// The body without routing metadata, if it has some. `body` must be the one that was parsed.
    pub fn without_metadata(&self, body: &[u8]) -> Option<Vec<u8>> {
        if self.metadata.is_empty() {
            return None;
        }
        let mut splices = Splices::new(body);
        let change = ObjectChange { removed: self.metadata.clone(), added: Vec::new() };
        splices.change_members(brace(body)?, change);
        Some(splices.apply())
    }
}

/// Where a body starts that is an object, as every body is that was parsed.
fn brace(body: &[u8]) -> Option<usize> {
    body.iter().position(|byte| *byte == b'{')
}

#[cfg(test)]
mod tests;
