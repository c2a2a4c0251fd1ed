//! A budget that is never exceeded: the worst case of a request is reserved before it is sent.

use std::fmt;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::journal::Spent;
use crate::grade::money::Money;

/// What a run may spend, with the runs before it that used the same journal.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Limits {
    /// All costs.
    pub(crate) max_cost: Option<Money>,
    /// All requests that are sent, repeated ones too.
    pub(crate) max_requests: Option<u64>,
}

/// Why no further request may be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exhausted {
    /// This number of requests was sent.
    Requests(u64),
    /// The next request could pass the limit.
    Cost {
        /// The limit.
        limit: Money,
        /// What was spent.
        spent: Money,
        /// What the next request may cost.
        next: Money,
    },
}

impl fmt::Display for Exhausted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Requests(limit) => write!(f, "--max-requests {limit} is used up"),
            Self::Cost { limit, spent, next } => write!(
                f,
                "--max-cost {} is used up: {spent} was spent, and the next request may cost {next}",
                limit.dollars()
            ),
        }
    }
}

/// The limits, and what was spent.
#[derive(Debug)]
pub(crate) struct Budget {
    limits: Limits,
    state: Mutex<State>,
    settled: Notify,
}

#[derive(Debug)]
struct State {
    spent: Spent,
    reserved: Money,
}

enum Decision {
    Granted,
    /// Requests that are in flight may leave enough.
    Wait,
}

impl Budget {
    /// A budget, and what earlier runs have spent.
    pub(crate) fn new(limits: Limits, spent: Spent) -> Self {
        Self { limits, state: Mutex::new(State { spent, reserved: Money::ZERO }), settled: Notify::new() }
    }

    /// What was spent so far, by earlier runs too.
    pub(crate) fn spent(&self) -> Spent {
        self.state.lock().spent
    }

    /// Reserves the most that a request can cost. Waits if requests that are in flight may leave enough.
    ///
    /// # Errors
    /// If the budget does not suffice.
    pub(crate) async fn reserve(&self, worst: Money) -> Result<Reservation<'_>, Exhausted> {
        loop {
            let settled = self.settled.notified();
            let mut settled = std::pin::pin!(settled);
            // Subscribes before the check, so that no request settles unnoticed in between.
            settled.as_mut().enable();
            match self.try_reserve(worst)? {
                Decision::Granted => return Ok(Reservation { budget: self, worst, is_open: true }),
                Decision::Wait => settled.await,
            }
        }
    }

    fn try_reserve(&self, worst: Money) -> Result<Decision, Exhausted> {
        let mut state = self.state.lock();
        if let Some(limit) = self.limits.max_requests.filter(|&limit| state.spent.requests >= limit) {
            return Err(Exhausted::Requests(limit));
        }
        if let Some(limit) = self.limits.max_cost {
            let spent = state.spent.cost;
            if spent.plus(worst) > limit {
                return Err(Exhausted::Cost { limit, spent, next: worst });
            }
            if spent.plus(state.reserved).plus(worst) > limit {
                return Ok(Decision::Wait);
            }
        }
        state.spent.requests += 1;
        state.reserved = state.reserved.plus(worst);
        Ok(Decision::Granted)
    }
}

/// Money that is set aside for one request. A request that is not settled counts its worst case.
#[derive(Debug)]
pub(crate) struct Reservation<'a> {
    budget: &'a Budget,
    worst: Money,
    is_open: bool,
}

impl Reservation<'_> {
    /// The most that the request can cost.
    pub(crate) fn worst(&self) -> Money {
        self.worst
    }

    /// Replaces the worst case by the cost.
    pub(crate) fn settle(mut self, cost: Money) {
        self.close(cost);
    }

    fn close(&mut self, cost: Money) {
        let mut state = self.budget.state.lock();
        state.reserved = state.reserved.minus(self.worst);
        state.spent.cost = state.spent.cost.plus(cost);
        drop(state);
        self.is_open = false;
        self.budget.settled.notify_waiters();
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        if self.is_open {
            self.close(self.worst);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn budget(max_cost: f64, max_requests: u64, spent: Spent) -> Budget {
        let limits = Limits { max_cost: Some(Money::from_limit(max_cost)), max_requests: Some(max_requests) };
        Budget::new(limits, spent)
    }

    fn dollars(amount: f64) -> Money {
        Money::from_price(amount)
    }

    #[tokio::test]
    async fn requests_in_flight_count_their_worst_case() {
        let budget = budget(1.0, 100, Spent::default());
        let first = budget.reserve(dollars(0.6)).await.unwrap();
        let second = budget.reserve(dollars(0.6));
        let mut second = std::pin::pin!(second);
        assert!(
            tokio::time::timeout(Duration::from_millis(5), second.as_mut()).await.is_err(),
            "it must wait"
        );
        first.settle(dollars(0.3));
        second.await.unwrap().settle(dollars(0.6));
        assert_eq!(budget.spent(), Spent { cost: dollars(0.9), requests: 2, unpriced: 0 });
        let exhausted = budget.reserve(dollars(0.2)).await.unwrap_err();
        assert_eq!(
            exhausted.to_string(),
            "--max-cost 1 is used up: $0.9000 was spent, and the next request may cost $0.2000"
        );
        budget.reserve(dollars(0.1)).await.unwrap();
    }

    #[tokio::test]
    async fn a_request_that_is_not_settled_counts_its_worst_case() {
        let budget = budget(1.0, 100, Spent::default());
        drop(budget.reserve(dollars(0.6)).await.unwrap());
        assert_eq!(budget.spent().cost, dollars(0.6));
    }

    #[tokio::test]
    async fn earlier_runs_count() {
        let budget = budget(1.0, 3, Spent { cost: dollars(0.5), requests: 2, unpriced: 0 });
        assert!(matches!(budget.reserve(dollars(0.6)).await, Err(Exhausted::Cost { .. })));
        budget.reserve(dollars(0.1)).await.unwrap();
        assert_eq!(budget.reserve(dollars(0.1)).await.unwrap_err(), Exhausted::Requests(3));
    }

    #[tokio::test]
    async fn concurrent_requests_never_pass_the_limit() {
        let budget = budget(1.0, 1000, Spent::default());
        let requests = (0..50).map(async |_| {
            let reservation = budget.reserve(dollars(0.1)).await?;
            tokio::task::yield_now().await;
            reservation.settle(dollars(0.04));
            Ok::<_, Exhausted>(())
        });
        let done = futures_util::future::join_all(requests).await;
        assert!(budget.spent().cost <= dollars(1.0));
        // After 23 requests, $0.92 was spent, and another one could cost $0.10.
        assert_eq!(done.iter().filter(|done| done.is_ok()).count(), 23);
    }
}
