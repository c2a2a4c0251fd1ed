//! A rewritten body, without a copy of unchanged bytes.

use std::mem;
use std::ops::Range;

/// A body with changes: which ranges of the original are replaced, and by what. A host that holds the original copies only the
/// parts that change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewritten {
    /// In order, and not overlapping.
    splices: Vec<(Range<usize>, Vec<u8>)>,
    length: usize,
}

impl Rewritten {
    /// The changes of an original of this length.
    pub(super) fn new(splices: Vec<(Range<usize>, Vec<u8>)>, length: usize) -> Self {
        let removed: usize = splices.iter().map(|(range, _)| range.len()).sum();
        let added: usize = splices.iter().map(|(_, with)| with.len()).sum();
        Self { splices, length: (length + added).saturating_sub(removed) }
    }

    /// The length of the rewritten body.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The end of the last change in the original. Everything after it is unchanged; [`pieces`](Self::pieces) and
    /// [`apply`](Self::apply) turn the original up to there into its replacement.
    pub fn last_change(&self) -> usize {
        self.splices.last().map_or(0, |(range, _)| range.end)
    }

    /// The rewritten body in pieces that are not empty: unchanged ranges of the original, and replacements.
    pub fn pieces<'p>(&'p self, original: &'p [u8]) -> impl Iterator<Item = &'p [u8]> {
        let mut done = 0;
        let changed = self.splices.iter().flat_map(move |(range, with)| {
            let kept = mem::replace(&mut done, range.end)..range.start;
            [original.get(kept).unwrap_or_default(), with]
        });
        let rest = original.get(self.last_change()..).unwrap_or_default();
        changed.chain([rest]).filter(|piece| !piece.is_empty())
    }

    /// The rewritten body in one piece.
    pub fn apply(&self, original: &[u8]) -> Vec<u8> {
        let mut body = Vec::with_capacity(self.pieces(original).map(<[u8]>::len).sum());
        for piece in self.pieces(original) {
            body.extend_from_slice(piece);
        }
        body
    }
}
