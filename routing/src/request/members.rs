//! The members of a body that change before an LLM gets it.

use std::ops::Range;

use crate::json::Key;
use crate::rewrite::Member;

/// Collects the members to change and to remove. Of several with one name, only the last that routing reads stays: parsers
/// differ in which one counts, and some merge them.
pub(super) struct Members<const FIELDS: usize> {
    unwanted: Vec<Member>,
    /// The last member that names the model.
    model: Option<Member>,
    /// For each other field that routing reads, its last member.
    last: [Option<Member>; FIELDS],
    /// The newest member: only the next key shows where it ends.
    newest: Option<(Fate, Member)>,
}

/// The members that change.
pub(super) struct Changed {
    /// The member that gets the chosen model's name.
    pub(super) model: Option<Member>,
    /// The members to remove.
    pub(super) unwanted: Vec<Member>,
}

/// What happens to a member.
#[derive(Clone, Copy)]
pub(super) enum Fate {
    /// It gets the chosen model's name, unless a later one does.
    Model,
    /// It stays, unless a later one has the same name. The number identifies the field.
    Stays(usize),
    /// It is removed.
    Removed,
}

impl<const FIELDS: usize> Members<FIELDS> {
    pub(super) fn new() -> Self {
        Self { unwanted: Vec::new(), model: None, last: [const { None }; FIELDS], newest: None }
    }

    /// Takes note of a key, which may end the member before it.
    pub(super) fn at_key(&mut self, key: &Key<'_>) {
        if let Some((_, member)) = &mut self.newest {
            member.before(key);
        }
        self.settle();
    }

    /// Adds the member of the key that was noted last.
    pub(super) fn push(&mut self, fate: Fate, key: &Key<'_>, value: Range<usize>) {
        self.newest = Some((fate, Member::new(key, value)));
    }

    /// The members that change, after the last key.
    pub(super) fn finish(mut self) -> Changed {
        self.settle();
        Changed { model: self.model, unwanted: self.unwanted }
    }

    fn settle(&mut self) {
        let Some((fate, member)) = self.newest.take() else { return };
        let last = match fate {
            Fate::Model => Some(&mut self.model),
            Fate::Stays(field) => self.last.get_mut(field),
            Fate::Removed => None,
        };
        self.unwanted.extend(match last {
            Some(last) => last.replace(member),
            None => Some(member),
        });
    }
}
