//! Reverts a model's edits: a retry goes to another model, which gets the client's members with its own edits.

use serde::{Deserialize, Serialize};

use super::edits::{is_same_but_for_case, members};
use super::splice::{ObjectChange, Splices};
use super::{BodyEdits, brace};

/// The most bytes of a client's members, in JSON, that are kept for retries. Envoy holds them in memory until the request is over, and
/// in JSON within JSON they can be much longer than in the body.
pub(crate) const MAX_SAVED: usize = 64 << 10;

/// The members that a model's edits can change are larger than [`MAX_SAVED`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooLarge;

/// What a body had where a model's edits changed it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Restore {
    /// The keys of all members that the edits can have changed, whatever their case.
    keys: Vec<String>,
    /// These members as the client wrote them, in order. Invalid UTF-8, which JSON does not allow, is replaced.
    members: Vec<String>,
}

impl Restore {
    /// What `edits` can change of the client's body; none if there are no edits.
    ///
    /// # Errors
    /// If that is too large.
    pub(crate) fn new(edits: &BodyEdits, body: &[u8]) -> Result<Option<Self>, TooLarge> {
        if edits.is_empty() {
            return Ok(None);
        }
        let keys: Vec<_> = edits.keys().map(str::to_owned).collect();
        let mut originals = Vec::new();
        let mut length = 0;
        // The body was parsed before, so it is whole.
        let _ = members(body, brace(body), |name, member| {
            if is_one_of(name, &keys) {
                let written = body.get(member.key..member.value.end).unwrap_or_default();
                length += written.len();
                if length <= MAX_SAVED {
                    originals.push(String::from_utf8_lossy(written).into_owned());
                }
            }
        });
        if length > MAX_SAVED || json_length(&originals) > MAX_SAVED {
            return Err(TooLarge);
        }
        Ok(Some(Self { keys, members: originals }))
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

fn json_length(texts: &[String]) -> usize {
    // Texts always serialize.
    serde_json::to_vec(texts).map_or(usize::MAX, |json| json.len())
}

fn is_one_of(name: &[u8], keys: &[String]) -> bool {
    keys.iter().any(|key| is_same_but_for_case(name, key))
}
