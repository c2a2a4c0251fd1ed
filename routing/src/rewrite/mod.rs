//! Puts the chosen model into a body by splicing its bytes: all other bytes, their order and their format stay.

mod edits;
mod restore;
mod rewritten;
mod splice;

pub use edits::BodyEdits;
pub(crate) use edits::{ValueEdit, is_same_but_for_case};
pub(crate) use restore::{MAX_SAVED, Restore, TooLarge};
pub use rewritten::Rewritten;
pub(crate) use splice::{Member, Object};
use splice::{ObjectChange, Splices};

/// The positions of a body to change, found when it was parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewrite {
    /// The members that name the model, in order.
    models: Vec<Member>,
    /// Further members to remove: routing metadata, and keys that differ from known ones in case only.
    unwanted: Vec<Member>,
    /// The whole body.
    body: Object,
    /// The body's length.
    length: usize,
}

/// How many bytes longer than the body [`Rewrite::for_model`] can make it for this model, whatever the body is.
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
    /// are removed, because parsers differ in which one counts. `unwanted`: further members to remove.
    pub(crate) fn new(models: Vec<Member>, unwanted: Vec<Member>, body: Object, length: usize) -> Self {
        Self { models, unwanted, body, length }
    }

    /// The body with the model's `model` and edits, and without unwanted members.
    ///
    /// `text` is the body that was parsed. It is read only if there are edits, and may be empty otherwise.
    pub fn for_model(&self, model: &str, edits: &BodyEdits, text: &[u8]) -> Rewritten {
        let mut splices = Splices::default();
        let mut change = if edits.is_empty() {
            ObjectChange::default()
        } else {
            edits.find(&mut splices, text, self.body)
        };
        change.removed.extend_from_slice(&self.unwanted);
        match self.models.split_last() {
            Some((last, others)) => {
                splices.replace(last.value.clone(), quoted(model));
                change.removed.extend_from_slice(others);
            }
            None => change.added.push(edits::member(MODEL, &quoted(model))),
        }
        splices.change_members(self.body, change);
        splices.rewritten(self.length)
    }

    /// The body without unwanted members, if it has some.
    pub fn without_unwanted(&self) -> Option<Rewritten> {
        if self.unwanted.is_empty() {
            return None;
        }
        let mut splices = Splices::default();
        let change = ObjectChange { removed: self.unwanted.clone(), added: Vec::new() };
        splices.change_members(self.body, change);
        Some(splices.rewritten(self.length))
    }
}

/// Where a body starts that is an object, as every body is that was parsed.
pub(crate) fn brace(body: &[u8]) -> usize {
    body.iter().position(|byte| *byte == b'{').unwrap_or_default()
}

#[cfg(test)]
mod tests;
