//! The entries of a journal, and the state that results from them.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader};

use anyhow::{Result, bail, ensure};
use serde::{Deserialize, Serialize};

use super::{Outcome, TestResult};
use crate::grade::calls::chat::Completion;
use crate::grade::key::Key;
use crate::grade::money::Money;

/// The version of the entries.
pub(super) const VERSION: u32 = 1;

/// One line. Costs are in billionths of a dollar.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Entry {
    /// The first line.
    GradeJournal { version: u32 },
    /// A request is about to be sent. Without prices, nothing is reserved.
    Sent { number: u64, reserved: Option<Money> },
    /// It returned a completion.
    Completion { number: u64, cost: Money, key: Key, completion: Completion },
    /// Its prompt was rejected.
    Rejection { number: u64, cost: Money, key: Key, reason: String },
    /// It failed.
    Failure { number: u64, cost: Money, reason: String },
    /// Tests were run.
    Tests { key: Key, result: TestResult },
}

/// The state that results from the entries.
#[derive(Debug, Default)]
pub(super) struct Contents {
    pub(super) outcomes: HashMap<Key, Outcome>,
    pub(super) tests: HashMap<Key, TestResult>,
    /// Requests without a result yet.
    pub(super) open: HashMap<u64, Money>,
    pub(super) cost: Money,
    pub(super) requests: u64,
    pub(super) unpriced: u64,
}

impl Contents {
    /// Reads the entries, and the length of the whole lines.
    pub(super) fn read(file: &File) -> Result<(Self, u64)> {
        let (mut contents, mut reader, mut whole) = (Self::default(), BufReader::new(file), 0);
        let mut line = Vec::new();
        for number in 1.. {
            line.clear();
            let length = reader.read_until(b'\n', &mut line)?;
            let entry = serde_json::from_slice(&line);
            let is_whole = line.ends_with(b"\n");
            match (number, entry) {
                (_, _) if length == 0 => break,
                (1, Ok(Entry::GradeJournal { version })) if is_whole => ensure!(
                    version == VERSION,
                    "it has the version {version}, but this program reads {VERSION}: choose another --journal"
                ),
                (1, _) if is_whole || !is_start_of_header(&line) => {
                    bail!("the file is not a journal of `grade`: choose another --journal")
                }
                (_, Ok(entry)) if is_whole => contents.apply(entry),
                (_, Err(error)) if is_whole => {
                    bail!("line {number} is damaged ({error}): remove this line")
                }
                _ => break,
            }
            whole += length as u64;
        }
        Ok((contents, whole))
    }

    pub(super) fn apply(&mut self, entry: Entry) {
        match entry {
            Entry::GradeJournal { .. } => {}
            Entry::Sent { number, reserved } => {
                self.requests += 1;
                self.unpriced += u64::from(reserved.is_none());
                self.open.insert(number, reserved.unwrap_or_default());
            }
            Entry::Completion { number, cost, key, completion } => {
                self.close(number, cost);
                self.outcomes.insert(key, Outcome::Completion(completion, cost));
            }
            Entry::Rejection { number, cost, key, reason } => {
                self.close(number, cost);
                self.outcomes.insert(key, Outcome::Rejection(reason));
            }
            Entry::Failure { number, cost, .. } => self.close(number, cost),
            Entry::Tests { key, result } => {
                self.tests.insert(key, result);
            }
        }
    }

    fn close(&mut self, number: u64, cost: Money) {
        self.open.remove(&number);
        self.cost = self.cost.plus(cost);
    }
}

/// Whether a killed process may have written this of the first line.
fn is_start_of_header(line: &[u8]) -> bool {
    serde_json::to_vec(&Entry::GradeJournal { version: VERSION }).is_ok_and(|header| header.starts_with(line))
}
