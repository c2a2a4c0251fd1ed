//! The journal: records everything that was paid for immediately, so that a run continues where it was
//! interrupted.
//!
//! It is append-only JSON Lines. Each request is recorded before it is sent, with the most that it can cost,
//! and again with its result, so that the budget holds even if the process is killed in between.

mod contents;
mod lines;

use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, bail};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::chat::Completion;
use crate::grade::key::Key;
use crate::grade::money::Money;
use contents::{Contents, Entry, VERSION};
use lines::Lines;

/// Readable and writable by the owner: prompts are in it.
const MODE: u32 = 0o600;

/// What was spent, by this run and those before it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Spent {
    /// The cost. A request whose cost is unknown counts the most that it can cost.
    pub(crate) cost: Money,
    /// Requests that were sent.
    pub(crate) requests: u64,
    /// Requests that were sent without prices, so that their cost is not counted.
    pub(crate) unpriced: u64,
}

/// The result of a request.
#[derive(Debug, Clone)]
pub(crate) enum Outcome {
    /// A completion, and its cost.
    Completion(Completion, Money),
    /// The reason why the provider rejects the prompt, and would reject it again.
    Rejection(String),
}

/// The result of running tests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TestResult {
    /// Whether all tests passed.
    pub(crate) passed: bool,
    /// `passed`, or what went wrong.
    pub(crate) detail: String,
}

/// A request that is recorded as sent.
#[derive(Debug)]
pub(super) struct SentRequest(u64);

/// The journal of a run.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    /// None if the journal was opened for reading only.
    file: Option<Mutex<Lines>>,
    /// The number of the next request.
    next: AtomicU64,
    contents: Mutex<Contents>,
}

impl Journal {
    /// Opens or creates a journal, which no other run may use until it is dropped.
    ///
    /// # Errors
    /// If it cannot be written, another run uses it, or the file is not a journal.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let name = path.display();
        let mut options = OpenOptions::new();
        let file = options.read(true).append(true).create(true).mode(MODE).open(path);
        let file = file.with_context(|| format!("cannot open the journal {name}"))?;
        file.try_lock().with_context(|| format!("another run uses the journal {name}"))?;
        let (contents, whole) = Contents::read(&file).with_context(|| format!("the journal {name}"))?;
        // Removes the partial last line of a killed process.
        file.set_len(whole).with_context(|| format!("cannot write the journal {name}"))?;
        file.set_permissions(PermissionsExt::from_mode(MODE))?;
        let journal = Self::new(path, Some(Lines::new(file, whole)), contents);
        if whole == 0 {
            journal.write(&Entry::GradeJournal { version: VERSION })?;
        }
        Ok(journal)
    }

    /// Reads a journal without changing it; an empty one if there is no such file.
    ///
    /// # Errors
    /// If the file cannot be read, or is not a journal.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let contents = match File::open(path) {
            Ok(file) => Contents::read(&file).with_context(|| format!("the journal {}", path.display()))?.0,
            Err(error) if error.kind() == ErrorKind::NotFound => Contents::default(),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        Ok(Self::new(path, None, contents))
    }

    fn new(path: &Path, file: Option<Lines>, contents: Contents) -> Self {
        let next = AtomicU64::new(contents.requests);
        Self { path: path.to_owned(), file: file.map(Mutex::new), next, contents: Mutex::new(contents) }
    }

    /// What was spent. A request without a result counts the most that it can cost.
    pub(crate) fn spent(&self) -> Spent {
        let contents = self.contents.lock();
        let open: Money = contents.open.values().copied().sum();
        let Contents { cost, requests, unpriced, .. } = *contents;
        Spent { cost: cost.plus(open), requests, unpriced }
    }

    /// The result with this key, if it is recorded.
    pub(crate) fn outcome(&self, key: &Key) -> Option<Outcome> {
        self.contents.lock().outcomes.get(key).cloned()
    }

    /// The result of tests, if it is recorded.
    pub(crate) fn tests(&self, key: &Key) -> Option<TestResult> {
        self.contents.lock().tests.get(key).cloned()
    }

    /// Records that a request will be sent now.
    pub(super) fn record_sent(&self, reserved: Option<Money>) -> Result<SentRequest> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.record(Entry::Sent { number, reserved })?;
        Ok(SentRequest(number))
    }

    /// Records the result of a request.
    pub(super) fn record_outcome(
        &self,
        sent: SentRequest,
        key: Key,
        cost: Money,
        outcome: Outcome,
    ) -> Result<()> {
        let number = sent.0;
        self.record(match outcome {
            Outcome::Completion(completion, _) => Entry::Completion { number, cost, key, completion },
            Outcome::Rejection(reason) => Entry::Rejection { number, cost, key, reason },
        })
    }

    /// Records that a request failed.
    pub(super) fn record_failure(&self, sent: SentRequest, cost: Money, reason: String) -> Result<()> {
        self.record(Entry::Failure { number: sent.0, cost, reason })
    }

    /// Records the result of tests.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(crate) fn record_tests(&self, key: Key, result: TestResult) -> Result<()> {
        self.record(Entry::Tests { key, result })
    }

    fn record(&self, entry: Entry) -> Result<()> {
        self.write(&entry)?;
        self.contents.lock().apply(entry);
        Ok(())
    }

    fn write(&self, entry: &Entry) -> Result<()> {
        let Some(file) = &self.file else { bail!("the journal was opened for reading only") };
        let mut line = serde_json::to_vec(entry)?;
        line.push(b'\n');
        file.lock().append(&line).with_context(|| format!("cannot write the journal {}", self.path.display()))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn key(name: &str) -> Key {
        Key::compute(&json!(name))
    }

    fn completion(text: &str) -> Completion {
        Completion { text: text.to_owned(), finish_reason: Some("stop".to_owned()), usage: None }
    }

    fn dollars(amount: f64) -> Money {
        Money::from_price(amount)
    }

    /// A journal with one request of each result, and one that is open.
    fn fill(path: &Path) {
        let journal = Journal::open(path).unwrap();
        let [one, two, three, _open] = [(); 4].map(|()| journal.record_sent(Some(dollars(0.5))).unwrap());
        let outcome = Outcome::Completion(completion("Hi"), dollars(0.25));
        journal.record_outcome(one, key("one"), dollars(0.25), outcome).unwrap();
        let rejection = Outcome::Rejection("filtered".to_owned());
        journal.record_outcome(two, key("two"), Money::ZERO, rejection).unwrap();
        journal.record_failure(three, dollars(0.5), "timed out".to_owned()).unwrap();
        let result = TestResult { passed: true, detail: "passed".to_owned() };
        journal.record_tests(key("tests"), result).unwrap();
    }

    fn check(journal: &Journal) {
        // An open request counts its worst case: the process was killed before its result came.
        assert_eq!(journal.spent(), Spent { cost: dollars(1.25), requests: 4, unpriced: 0 });
        assert!(
            matches!(journal.outcome(&key("one")), Some(Outcome::Completion(found, cost)) if found == completion("Hi") && cost == dollars(0.25))
        );
        assert!(matches!(journal.outcome(&key("two")), Some(Outcome::Rejection(why)) if why == "filtered"));
        assert!(journal.outcome(&key("three")).is_none());
        assert!(journal.tests(&key("tests")).unwrap().passed);
    }

    #[test]
    fn what_was_recorded_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("j");
        assert_eq!(Journal::read(&path).unwrap().spent(), Spent::default());
        assert!(!path.exists());
        fill(&path);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        check(&Journal::read(&path).unwrap());
        let journal = Journal::open(&path).unwrap();
        check(&journal);
        let sent = journal.record_sent(None).unwrap();
        assert_eq!(journal.spent(), Spent { cost: dollars(1.25), requests: 5, unpriced: 1 });
        assert_eq!(sent.0, 4, "numbers go on");
    }

    #[test]
    fn a_torn_last_line_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("j");
        fill(&path);
        let whole = std::fs::read(&path).unwrap();
        for torn in [&br#"{"sent": {"num"#[..], b"{", br#"{"sent": {"number": 9, "reserved": 9}}"#, &[0xc3]] {
            std::fs::write(&path, [&whole, torn].concat()).unwrap();
            check(&Journal::read(&path).unwrap());
            check(&Journal::open(&path).unwrap());
            assert_eq!(std::fs::read(&path).unwrap(), whole);
        }
        // A process that was killed while it wrote the first line.
        std::fs::write(&path, &whole[..9]).unwrap();
        assert_eq!(Journal::open(&path).unwrap().spent(), Spent::default());
        fill(&path);
        check(&Journal::read(&path).unwrap());
    }

    #[test]
    fn another_file_is_left_unchanged() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("j");
        for (content, wrong) in [
            ("{\"text\": \"mine\"}\n", "is not a journal"),
            ("mine, without a line end", "is not a journal"),
            ("{\"grade_journal\":{\"version\":2}}\n", "it has the version 2"),
            ("{\"grade_journal\":{\"version\":1}}\nmine\n", "line 2 is damaged"),
        ] {
            std::fs::write(&path, content).unwrap();
            let error = format!("{:#}", Journal::open(&path).unwrap_err());
            assert!(error.contains(wrong), "{error}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), content);
        }
    }

    #[test]
    fn two_runs_cannot_use_one_journal() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("j");
        let first = Journal::open(&path).unwrap();
        let error = format!("{:#}", Journal::open(&path).unwrap_err());
        assert!(error.contains("another run uses the journal"), "{error}");
        drop(first);
        Journal::open(&path).unwrap();
    }
}
