//! Reverts a model's edits: a retry goes to another model, which gets the client's members with its own edits.

use serde::{Deserialize, Serialize};

use super::edits::{is_same_but_for_case, members};
use super::splice::{ObjectChange, Splices};
use super::{BodyEdits, brace};

/// What a body had where a model's edits changed it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Restore {
    /// The keys of all members that the edits can have changed, whatever their case.
    keys: Vec<String>,
    /// These members as the client wrote them, in order. Bytes that are no UTF-8, which JSON must be, are replaced.
    members: Vec<String>,
}

impl Restore {
    /// What `edits` can change of the client's body; none if there are no edits.
    pub(crate) fn new(edits: &BodyEdits, body: &[u8]) -> Option<Self> {
        if edits.is_empty() {
            return None;
        }
        let keys: Vec<_> = edits.keys().map(str::to_owned).collect();
        let mut originals = Vec::new();
        // The body was parsed before, so it is whole.
        let _ = members(body, brace(body), |name, member| {
            if is_one_of(name, &keys) {
                let written = body.get(member.key..member.value.end).unwrap_or_default();
                originals.push(String::from_utf8_lossy(written).into_owned());
            }
        });
        Some(Self { keys, members: originals })
    }

    /// The edited body with the client's members.
    pub(crate) fn apply(&self, edited: &[u8]) -> Vec<u8> {
        let mut removed = Vec::new();
        let body = members(edited, brace(edited), |name, member| {
            if is_one_of(name, &self.keys) {
                removed.push(member);
            }
        });
        let Ok(body) = body else { return edited.to_vec() };
        let added = self.members.iter().map(|member| member.clone().into_bytes()).collect();
        let mut splices = Splices::default();
        splices.change_members(body, ObjectChange { removed, added });
        splices.rewritten(edited.len()).apply(edited)
    }
}

fn is_one_of(name: &[u8], keys: &[String]) -> bool {
    keys.iter().any(|key| is_same_but_for_case(name, key))
}
