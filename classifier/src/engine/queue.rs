//! A bounded queue between many callers and a few worker threads, which take several items at once.

use std::collections::VecDeque;

use parking_lot::{Condvar, Mutex};

/// Items wait in lanes; never more in all than its capacity. The oldest item is taken first, and only with others of its
/// lane.
pub(super) struct Queue<T> {
    capacity: usize,
    state: Mutex<State<T>>,
    changed: Condvar,
}

struct State<T> {
    /// Each item with its number.
    lanes: Vec<VecDeque<(u64, T)>>,
    waiting: usize,
    /// The number of the next item.
    next: u64,
    closed: bool,
}

/// Why an item was not taken.
#[derive(Debug, PartialEq)]
pub(super) enum PushError {
    Full,
    Closed,
}

impl<T> Queue<T> {
    pub(super) fn new(capacity: usize, lanes: usize) -> Self {
        let lanes = std::iter::repeat_with(VecDeque::new).take(lanes).collect();
        let state = State { lanes, waiting: 0, next: 0, closed: false };
        Self { capacity, state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Takes an item if there is room; never waits. A lane that there is not is as the last.
    pub(super) fn push(&self, item: T, lane: usize) -> Result<(), PushError> {
        let mut state = self.state.lock();
        if state.closed {
            return Err(PushError::Closed);
        }
        if state.waiting >= self.capacity {
            return Err(PushError::Full);
        }
        let number = state.next;
        let last = state.lanes.len().saturating_sub(1);
        if let Some(lane) = state.lanes.get_mut(lane.min(last)) {
            lane.push_back((number, item));
            state.next += 1;
            state.waiting += 1;
        }
        drop(state);
        self.changed.notify_one();
        Ok(())
    }

    /// Waits for items, then takes the oldest and the next of its lane, as many as `room` says for the lane. None once
    /// the queue is closed and empty.
    pub(super) fn pop(&self, room: impl Fn(usize) -> usize) -> Option<Vec<T>> {
        let mut state = self.state.lock();
        loop {
            if let Some(items) = state.take(&room) {
                return Some(items);
            }
            if state.closed {
                return None;
            }
            self.changed.wait(&mut state);
        }
    }

    /// Takes no more items; those that wait can still be popped.
    pub(super) fn close(&self) {
        self.state.lock().closed = true;
        self.changed.notify_all();
    }
}

impl<T> State<T> {
    fn take(&mut self, room: impl Fn(usize) -> usize) -> Option<Vec<T>> {
        let fronts = self.lanes.iter().enumerate();
        let oldest = fronts.filter_map(|(index, lane)| Some((lane.front()?.0, index))).min();
        let (_, index) = oldest?;
        let lane = self.lanes.get_mut(index)?;
        let count = room(index).clamp(1, lane.len());
        self.waiting -= count;
        Some(lane.drain(..count).map(|(_, item)| item).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alone(queue: &Queue<i32>) -> Option<Vec<i32>> {
        queue.pop(|_| 1)
    }

    #[test]
    fn items_leave_in_the_order_they_came_whatever_their_lanes() {
        let queue = Queue::new(3, 2);
        queue.push(1, 1).unwrap();
        queue.push(2, 0).unwrap();
        queue.push(3, 1).unwrap();
        let left: Vec<_> = (0..3).filter_map(|_| alone(&queue)).flatten().collect();
        assert_eq!(left, [1, 2, 3]);
    }

    #[test]
    fn the_oldest_leaves_with_the_next_of_its_lane() {
        let queue = Queue::new(9, 3);
        for (item, lane) in [(1, 2), (2, 0), (3, 2), (4, 2), (5, 0)] {
            queue.push(item, lane).unwrap();
        }
        let room = |lane| if lane == 2 { 2 } else { 100 };
        assert_eq!(queue.pop(room).unwrap(), [1, 3]);
        assert_eq!(queue.pop(room).unwrap(), [2, 5]);
        assert_eq!(queue.pop(room).unwrap(), [4]);
    }

    #[test]
    fn a_full_queue_refuses_until_there_is_room() {
        let queue = Queue::new(1, 2);
        queue.push(1, 0).unwrap();
        assert_eq!(queue.push(2, 1), Err(PushError::Full));
        alone(&queue);
        assert_eq!(queue.push(2, 1), Ok(()));
    }

    #[test]
    fn a_closed_queue_gives_what_it_has_and_then_ends() {
        let queue = Queue::new(2, 1);
        queue.push(1, 0).unwrap();
        queue.close();
        assert_eq!(queue.push(2, 0), Err(PushError::Closed));
        assert_eq!((alone(&queue), alone(&queue)), (Some(vec![1]), None));
    }
}
