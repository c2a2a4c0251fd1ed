//! All rows of the input files.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::PathBuf;

use anyhow::{Result, bail, ensure};
use llm_router_classifier::records::read_all;
use serde_json::Value;

use super::row::{Check, GradingRow};

/// The rows to grade. Each prompt occurs once.
#[derive(Debug)]
pub(crate) struct GradingRows {
    /// In the order of the files.
    pub(crate) rows: Vec<GradingRow>,
    /// The number of rows that were left out, because an earlier one has the same prompt.
    pub(crate) duplicates: usize,
}

/// How a run may grade.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Methods {
    /// There is a judge.
    pub(crate) judge: bool,
    /// Code may be run.
    pub(crate) code: bool,
}

impl GradingRows {
    /// Reads and checks all rows.
    ///
    /// # Errors
    /// If a file cannot be read, or a row is invalid; the error names file, line and field.
    pub(crate) fn read(files: &[PathBuf]) -> Result<Self> {
        let records = read_all(files)?;
        // The place of each prompt's first row in `rows`.
        let mut seen: HashMap<String, usize> = HashMap::new();
        let (mut rows, mut duplicates): (Vec<GradingRow>, usize) = (Vec::new(), 0);
        for record in &records {
            let row = GradingRow::from_record(record)?;
            match seen.entry(Value::from(row.messages.clone()).to_string()) {
                Entry::Vacant(entry) => {
                    entry.insert(rows.len());
                    rows.push(row);
                }
                Entry::Occupied(first) => {
                    if let Some(first) = rows.get(*first.get()) {
                        check_duplicate(first, &row)?;
                    }
                    duplicates += 1;
                }
            }
        }
        Ok(Self { rows, duplicates })
    }

    /// Checks that every row can be graded.
    ///
    /// # Errors
    /// Names the option that is missing, and how many rows need it.
    pub(crate) fn ensure_gradable(&self, methods: Methods) -> Result<()> {
        let with = |wanted: fn(&Check) -> bool| self.rows.iter().filter(move |row| wanted(&row.check));
        let tests = || with(|check| matches!(check, Check::Tests(_)));
        if !methods.code
            && let Some(first) = tests().next()
        {
            bail!(
                "{}: the field \"tests\" runs code that a model wrote ({} rows have it): use --run-code to allow that, in a \
                 container or a virtual machine, or remove the field",
                first.place,
                tests().count()
            );
        }
        let judged = || with(|check| matches!(check, Check::Judge));
        if !methods.judge
            && let Some(first) = judged().next()
        {
            bail!(
                "{} of {} rows have no \"answer\", \"answer_regex\" or \"tests\" (the first is {}): give them one, or name a \
                 model that compares the completions with --judge MODEL",
                judged().count(),
                self.rows.len(),
                first.place
            );
        }
        Ok(())
    }
}

/// Rejects a repeated prompt with another answer.
fn check_duplicate(first: &GradingRow, second: &GradingRow) -> Result<()> {
    let same = match (&first.check, &second.check) {
        (Check::Answers(one), Check::Answers(other)) => one == other,
        (Check::Pattern(one), Check::Pattern(other)) => one.as_str() == other.as_str(),
        (Check::Tests(one), Check::Tests(other)) => one == other,
        (Check::Judge, Check::Judge) => true,
        _ => false,
    };
    ensure!(
        same,
        "{}: the prompt is that of {}, but \"answer\", \"answer_regex\" or \"tests\" differs: remove the wrong row",
        second.place,
        first.place
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&str]) -> Result<GradingRows> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.jsonl");
        std::fs::write(&path, lines.join("\n")).unwrap();
        GradingRows::read(&[path])
    }

    fn error(lines: &[&str]) -> String {
        format!("{:#}", read(lines).unwrap_err())
    }

    #[test]
    fn a_row_has_a_prompt_by_either_name_or_a_conversation() {
        let found = read(&[
            r#"{"text": "One?", "answer": "1", "id": 7, "source": "quiz"}"#,
            r#"{"prompt": "Two?", "context": ["One?"], "answer_regex": "^2"}"#,
            r#"{"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "A"}, {"role": "user", "content": "B"}]}"#,
            r#"{"text": "C", "prompt": "C", "answer": null, "tests": "assert True"}"#,
        ])
        .unwrap();
        let [one, two, three, four] = found.rows.try_into().unwrap();
        assert!(matches!(one.check, Check::Answers(_)));
        assert_eq!((one.others["id"].clone(), one.others["source"].as_str()), (7.into(), Some("quiz")));
        assert_eq!((two.text.as_str(), two.context.as_slice()), ("Two?", &["One?".to_owned()][..]));
        let sent: Vec<_> =
            two.messages.iter().map(|message| (&message["role"], &message["content"])).collect();
        assert_eq!(sent, [(&Value::from("user"), &"One?".into()), (&"user".into(), &"Two?".into())]);
        assert!(matches!(two.check, Check::Pattern(_)) && !two.others.contains_key("prompt"));
        assert_eq!((three.text.as_str(), three.context.as_slice()), ("B", &["A".to_owned()][..]));
        assert_eq!(three.messages.len(), 3);
        assert!(matches!(three.check, Check::Judge) && matches!(four.check, Check::Tests(_)));
    }

    #[test]
    fn an_invalid_row_is_named_with_its_field() {
        for (row, wrong) in [
            (r#"{"question": "x"}"#, "the field \"text\" is missing among \"question\""),
            (r#"{"text": 3}"#, "the field \"text\" must be a string, but is 3"),
            (r#"{"text": "  "}"#, "the field \"text\" has no text"),
            (r#"{"text": "a", "prompt": "b"}"#, "\"text\" and \"prompt\" differ"),
            (r#"{"text": "a", "context": "b"}"#, "\"context\" must be a list of strings"),
            (r#"{"text": "a", "answer": []}"#, "the field \"answer\" must be"),
            (r#"{"text": "a", "answer_regex": "("}"#, "\"answer_regex\" is not a regular expression"),
            (r#"{"text": "a", "tests": ["x"]}"#, "the field \"tests\" must be a string"),
            (
                r#"{"text": "a", "answer": "x", "tests": "y"}"#,
                "keep one of the fields [\"answer\", \"tests\"]",
            ),
            (r#"{"messages": [{"role": "user"}]}"#, "messages[0].content"),
            (r#"{"messages": "hi"}"#, "\"messages\" must be a list"),
        ] {
            let error = error(&[r#"{"text": "good"}"#, row]);
            assert!(error.contains("rows.jsonl, line 2: ") && error.contains(wrong), "{row}: {error}");
        }
    }

    #[test]
    fn a_repeated_prompt_is_graded_once_and_must_have_the_same_answer() {
        let rows = [
            r#"{"text": "a", "answer": "1"}"#,
            r#"{"prompt": "a", "answer": ["1"]}"#,
            r#"{"text": "a", "context": ["b"]}"#,
        ];
        let found = read(&rows).unwrap();
        assert_eq!((found.rows.len(), found.duplicates), (2, 1));
        let error = error(&[rows[0], r#"{"text": "a", "answer": "2"}"#]);
        assert!(error.contains("line 2: the prompt is that of") && error.contains("line 1"), "{error}");
    }

    #[test]
    fn rows_that_cannot_be_graded_are_counted_with_the_option_to_add() {
        let rows = read(&[r#"{"text": "a"}"#, r#"{"text": "b", "tests": "x"}"#, r#"{"text": "c"}"#]).unwrap();
        let error = |judge, code| rows.ensure_gradable(Methods { judge, code }).unwrap_err().to_string();
        assert!(error(false, true).starts_with("2 of 3 rows"), "{}", error(false, true));
        assert!(error(false, true).contains("--judge"));
        assert!(
            error(true, false).contains("line 2: the field \"tests\"")
                && error(true, false).contains("--run-code")
        );
        rows.ensure_gradable(Methods { judge: true, code: true }).unwrap();
    }
}
