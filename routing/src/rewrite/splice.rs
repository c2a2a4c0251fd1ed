//! Splices changes into JSON text: all other bytes stay.

use std::borrow::Cow;
use std::ops::Range;

/// A member of an object, by its place in the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    /// How many members of the object come before it.
    pub(crate) place: usize,
    /// Where its key starts.
    pub(crate) key: usize,
    /// Where its value lies.
    pub(crate) value: Range<usize>,
}

/// Which members of an object go and come.
#[derive(Debug, Default)]
pub(super) struct ObjectChange {
    /// Members to remove, in any order.
    pub(super) removed: Vec<Member>,
    /// Members to put in front of the rest: each a key, a colon and a value.
    pub(super) added: Vec<Vec<u8>>,
}

/// Ranges of a text with what replaces them. They must not overlap.
#[derive(Debug)]
pub(super) struct Splices<'a> {
    text: &'a [u8],
    all: Vec<(Range<usize>, Cow<'a, [u8]>)>,
}

impl<'a> Splices<'a> {
    /// None yet.
    pub(super) fn new(text: &'a [u8]) -> Self {
        Self { text, all: Vec::new() }
    }

    pub(super) fn replace(&mut self, range: Range<usize>, with: impl Into<Cow<'a, [u8]>>) {
        self.all.push((range, with.into()));
    }

    /// Changes the members of the object that starts at `brace`.
    pub(super) fn change_members(&mut self, brace: usize, change: ObjectChange) {
        let ObjectChange { mut removed, added } = change;
        removed.sort_unstable_by_key(|member| member.place);
        let leading = removed.iter().zip(0..).take_while(|(member, place)| member.place == *place).count();
        let end = leading.checked_sub(1).and_then(|last| removed.get(last)).map(|member| member.value.end);
        let is_emptied = self.byte_after_space(end.unwrap_or(brace + 1)) == Some(b'}');
        if !added.is_empty() {
            let mut members = added.join(&b","[..]);
            if !is_emptied {
                members.push(b',');
            }
            self.replace(brace + 1..brace + 1, members);
        }
        // Each member goes with the comma before it; the first members, which have none before, with the one after.
        for (index, Member { key, value, .. }) in removed.into_iter().enumerate() {
            let range = if index < leading {
                key..self.after_comma(value.end)
            } else {
                self.before_comma(key)..value.end
            };
            self.replace(range, &b""[..]);
        }
    }

    /// The text with the changes.
    pub(super) fn apply(mut self) -> Vec<u8> {
        self.all.sort_by_key(|(range, _)| (range.start, range.end));
        let added: usize = self.all.iter().map(|(_, with)| with.len()).sum();
        let mut spliced = Vec::with_capacity(self.text.len() + added);
        let mut done = 0;
        for (range, with) in &self.all {
            spliced.extend_from_slice(self.text.get(done..range.start).unwrap_or_default());
            spliced.extend_from_slice(with);
            done = range.end;
        }
        spliced.extend_from_slice(self.text.get(done..).unwrap_or_default());
        spliced
    }

    /// Only white space stands between the comma and the key.
    fn before_comma(&self, key: usize) -> usize {
        let before = self.text.get(..key).unwrap_or_default();
        before.iter().rposition(|byte| *byte == b',').unwrap_or(key)
    }

    /// After the comma and the white space that follow a value; before what else follows it.
    fn after_comma(&self, value_end: usize) -> usize {
        let next = self.after_space(value_end);
        if self.text.get(next) == Some(&b',') { self.after_space(next + 1) } else { value_end }
    }

    fn byte_after_space(&self, from: usize) -> Option<u8> {
        self.text.get(self.after_space(from)).copied()
    }

    fn after_space(&self, from: usize) -> usize {
        let rest = self.text.get(from..).unwrap_or_default();
        from + rest.iter().take_while(|byte| byte.is_ascii_whitespace()).count()
    }
}
