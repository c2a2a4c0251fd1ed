//! The prompts to classify.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

/// Lengths in words of the default prompts: questions of a line, instructions of a paragraph, and instructions with a
/// page to work on.
const MIX: [usize; 12] = [6, 120, 15, 40, 9, 250, 22, 12, 70, 30, 18, 400];

/// One token in any vocabulary that has English words.
const WORD: &str = "the";

/// Encoders add one before and one after each text (BERT's `[CLS]` and `[SEP]`).
const SPECIAL_TOKENS: usize = 2;

const PAGE: &str = "Please read what our customers wrote last week, say which of their wishes are new, and write \
    a short answer to each of them. The first one runs a small shop with three machines, two of which are old; she \
    wants to know whether the new release still works there, and how long it will take to install. ";

/// Prompts that all callers together cycle through.
pub struct Prompts {
    texts: Vec<Arc<str>>,
    next: AtomicUsize,
}

#[derive(Deserialize)]
struct Row {
    text: String,
}

/// A line of a file of prompts.
pub(super) struct Line {
    /// From 1.
    pub(super) number: usize,
    /// The whole line.
    pub(super) text: String,
    /// Whether it is JSON, because the file's name ends in `.jsonl`.
    pub(super) is_json: bool,
}

/// The lines of a file of prompts, without empty ones.
pub(super) fn lines(path: &Path) -> Result<Vec<Line>> {
    let file = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let is_json = path.extension().is_some_and(|extension| extension == "jsonl");
    let lines = (1..).zip(file.lines()).filter(|(_, line)| !line.trim().is_empty());
    Ok(lines.map(|(number, line)| Line { number, text: line.to_owned(), is_json }).collect())
}

/// English texts of mixed lengths.
pub(super) fn mixed_texts() -> [String; MIX.len()] {
    MIX.map(|words| PAGE.split_whitespace().cycle().take(words).collect::<Vec<_>>().join(" "))
}

impl Prompts {
    /// Reads a file: JSON Lines with a field `text` if its name ends in `.jsonl`, else one prompt per line. Empty lines are
    /// skipped.
    ///
    /// # Errors
    /// If the file cannot be read, has no prompts, or has a malformed line, which the error names.
    pub fn read(path: &Path) -> Result<Self> {
        let texts = lines(path)?.into_iter().map(|line| {
            if line.is_json {
                let row: Row = serde_json::from_str(&line.text)
                    .with_context(|| format!("{}: line {}", path.display(), line.number))?;
                return Ok(row.text.into());
            }
            Ok(line.text.into())
        });
        let texts = texts.collect::<Result<Vec<Arc<str>>>>()?;
        ensure!(!texts.is_empty(), "{} has no prompts", path.display());
        Ok(texts.into())
    }

    /// One text of this many tokens, including the special ones.
    ///
    /// # Errors
    /// If the special tokens alone are as many.
    pub fn with_tokens(tokens: usize) -> Result<Self> {
        ensure!(tokens > SPECIAL_TOKENS, "a prompt has at least {} tokens", SPECIAL_TOKENS + 1);
        Ok(vec![vec![WORD; tokens - SPECIAL_TOKENS].join(" ").into()].into())
    }

    /// English texts of mixed lengths.
    #[must_use]
    pub fn mixed() -> Self {
        mixed_texts().map(Arc::from).to_vec().into()
    }

    /// The next prompt.
    pub fn next(&self) -> Arc<str> {
        let number = self.next.fetch_add(1, Ordering::Relaxed) % self.texts.len();
        self.texts.get(number).cloned().unwrap_or_default()
    }

    /// The number of prompts, at least one.
    #[must_use]
    pub fn count(&self) -> usize {
        self.texts.len()
    }
}

impl From<Vec<Arc<str>>> for Prompts {
    fn from(texts: Vec<Arc<str>>) -> Self {
        Self { texts, next: AtomicUsize::new(0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, text: &str) -> Result<Vec<String>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        let prompts = Prompts::read(&path)?;
        Ok((0..prompts.count()).map(|_| prompts.next().to_string()).collect())
    }

    #[test]
    fn a_file_has_one_prompt_per_line() {
        assert_eq!(read("prompts.txt", "one\n\n{two}\r\n").unwrap(), ["one", "{two}"]);
        let rows = "{\"text\": \"one\\ntwo\", \"label\": \"x\"}\n{\"text\": \"three\"}\n";
        assert_eq!(read("prompts.jsonl", rows).unwrap(), ["one\ntwo", "three"]);
    }

    #[test]
    fn an_error_names_the_line() {
        let error = read("prompts.jsonl", "{\"text\": \"one\"}\n{\"prompt\": \"two\"}\n").unwrap_err();
        assert!(format!("{error:#}").contains("line 2: missing field `text`"), "{error:#}");
        assert!(read("prompts.txt", "\n \n").unwrap_err().to_string().ends_with("has no prompts"));
    }

    #[test]
    fn after_the_last_prompt_comes_the_first() {
        let prompts = Prompts::from(vec![Arc::from("a"), Arc::from("b")]);
        assert_eq!([(); 5].map(|()| prompts.next().to_string()), ["a", "b", "a", "b", "a"]);
    }

    #[test]
    fn the_mix_has_the_documented_lengths() {
        let prompts = Prompts::mixed();
        let words: Vec<_> = (0..MIX.len()).map(|_| prompts.next().split(' ').count()).collect();
        assert_eq!(words, MIX);
    }
}
