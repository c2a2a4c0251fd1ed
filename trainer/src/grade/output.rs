//! The files of a run.

use std::fs;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value, json};

use super::calls::{Completion, Paid};
use super::grader::Grader;
use super::input::{Check, GradingRow};
use super::result::{Evidence, GradedPrompt, RowResult, UngradedPrompt};

/// Where a run writes.
#[derive(Debug, Clone)]
pub(crate) struct OutputFiles {
    /// Rows with grades.
    pub(crate) graded: PathBuf,
    /// Rows without grades, with the reasons.
    pub(crate) ungraded: PathBuf,
    /// The journal of what was paid for.
    pub(crate) journal: PathBuf,
}

impl OutputFiles {
    /// The files beside `graded`; another journal if one is given.
    pub(crate) fn new(graded: PathBuf, journal: Option<PathBuf>) -> Self {
        let beside = |ending: &str| {
            let mut path = graded.clone().into_os_string();
            path.push(ending);
            PathBuf::from(path)
        };
        let (ungraded, journal) =
            (beside(".ungraded.jsonl"), journal.unwrap_or_else(|| beside(".journal.jsonl")));
        Self { graded, ungraded, journal }
    }

    /// Checks before a run that the files can be written and that nothing else is lost.
    ///
    /// # Errors
    /// Names the file.
    pub(crate) fn check(&self, inputs: &[PathBuf]) -> Result<()> {
        let outputs = [&self.graded, &self.ungraded, &self.journal];
        for (index, path) in outputs.into_iter().enumerate() {
            let place = place(path);
            // A run that continues would read an output in a folder as a file with prompts.
            let is_input = |input: &PathBuf| input.canonicalize().is_ok_and(|input| place.starts_with(input));
            ensure!(
                !inputs.iter().any(is_input),
                "{} is an input of --data, or in a folder that is one: choose another --out or --journal",
                path.display()
            );
            for other in outputs.into_iter().skip(index + 1) {
                ensure!(
                    place != self::place(other),
                    "{} would be two of the graded rows, the ungraded rows and the journal: choose another --out or --journal",
                    path.display()
                );
            }
        }
        ensure!(
            !self.graded.exists() || self.journal.exists(),
            "{} exists, but its journal {} does not: choose another --out, or remove the file",
            self.graded.display(),
            self.journal.display()
        );
        tempfile::tempfile_in(folder(&self.graded))
            .with_context(|| format!("--out {}: cannot write into its folder", self.graded.display()))?;
        Ok(())
    }

    /// Writes all rows that are finished, in their order. Returns how many have grades and how many have none.
    ///
    /// # Errors
    /// If a file cannot be written. The error names it.
    pub(crate) fn write(
        &self,
        grader: &Grader,
        rows: &[GradingRow],
        results: &[RowResult],
    ) -> Result<(usize, usize)> {
        let (mut graded, mut ungraded) = (Vec::new(), Vec::new());
        for (row, result) in rows.iter().zip(results) {
            match result {
                RowResult::Graded(prompt) => graded.push(graded_row(grader, row, prompt)),
                RowResult::Ungraded(prompt) => ungraded.push(ungraded_row(grader, row, prompt)),
                RowResult::Unfinished => {}
            }
        }
        write(&self.graded, &graded)?;
        match ungraded.is_empty() && self.ungraded.exists() {
            // From an earlier run that was interrupted.
            true => fs::remove_file(&self.ungraded)
                .with_context(|| format!("cannot remove {}", self.ungraded.display()))?,
            false if ungraded.is_empty() => {}
            false => write(&self.ungraded, &ungraded)?,
        }
        Ok((graded.len(), ungraded.len()))
    }
}

/// Replaces a file at once. Only the owner can read it: prompts are in it.
fn write(path: &Path, rows: &[Value]) -> Result<()> {
    let cannot = || format!("cannot write {}", path.display());
    let mut file = tempfile::NamedTempFile::new_in(folder(path)).with_context(cannot)?;
    let mut writer = BufWriter::new(&mut file);
    for row in rows {
        writeln!(writer, "{row}").with_context(cannot)?;
    }
    writer.flush().with_context(cannot)?;
    drop(writer);
    file.persist(path).with_context(cannot)?;
    Ok(())
}

/// The absolute path of a file that may not exist yet.
fn place(path: &Path) -> PathBuf {
    let in_folder = || {
        let folder = folder(path).canonicalize().unwrap_or_else(|_| folder(path).to_owned());
        folder.join(path.file_name().unwrap_or_default())
    };
    path.canonicalize().unwrap_or_else(|_| in_folder())
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn graded_row(grader: &Grader, row: &GradingRow, prompt: &GradedPrompt) -> Value {
    let (weak, strong) = prompt.grades;
    let mut fields = prompt_fields(row);
    let mut set = |name: &str, value: Value| fields.insert(name.to_owned(), value);
    set("weak", weak.into());
    set("strong", strong.into());
    set("score", ((weak - strong + 1.0) / 2.0).into());
    set("method", method(&row.check).into());
    set_completion(&mut set, "weak", &grader.weak.name, Some(&prompt.weak));
    set_completion(&mut set, "strong", &grader.strong.name, Some(&prompt.strong));
    set("cost_usd", cost(grader, prompt.cost.dollars()));
    match &prompt.evidence {
        Evidence::Row => {}
        Evidence::Tests(results) => {
            let [weak, strong] = results.as_ref();
            set("test_results", json!({ "weak": weak.detail, "strong": strong.detail }));
        }
        Evidence::SameText => {
            set("judge", json!({ "verdict": "tie", "same_text": true }));
        }
        Evidence::Judge { verdict, weak_first, strong_first } => {
            let model = grader.judge.as_ref().map(|judge| judge.name.as_str());
            set(
                "judge",
                json!({ "model": model, "verdict": verdict, "weak_first": weak_first.text, "strong_first": strong_first.text }),
            );
        }
    }
    Value::from(fields)
}

fn ungraded_row(grader: &Grader, row: &GradingRow, prompt: &UngradedPrompt) -> Value {
    let mut fields = prompt_fields(row);
    let mut set = |name: &str, value: Value| fields.insert(name.to_owned(), value);
    set("reason", prompt.reason.clone().into());
    set("method", method(&row.check).into());
    set_completion(&mut set, "weak", &grader.weak.name, prompt.weak.as_ref());
    set_completion(&mut set, "strong", &grader.strong.name, prompt.strong.as_ref());
    set("cost_usd", cost(grader, prompt.cost.dollars()));
    Value::from(fields)
}

/// The prompt, and the other fields of its row.
fn prompt_fields(row: &GradingRow) -> Map<String, Value> {
    let mut fields = Map::new();
    fields.insert("text".to_owned(), row.text.clone().into());
    fields.insert("context".to_owned(), row.context.clone().into());
    fields.extend(row.others.clone());
    fields
}

fn set_completion(
    set: &mut impl FnMut(&str, Value) -> Option<Value>,
    role: &str,
    model: &str,
    paid: Option<&Paid>,
) {
    set(&format!("{role}_model"), model.into());
    let completion = paid.map(|paid| &paid.completion);
    let field = |value: &dyn Fn(&Completion) -> Value| completion.map_or(Value::Null, value);
    set(&format!("{role}_completion"), field(&|completion| completion.text.clone().into()));
    set(&format!("{role}_finish_reason"), field(&|completion| completion.finish_reason.clone().into()));
    set(&format!("{role}_usage"), field(&|completion| json!(completion.usage)));
}

/// The cost, if the prices are known.
fn cost(grader: &Grader, dollars: f64) -> Value {
    match grader.has_prices() {
        true => dollars.into(),
        false => Value::Null,
    }
}

/// The name of a method of grading.
pub(super) fn method(check: &Check) -> &'static str {
    match check {
        Check::Answers(_) => "answer",
        Check::Pattern(_) => "regex",
        Check::Tests(_) => "tests",
        Check::Judge => "judge",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_output_that_is_not_ours_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let files = OutputFiles::new(path("out"), None);
        files.check(&[path("data")]).unwrap();
        fs::write(path("out"), "mine").unwrap();
        let error = |files: &OutputFiles, inputs: &[PathBuf]| files.check(inputs).unwrap_err().to_string();
        assert!(error(&files, &[]).contains("out.journal.jsonl does not: choose another --out"));
        fs::write(path("out.journal.jsonl"), "").unwrap();
        files.check(&[]).unwrap();
        assert!(error(&files, &[path("out")]).contains("is an input of --data"));
        let elsewhere = OutputFiles::new(path("none/out"), None);
        assert!(error(&elsewhere, &[]).contains("cannot write into its folder"));
    }
}
