//! The queue between many callers and a few threads.

use std::collections::VecDeque;

use parking_lot::{Condvar, Mutex};

/// While prompts wait, one in this many pops takes a background item. So background work makes progress under
/// full load, and costs the prompts about 6 % of their throughput.
const BACKGROUND_TURN: usize = 16;

/// A first-in, first-out queue with several lanes. A pop takes the oldest item and the next ones of the same lane.
/// Background items have a lower priority: they are popped when nothing else waits, and once in [`BACKGROUND_TURN`] pops.
///
/// It does not bound the number of items; the engine limits the number of prompts.
pub(super) struct Queue<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

struct State<T> {
    /// Each item with its sequence number.
    lanes: Vec<VecDeque<(u64, T)>>,
    /// The sequence number of the next item.
    next: u64,
    background: VecDeque<T>,
    /// Pops of other items since the last background item.
    pops: usize,
    closed: bool,
}

/// The queue accepts no more items.
#[derive(Debug, PartialEq)]
pub(super) struct Closed;

impl<T> Queue<T> {
    pub(super) fn new(lanes: usize) -> Self {
        let lanes = std::iter::repeat_with(VecDeque::new).take(lanes).collect();
        let state = State { lanes, next: 0, background: VecDeque::new(), pops: 0, closed: false };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Appends an item to a lane. Lanes past the end are clamped to the last one.
    pub(super) fn push(&self, item: T, lane: usize) -> Result<(), Closed> {
        self.add(|state| {
            let number = state.next;
            let last = state.lanes.len().saturating_sub(1);
            if let Some(lane) = state.lanes.get_mut(lane.min(last)) {
                lane.push_back((number, item));
                state.next += 1;
            }
        })
    }

    /// Appends a background item.
    pub(super) fn push_background(&self, item: T) -> Result<(), Closed> {
        self.add(|state| state.background.push_back(item))
    }

    fn add(&self, append: impl FnOnce(&mut State<T>)) -> Result<(), Closed> {
        let mut state = self.state.lock();
        if state.closed {
            return Err(Closed);
        }
        append(&mut state);
        drop(state);
        self.changed.notify_one();
        Ok(())
    }

    /// Waits for an item, then takes the oldest and the next ones of its lane, at most `limit(lane)` in all. A background
    /// item is taken alone. Returns none once the queue is closed and empty.
    pub(super) fn pop(&self, limit: impl Fn(usize) -> usize) -> Option<Vec<T>> {
        let mut state = self.state.lock();
        loop {
            if let Some(items) = state.take(&limit) {
                return Some(items);
            }
            if state.closed {
                return None;
            }
            self.changed.wait(&mut state);
        }
    }

    /// The number of items that wait.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        let state = self.state.lock();
        state.lanes.iter().map(VecDeque::len).sum::<usize>() + state.background.len()
    }

    /// Accepts no more items. Those that wait can still be popped.
    pub(super) fn close(&self) {
        self.state.lock().closed = true;
        self.changed.notify_all();
    }

    /// Accepts no more items and drops those that wait.
    pub(super) fn abandon(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        let lanes: Vec<_> = state.lanes.iter_mut().map(std::mem::take).collect();
        let background = std::mem::take(&mut state.background);
        drop(state);
        // Outside the lock, since dropping an item may run its owner's code.
        drop((lanes, background));
        self.changed.notify_all();
    }
}

impl<T> State<T> {
    fn take(&mut self, limit: impl Fn(usize) -> usize) -> Option<Vec<T>> {
        let fronts = self.lanes.iter().enumerate();
        let oldest = fronts.filter_map(|(index, lane)| Some((lane.front()?.0, index))).min();
        if (oldest.is_none() || self.pops >= BACKGROUND_TURN - 1)
            && let Some(item) = self.background.pop_front()
        {
            self.pops = 0;
            return Some(vec![item]);
        }
        let (_, index) = oldest?;
        self.pops += 1;
        let lane = self.lanes.get_mut(index)?;
        let count = limit(index).clamp(1, lane.len());
        Some(lane.drain(..count).map(|(_, item)| item).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(queue: &Queue<i32>) -> Option<Vec<i32>> {
        queue.pop(|_| 1)
    }

    #[test]
    fn items_leave_in_the_order_they_came_whatever_their_lanes() {
        let queue = Queue::new(2);
        queue.push(1, 1).unwrap();
        queue.push(2, 0).unwrap();
        queue.push(3, 1).unwrap();
        let left: Vec<_> = (0..3).filter_map(|_| one(&queue)).flatten().collect();
        assert_eq!(left, [1, 2, 3]);
    }

    #[test]
    fn the_oldest_leaves_with_the_next_of_its_lane() {
        let queue = Queue::new(3);
        for (item, lane) in [(1, 2), (2, 0), (3, 2), (4, 2), (5, 0)] {
            queue.push(item, lane).unwrap();
        }
        let limit = |lane| if lane == 2 { 2 } else { 100 };
        assert_eq!(queue.pop(limit).unwrap(), [1, 3]);
        assert_eq!(queue.pop(limit).unwrap(), [2, 5]);
        assert_eq!(queue.pop(limit).unwrap(), [4]);
    }

    #[test]
    fn background_items_wait_until_no_other_does() {
        let queue = Queue::new(2);
        queue.push_background(-1).unwrap();
        queue.push_background(-2).unwrap();
        queue.push(1, 0).unwrap();
        queue.push(2, 1).unwrap();
        let left: Vec<_> = (0..4).filter_map(|_| queue.pop(|_| 9)).collect();
        assert_eq!(left, [vec![1], vec![2], vec![-1], vec![-2]]);
    }

    #[test]
    fn under_load_every_sixteenth_pop_takes_a_background_item() {
        let queue = Queue::new(1);
        for item in 0..100 {
            queue.push(item, 0).unwrap();
            queue.push_background(-1).unwrap();
        }
        let popped: Vec<_> = (0..64).filter_map(|_| one(&queue)).flatten().collect();
        let turns: Vec<_> = (1..).zip(popped).filter(|(_, item)| *item < 0).map(|(turn, _)| turn).collect();
        assert_eq!(turns, [16, 32, 48, 64]);
    }

    #[test]
    fn a_closed_queue_is_drained_and_then_ends() {
        let queue = Queue::new(1);
        queue.push(1, 0).unwrap();
        queue.push_background(-1).unwrap();
        queue.close();
        assert_eq!((queue.push(2, 0), queue.push_background(-2)), (Err(Closed), Err(Closed)));
        assert_eq!([one(&queue), one(&queue), one(&queue)], [Some(vec![1]), Some(vec![-1]), None]);
    }

    #[test]
    fn an_abandoned_queue_drops_its_items() {
        let queue = Queue::new(1);
        queue.push(1, 0).unwrap();
        queue.push_background(-1).unwrap();
        queue.abandon();
        assert_eq!((queue.push(2, 0), one(&queue)), (Err(Closed), None));
    }
}
