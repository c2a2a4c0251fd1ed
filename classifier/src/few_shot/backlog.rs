//! The example sets that wait to be embedded, and their order. Pure.

use std::sync::Arc;
use std::time::{Duration, Instant};

use llm_router_routing::config::Examples;
use tokio::sync::watch;

use super::Similarity;

/// The maximum number of pending sets of callers. A set has at most 1 MB of text.
const MAX_CALLER_SETS: usize = 16;

/// The time that a caller's set stays pending while nobody waits for it. Callers with short deadlines come back for it.
const GRACE: Duration = Duration::from_secs(60);

/// Who needs a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// A policy of this process. Its sets come first, are unlimited in number and never given up.
    Policy,
    /// A caller that sent the set.
    Caller,
}

/// Too many callers' sets are pending.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many sets of few-shot examples are waiting to be embedded")]
pub struct TooManyExampleSets;

/// Receives the result of a set.
pub(super) type Waiter = watch::Receiver<Option<Arc<Similarity>>>;

/// The pending sets, each with a different digest. One text is embedded at a time, and each set gets every
/// n-th turn, so that a large set does not hold up a small one.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    sets: Vec<PendingSet>,
    /// Number of the last set.
    last_id: u64,
    /// Number of the last turn.
    last_turn: u64,
    /// See [`Similarity::with_unrelated`].
    unrelated: f32,
}

#[derive(Debug)]
struct PendingSet {
    /// Distinguishes it from an earlier set of the same digest.
    id: u64,
    examples: Arc<Examples>,
    owner: Owner,
    /// The embeddings of the first texts, in the order of the labels.
    embeddings: Vec<Vec<f32>>,
    result: watch::Sender<Option<Arc<Similarity>>>,
    /// When a waiting caller was last seen.
    wanted: Instant,
    /// Its last turn.
    turn: u64,
}

/// A text whose turn it is.
#[derive(Debug)]
pub(super) struct Turn {
    set: u64,
    pub(super) text: String,
}

/// An embedded set.
#[derive(Debug)]
pub(super) struct Embedded {
    pub(super) examples: Arc<Examples>,
    pub(super) owner: Owner,
    pub(super) similarity: Arc<Similarity>,
    result: watch::Sender<Option<Arc<Similarity>>>,
}

impl Embedded {
    /// Sends the result to those that wait.
    pub(super) fn send(self) {
        self.result.send_replace(Some(self.similarity));
    }
}

impl Backlog {
    /// A backlog for an encoder whose embeddings of unrelated texts have this cosine similarity.
    pub(super) fn new(unrelated: f32) -> Self {
        Self { unrelated, ..Self::default() }
    }

    /// Waits for a pending set.
    pub(super) fn find(&self, digest: &str) -> Option<Waiter> {
        self.sets.iter().find(|set| set.examples.digest() == digest).map(|set| set.result.subscribe())
    }

    /// Adds a policy's set, unless it is pending already, and waits for it.
    pub(super) fn add_for_policy(&mut self, examples: &Arc<Examples>, now: Instant) -> Waiter {
        let pending = self.sets.iter_mut().find(|set| set.examples.digest() == examples.digest());
        if let Some(set) = pending {
            (set.owner, set.examples) = (Owner::Policy, Arc::clone(examples));
            return set.result.subscribe();
        }
        self.insert(examples, Owner::Policy, now)
    }

    /// Adds a caller's set, unless it is pending already, and waits for it.
    ///
    /// # Errors
    /// If too many callers' sets are pending, and somebody waits for each of them.
    pub(super) fn add(
        &mut self,
        examples: &Arc<Examples>,
        now: Instant,
    ) -> Result<Waiter, TooManyExampleSets> {
        if let Some(waiter) = self.find(examples.digest()) {
            return Ok(waiter);
        }
        self.make_room()?;
        Ok(self.insert(examples, Owner::Caller, now))
    }

    fn insert(&mut self, examples: &Arc<Examples>, owner: Owner, now: Instant) -> Waiter {
        let (result, waiter) = watch::channel(None);
        self.last_id += 1;
        let (id, examples) = (self.last_id, Arc::clone(examples));
        let embeddings = Vec::new();
        self.sets.push(PendingSet { id, examples, owner, embeddings, result, wanted: now, turn: 0 });
        waiter
    }

    /// Gives up the caller's set for which nobody has waited the longest, if there are too many.
    fn make_room(&mut self) -> Result<(), TooManyExampleSets> {
        let callers = self.sets.iter().enumerate().filter(|(_, set)| set.owner == Owner::Caller);
        if callers.clone().count() < MAX_CALLER_SETS {
            return Ok(());
        }
        let given_up = callers.filter(|(_, set)| !set.is_wanted()).min_by_key(|(_, set)| set.wanted);
        let (index, _) = given_up.ok_or(TooManyExampleSets)?;
        self.sets.remove(index);
        Ok(())
    }

    /// The next text to embed: policies' sets come first, then those for which somebody waits, then the others. Gives up
    /// callers' sets for which nobody has waited for a while.
    pub(super) fn next(&mut self, now: Instant) -> Option<Turn> {
        for set in &mut self.sets {
            if set.is_wanted() {
                set.wanted = now;
            }
        }
        self.sets.retain(|set| {
            set.next_text().is_some()
                && (set.owner == Owner::Policy || now.saturating_duration_since(set.wanted) < GRACE)
        });
        let order = |set: &&mut PendingSet| (set.owner == Owner::Caller, !set.is_wanted(), set.turn);
        let set = self.sets.iter_mut().min_by_key(order)?;
        self.last_turn += 1;
        set.turn = self.last_turn;
        Some(Turn { set: set.id, text: set.next_text()?.to_owned() })
    }

    /// Records the embedding of a text. Returns the set if that was its last one. If the set was given up in the
    /// meantime, nothing happens.
    pub(super) fn record(&mut self, turn: &Turn, embedding: Vec<f32>) -> Option<Embedded> {
        let index = self.position(turn)?;
        let set = self.sets.get_mut(index)?;
        set.embeddings.push(embedding);
        if set.next_text().is_some() {
            return None;
        }
        let PendingSet { examples, owner, embeddings, result, .. } = self.sets.remove(index);
        let mut embeddings = embeddings.into_iter();
        let label = |(label, texts): (&String, &Vec<String>)| {
            (label.clone(), embeddings.by_ref().take(texts.len()).collect())
        };
        let similarity = Similarity::new(examples.routes().iter().map(label).collect());
        let similarity = Arc::new(similarity.with_unrelated(self.unrelated));
        Some(Embedded { examples, owner, similarity, result })
    }

    /// Removes the set of a text that could not be embedded, and no other. Returns its digest.
    pub(super) fn fail(&mut self, turn: &Turn) -> Option<String> {
        let index = self.position(turn)?;
        Some(self.sets.remove(index).examples.digest().to_owned())
    }

    fn position(&self, turn: &Turn) -> Option<usize> {
        self.sets.iter().position(|set| set.id == turn.set)
    }
}

impl PendingSet {
    /// Whether somebody waits for it now.
    fn is_wanted(&self) -> bool {
        self.result.receiver_count() > 0
    }

    fn next_text(&self) -> Option<&str> {
        self.examples.routes().values().flatten().nth(self.embeddings.len()).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A set with one label and these texts.
    fn examples(texts: &[&str]) -> Arc<Examples> {
        let texts = texts.iter().map(|text| (*text).to_owned()).collect();
        Arc::new(Examples::new([("billing".to_owned(), texts)].into()))
    }

    fn numbered(prefix: &str, count: usize) -> Arc<Examples> {
        let texts: Vec<_> = (0..count).map(|number| format!("{prefix}{number}")).collect();
        examples(&texts.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Embeds the next text, and returns it.
    fn step(backlog: &mut Backlog, now: Instant) -> Option<String> {
        let turn = backlog.next(now)?;
        if let Some(embedded) = backlog.record(&turn, vec![1.0, 0.0]) {
            embedded.send();
        }
        Some(turn.text)
    }

    fn steps(backlog: &mut Backlog, now: Instant) -> Vec<String> {
        std::iter::from_fn(|| step(backlog, now)).collect()
    }

    #[test]
    fn sets_take_turns_and_policies_come_first() {
        let (mut backlog, now) = (Backlog::default(), Instant::now());
        let _large = backlog.add(&numbered("large", 3), now).unwrap();
        let _small = backlog.add(&numbered("small", 1), now).unwrap();
        assert_eq!(step(&mut backlog, now).unwrap(), "large0");
        let _own = backlog.add_for_policy(&numbered("own", 2), now);
        assert_eq!(steps(&mut backlog, now), ["own0", "own1", "small0", "large1", "large2"]);
    }

    #[test]
    fn a_set_that_nobody_waits_for_comes_last_and_is_given_up_after_a_while() {
        let (mut backlog, start) = (Backlog::default(), Instant::now());
        drop(backlog.add(&numbered("left", 4), start));
        let waiting = backlog.add(&numbered("waiting", 2), start).unwrap();
        assert_eq!(step(&mut backlog, start).unwrap(), "waiting0");
        assert_eq!(step(&mut backlog, start).unwrap(), "waiting1");
        assert!(waiting.borrow().is_some());
        assert_eq!(step(&mut backlog, start).unwrap(), "left0");

        // A caller came back, and left again.
        let back = backlog.find(numbered("left", 4).digest()).unwrap();
        let later = start + GRACE;
        assert_eq!(step(&mut backlog, later).unwrap(), "left1");
        drop(back);
        assert_eq!(step(&mut backlog, later + GRACE / 2).unwrap(), "left2");
        assert_eq!(step(&mut backlog, later + GRACE), None);
        assert!(backlog.find(numbered("left", 4).digest()).is_none());
    }

    #[test]
    fn a_policys_set_is_embedded_although_nobody_waits() {
        let (mut backlog, start) = (Backlog::default(), Instant::now());
        drop(backlog.add_for_policy(&numbered("own", 2), start));
        assert_eq!(steps(&mut backlog, start + 10 * GRACE), ["own0", "own1"]);
    }

    #[test]
    fn a_callers_set_becomes_the_policys() {
        let (mut backlog, start) = (Backlog::default(), Instant::now());
        drop(backlog.add(&numbered("a", 2), start));
        drop(backlog.add_for_policy(&numbered("a", 2), start));
        assert_eq!(steps(&mut backlog, start + 10 * GRACE), ["a0", "a1"], "once, and not given up");
    }

    #[test]
    fn callers_sets_are_bounded_and_policies_are_not() {
        let (mut backlog, now) = (Backlog::default(), Instant::now());
        let set = |number| numbered(&format!("set{number} "), 1);
        let mut waiters: Vec<_> =
            (0..MAX_CALLER_SETS).map(|number| backlog.add(&set(number), now).unwrap()).collect();
        assert_eq!(backlog.add(&set(100), now).err(), Some(TooManyExampleSets));
        assert!(backlog.add(&set(0), now).is_ok(), "it is pending already");
        let own: Vec<_> = (200..300).map(|number| backlog.add_for_policy(&set(number), now)).collect();
        assert_eq!(own.len(), 100);

        // One that nobody waits for makes room.
        waiters.remove(3);
        assert!(backlog.add(&set(100), now).is_ok());
        assert!(backlog.find(set(3).digest()).is_none());
        assert!(backlog.find(set(4).digest()).is_some());
    }

    #[test]
    fn a_text_that_fails_removes_its_own_set_only() {
        let (mut backlog, now) = (Backlog::default(), Instant::now());
        let failing = backlog.add(&numbered("a", 2), now).unwrap();
        let turn = backlog.next(now).unwrap();
        let _other = backlog.add(&numbered("b", 1), now).unwrap();
        assert_eq!(backlog.fail(&turn).unwrap(), numbered("a", 2).digest());
        assert!(failing.has_changed().is_err(), "it is closed");

        // The same set again: a late result of its first turn means nothing.
        let _again = backlog.add(&numbered("a", 2), now).unwrap();
        assert_eq!(backlog.fail(&turn), None);
        assert!(backlog.record(&turn, vec![9.0]).is_none());
        let mut texts = steps(&mut backlog, now);
        texts.sort();
        assert_eq!(texts, ["a0", "a1", "b0"]);
    }

    #[test]
    fn each_label_gets_its_own_embeddings() {
        let mut backlog = Backlog::default();
        let routes = [("a", vec!["1", "2"]), ("b", vec!["3"])];
        let own = |text: &str| text.to_owned();
        let routes = routes.map(|(label, texts)| (own(label), texts.into_iter().map(own).collect()));
        let examples = Arc::new(Examples::new(routes.into()));
        let waiter = backlog.add(&examples, Instant::now()).unwrap();
        while let Some(turn) = backlog.next(Instant::now()) {
            let embedding = if turn.text == "3" { vec![0.0, 1.0] } else { vec![1.0, 0.0] };
            if let Some(embedded) = backlog.record(&turn, embedding) {
                embedded.send();
            }
        }
        let similarity = waiter.borrow().clone().unwrap();
        assert_eq!(similarity.compare(&[1.0, 0.0]).confidences, [1.0, 0.0]);
        assert_eq!(similarity.compare(&[0.0, 1.0]).confidences, [0.0, 1.0]);
    }
}
