//! Runs independent computations on all cores, in an order that results do not depend on.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Result, anyhow};

/// `compute` for each index below `count`, results in the indices' order. Every thread makes itself a `state` first,
/// because libtorch's tensors can move to a thread but not be shared.
pub(super) fn map<S: Send, T: Send>(
    count: usize,
    mut state: impl FnMut() -> S,
    compute: impl Fn(&S, usize) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    let next = AtomicUsize::new(0);
    let work = |state: S| {
        let mut done = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= count {
                return Ok(done);
            }
            done.push((index, compute(&state, index)?));
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let mut all: Vec<(usize, T)> = std::thread::scope(|scope| {
        let handles: Vec<_> = (0..threads)
            .map(|_| {
                let state = state();
                scope.spawn(|| work(state))
            })
            .collect();
        let mut all = Vec::with_capacity(count);
        for handle in handles {
            let done: Result<Vec<_>> = handle.join().map_err(|_| anyhow!("a thread panicked"))?;
            all.extend(done?);
        }
        anyhow::Ok(all)
    })?;
    all.sort_by_key(|(index, _)| *index);
    Ok(all.into_iter().map(|(_, result)| result).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order() {
        let results = map(100, || 10, |factor, index| Ok(factor * index)).unwrap();
        assert_eq!(results, (0..100).map(|index| index * 10).collect::<Vec<_>>());
    }

    #[test]
    fn one_failure_fails_the_whole() {
        let result: Result<Vec<()>> = map(10, || (), |(), index| Err(anyhow!("no {index}")));
        assert!(result.is_err());
    }
}
