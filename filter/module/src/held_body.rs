//! The body of a request while the filter holds it.

/// The reservation for the first chunk.
const FIRST: usize = 64 << 10;
/// The factor by which each further reservation grows.
const GROWTH: usize = 4;

/// A body that grows by chunks.
///
/// It reserves memory as the body arrives, not by the length that the client announces: huge pages can make reserved memory
/// resident, and announcing a length costs a client nothing.
#[derive(Debug, Default)]
pub(crate) struct HeldBody {
    bytes: Vec<u8>,
    /// The length that the client announces; 0 if it announces none.
    announced: usize,
}

impl HeldBody {
    /// An empty body.
    pub(crate) fn new(announced: Option<usize>) -> Self {
        Self { bytes: Vec::new(), announced: announced.unwrap_or(0) }
    }

    /// Adds a piece.
    pub(crate) fn push(&mut self, piece: &[u8]) {
        let needed = self.bytes.len().saturating_add(piece.len());
        if needed > self.bytes.capacity() {
            let ahead = self.bytes.capacity().saturating_mul(GROWTH).max(FIRST);
            // No more than the announced length arrives. A body without one may be small.
            let wanted = if self.announced > 0 {
                ahead.min(self.announced)
            } else {
                ahead.min(needed.saturating_mul(2))
            };
            self.bytes.reserve_exact(wanted.max(needed).saturating_sub(self.bytes.len()));
        }
        self.bytes.extend_from_slice(piece);
    }

    /// Everything that has arrived.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capacity(announced: Option<usize>, piece: usize, pieces: usize) -> usize {
        let mut body = HeldBody::new(announced);
        (0..pieces).for_each(|_| body.push(&vec![b'x'; piece]));
        assert_eq!(body.bytes().len(), piece * pieces);
        body.bytes.capacity()
    }

    #[test]
    fn an_announced_body_that_does_not_arrive_costs_little() {
        assert!(capacity(Some(8 << 20), 1, 1) <= FIRST);
        assert!(capacity(Some(8 << 20), 16 << 10, 5) <= GROWTH * FIRST);
    }

    #[test]
    fn a_body_takes_no_more_than_it_announces() {
        assert_eq!(capacity(Some(960), 960, 1), 960);
        assert_eq!(capacity(Some(8 << 20), 16 << 10, 512), 8 << 20);
    }

    #[test]
    fn a_body_without_an_announced_length_takes_twice_its_length_at_most() {
        for pieces in [1, 5, 100] {
            assert!(capacity(None, 1000, pieces) <= 2 * GROWTH * FIRST.max(1000 * pieces));
        }
        assert!(capacity(None, 100, 1) <= 200);
    }

    #[test]
    fn more_than_announced_is_kept_as_well() {
        assert!(capacity(Some(10), 100, 3) >= 300);
    }
}
