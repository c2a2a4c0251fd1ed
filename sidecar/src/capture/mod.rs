//! Captures a bounded sample of prompts with their predictions and decisions, for training a router on your own traffic. Off
//! unless a folder is set; nothing else in the process writes prompts anywhere.
//!
//! Requests are sampled. A copy of each sampled one goes to the [`writer`]'s thread, which [redacts](redact) it and writes it
//! to rotating [`files`]. A full queue or disk loses records, but never a request.

mod files;
mod options;
mod record;
mod redact;
mod writer;

use std::collections::HashSet;
use std::sync::Arc;

use anyhow::Result;
use llm_router_classifier::model::prediction::HeadOutput;

pub use files::Limits;
pub use options::CaptureArgs;
pub use record::{Record, Routed};
pub use redact::Redaction;
use writer::Writer;

use crate::telemetry::captures::{Captured, Captures};

/// The maximum length of a captured prompt with its context and the names that the caller sent, in bytes. It bounds the memory of
/// the writer's queue.
const MAX_BYTES: usize = 64 << 10;

/// Which prompts are captured.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// The fraction of prompts, above 0 to 1.
    pub fraction: f64,
    /// Only prompts of these policies; all if it is empty.
    pub policies: HashSet<String>,
    /// Only prompts for which a head predicts one of these labels; all if it is empty.
    pub labels: HashSet<String>,
}

/// Captures prompts. Clones share the writer.
#[derive(Clone)]
pub struct Capture {
    sample: Arc<Sample>,
    writer: Writer,
    captures: Captures,
}

impl Capture {
    /// Starts the thread that writes to the folder.
    ///
    /// # Errors
    /// If the folder cannot be created or written to.
    pub fn start(args: &CaptureArgs, captures: Captures) -> Result<Option<Self>> {
        let Some(folder) = args.folder() else { return Ok(None) };
        let sample = args.sample();
        let writer = Writer::start(folder, args.limits(), args.redaction(), captures.clone())?;
        captures.enabled.set(1);
        tracing::warn!(
            folder = %folder.display(),
            fraction = sample.fraction,
            redaction = %args.redaction(),
            "prompts are captured; remove --capture to stop"
        );
        Ok(Some(Self { sample: Arc::new(sample), writer, captures }))
    }

    /// Decides at random whether to capture a prompt of this policy.
    pub fn draws(&self, policy: Option<&str>) -> bool {
        let Sample { fraction, policies, .. } = &*self.sample;
        let is_of_policy = policies.is_empty() || policy.is_some_and(|policy| policies.contains(policy));
        is_of_policy && fastrand::f64() < *fraction
    }

    /// Captures a prompt that was [sampled](Self::draws), if its predictions match the filter.
    pub fn capture(&self, record: Record) {
        if !self.wants(&record.scores) {
            return;
        }
        if record.bytes() > MAX_BYTES {
            self.captures.count(Captured::TooLong);
            return;
        }
        self.writer.write(record);
    }

    fn wants(&self, scores: &[HeadOutput]) -> bool {
        let labels = &self.sample.labels;
        let is_wanted = |scores: &HeadOutput| {
            scores.score.is_none() && scores.top().is_some_and(|(label, _)| labels.contains(label))
        };
        labels.is_empty() || scores.iter().any(is_wanted)
    }

    /// Waits until all captures so far are written, for at most a second.
    pub fn flush(&self) {
        self.writer.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capture(sample: Sample) -> (Capture, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let captures = Captures::default();
        let writer =
            Writer::start(folder.path(), Limits::default(), Redaction::default(), captures.clone()).unwrap();
        (Capture { sample: Arc::new(sample), writer, captures }, folder)
    }

    fn sample() -> Sample {
        Sample { fraction: 1.0, policies: HashSet::new(), labels: HashSet::new() }
    }

    fn record(text: &str, label: &str) -> Record {
        let scores = HeadOutput {
            head: "task".into(),
            labels: [label.to_owned()].into(),
            confidences: vec![1.0],
            score: None,
        };
        Record { text: text.to_owned(), scores: vec![scores], ..Record::default() }
    }

    fn written(capture: &Capture, folder: &tempfile::TempDir) -> Vec<String> {
        capture.flush();
        let files = std::fs::read_dir(folder.path()).unwrap();
        let text: String = files.map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap()).collect();
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn the_fraction_of_prompts_is_drawn() {
        let (capture, _folder) = capture(Sample { fraction: 0.25, ..sample() });
        let drawn = (0..20_000).filter(|_| capture.draws(None)).count();
        assert!((4_000..6_000).contains(&drawn), "{drawn} of 20000");
    }

    #[test]
    fn only_the_named_policies_are_drawn() {
        let (capture, _folder) = capture(Sample { policies: ["a".to_owned()].into(), ..sample() });
        assert!(capture.draws(Some("a")));
        assert!(!capture.draws(Some("b")));
        assert!(!capture.draws(None));
    }

    #[test]
    fn only_prompts_with_the_named_labels_are_written() {
        let (capture, folder) = capture(Sample { labels: ["Rewrite".to_owned()].into(), ..sample() });
        capture.capture(record("one", "Rewrite"));
        capture.capture(record("two", "Chatbot"));
        let lines = written(&capture, &folder);
        assert!(lines.len() == 1 && lines[0].contains(r#""text":"one""#), "{lines:?}");
    }

    #[test]
    fn a_prompt_that_is_too_long_is_counted_and_not_written() {
        let (capture, folder) = capture(sample());
        let (long, prompt) = ("a".repeat(MAX_BYTES), record("hi", "Chatbot"));
        for too_long in [
            Record { text: format!("{long}a"), ..prompt.clone() },
            Record { context: vec![long.clone()], ..prompt.clone() },
            Record { policy: Some(long.clone()), ..prompt.clone() },
            Record { request_id: Some(long.clone()), ..prompt.clone() },
        ] {
            capture.capture(too_long);
        }
        assert!(written(&capture, &folder).is_empty());
        assert_eq!(capture.captures.counted(Captured::TooLong), 4);
    }
}
