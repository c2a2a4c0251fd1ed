//! Splices changes into JSON text: all other bytes stay.

use std::ops::Range;

use super::Rewritten;
use crate::json::Key;

/// An object in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Object {
    /// Where it starts.
    pub(crate) brace: usize,
    /// How many members it has.
    pub(crate) members: usize,
}

/// A member of an object, by its place in the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    /// How many members of the object come before it.
    place: usize,
    /// Where the comma before it is; of the first member, where its key starts.
    comma: usize,
    /// Where its key starts.
    pub(super) key: usize,
    /// Where its value lies.
    pub(super) value: Range<usize>,
    /// Where the next member's key starts; of the last member, where its value ends.
    next: usize,
}

impl Member {
    /// The member of this key, with the place of its value.
    pub(crate) fn new(key: &Key<'_>, value: Range<usize>) -> Self {
        let next = value.end;
        Self { place: key.place, comma: key.comma.unwrap_or(key.start), key: key.start, value, next }
    }

    /// Takes note of another key of the object: it may be the next member's.
    pub(crate) fn before(&mut self, key: &Key<'_>) {
        if key.place == self.place + 1 {
            self.next = key.start;
        }
    }

    /// The same, within a text in which the object starts at `brace`.
    pub(super) fn at(mut self, brace: usize) -> Self {
        for place in
            [&mut self.comma, &mut self.key, &mut self.value.start, &mut self.value.end, &mut self.next]
        {
            *place += brace;
        }
        self
    }
}

/// The members of an object to remove and to add.
#[derive(Debug, Default)]
pub(super) struct ObjectChange {
    /// Members to remove, in any order.
    pub(super) removed: Vec<Member>,
    /// Members to put in front of the rest: each a key, a colon and a value.
    pub(super) added: Vec<Vec<u8>>,
}

/// Ranges of a text with what replaces them. They must not overlap.
#[derive(Debug, Default)]
pub(super) struct Splices(Vec<(Range<usize>, Vec<u8>)>);

impl Splices {
    pub(super) fn replace(&mut self, range: Range<usize>, with: impl Into<Vec<u8>>) {
        self.0.push((range, with.into()));
    }

    /// Changes the members of an object.
    pub(super) fn change_members(&mut self, object: Object, change: ObjectChange) {
        let ObjectChange { mut removed, added } = change;
        removed.sort_unstable_by_key(|member| member.place);
        removed.dedup_by_key(|member| member.place);
        let leading = removed.iter().zip(0..).take_while(|(member, place)| member.place == *place).count();
        if !added.is_empty() {
            let mut members = added.join(&b","[..]);
            if leading < object.members {
                members.push(b',');
            }
            self.replace(object.brace + 1..object.brace + 1, members);
        }
        // Each member goes with the comma before it; the first members, which have none before, with the one after.
        for (index, Member { comma, key, value, next, .. }) in removed.into_iter().enumerate() {
            self.replace(if index < leading { key..next } else { comma..value.end }, []);
        }
    }

    /// A text of this length with the changes.
    pub(super) fn rewritten(self, length: usize) -> Rewritten {
        let Self(mut all) = self;
        all.sort_by_key(|(range, _)| (range.start, range.end));
        all.dedup_by(|(range, with), (before, text)| {
            let is_adjacent = before.end == range.start;
            if is_adjacent {
                before.end = range.end;
                text.append(with);
            }
            is_adjacent
        });
        Rewritten::new(all, length)
    }
}
