//! A thread that redacts records and writes them, so that no request waits for a disk.

use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Result;

use super::files::{Files, Limits};
use super::record::Record;
use super::redact::{Redaction, Redactor};
use crate::telemetry::captures::{Captured, Captures};

/// The maximum number of records in the queue. Further ones are dropped.
const WAITING_RECORDS: usize = 256;

/// The interval between checks for files that are too old.
const PRUNE_INTERVAL: Duration = Duration::from_secs(60);

/// The time limit of a flush.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

enum Message {
    Record(Box<Record>),
    /// Dropped once all earlier records are written.
    Flush(SyncSender<()>),
}

/// Passes records to the thread.
#[derive(Clone)]
pub(super) struct Writer {
    messages: SyncSender<Message>,
    captures: Captures,
}

impl Writer {
    /// Starts the thread. It ends with the last clone of the writer.
    ///
    /// # Errors
    /// If the folder cannot be written to.
    pub(super) fn start(
        folder: &Path,
        limits: Limits,
        redaction: Redaction,
        captures: Captures,
    ) -> Result<Self> {
        let files = Files::open(folder, limits)?;
        let (messages, waiting) = sync_channel(WAITING_RECORDS);
        let mut thread =
            WriterThread { files, redactor: Redactor::new(redaction), captures: captures.clone() };
        thread::Builder::new().name("capture".to_owned()).spawn(move || thread.run(&waiting))?;
        Ok(Self { messages, captures })
    }

    /// Queues the record, unless the queue is full.
    pub(super) fn write(&self, record: Record) {
        if self.messages.try_send(Message::Record(Box::new(record))).is_err() {
            self.captures.count(Captured::Dropped);
        }
    }

    /// Waits until earlier records are written.
    pub(super) fn flush(&self) {
        let (flush, flushed) = sync_channel(0);
        if self.messages.try_send(Message::Flush(flush)).is_ok() {
            let _ = flushed.recv_timeout(FLUSH_TIMEOUT);
        }
    }
}

struct WriterThread {
    files: Files,
    redactor: Redactor,
    captures: Captures,
}

impl WriterThread {
    fn run(&mut self, waiting: &Receiver<Message>) {
        let mut pruned = Instant::now();
        loop {
            match waiting.recv_timeout(PRUNE_INTERVAL) {
                Ok(Message::Record(record)) => self.write(&record),
                Ok(Message::Flush(flushed)) => drop(flushed),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if pruned.elapsed() >= PRUNE_INTERVAL {
                self.files.prune(SystemTime::now());
                pruned = Instant::now();
            }
        }
    }

    fn write(&mut self, record: &Record) {
        let line = record.line(&self.redactor);
        match self.files.append(&line, SystemTime::now()) {
            Ok(()) => {
                self.captures.count(Captured::Written);
            }
            Err(error) if self.captures.count(Captured::Failed) == 1 => {
                tracing::warn!(%error, "a captured prompt could not be written; further failures are only counted");
            }
            Err(_) => {}
        }
    }
}
