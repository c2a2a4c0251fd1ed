//! Labelled texts from JSON Lines files.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// One labelled text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The text, as the classifier will read it.
    pub text: String,
    /// Its label.
    pub label: String,
    /// Where it is from: an index into [`Data::sources`].
    pub source: usize,
}

/// How a line of a file becomes a [`Row`].
#[derive(Debug)]
pub struct Fields {
    /// The field with the text.
    pub text: String,
    /// The field with the label.
    pub label: String,
    /// New names for labels; others stay as they are.
    pub renames: BTreeMap<String, String>,
}

/// Files and folders as they were given, and their rows in order.
#[derive(Debug, Default)]
pub struct Data {
    /// The files' and folders' paths.
    pub sources: Vec<PathBuf>,
    /// Every row, each text once.
    pub rows: Vec<Row>,
}

impl Data {
    /// Reads files, and all `.jsonl` files of folders. A text that was there before, or that `exclude` has, is left
    /// out: it would be in training and in validation.
    ///
    /// # Errors
    /// If a file is missing or a line is wrong; the error names file and line.
    pub fn read(paths: &[PathBuf], fields: &Fields, exclude: &Data) -> Result<Self> {
        let mut seen: HashSet<String> = exclude.rows.iter().map(|row| row.text.clone()).collect();
        let mut data = Self::default();
        for (source, path) in paths.iter().enumerate() {
            for file in files(path)? {
                let lines = std::fs::read_to_string(&file)
                    .with_context(|| format!("cannot read {}", file.display()))?;
                for (index, line) in lines.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
                    let row = parse(line, fields, source)
                        .with_context(|| format!("{}, line {}", file.display(), index + 1))?;
                    if seen.insert(row.text.clone()) {
                        data.rows.push(row);
                    }
                }
            }
            data.sources.push(path.clone());
        }
        Ok(data)
    }

    /// The rows' labels, sorted.
    #[must_use]
    pub fn labels(&self) -> Vec<String> {
        let mut labels: Vec<_> = self.rows.iter().map(|row| row.label.clone()).collect();
        labels.sort();
        labels.dedup();
        labels
    }
}

/// The path itself, or the `.jsonl` files of a folder.
fn files(path: &Path) -> Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in path.read_dir().with_context(|| format!("cannot read {}", path.display()))? {
        files.push(entry?.path());
    }
    files.retain(|path| path.extension().is_some_and(|extension| extension == "jsonl"));
    files.sort();
    ensure!(!files.is_empty(), "{} has no .jsonl files", path.display());
    Ok(files)
}

fn parse(line: &str, fields: &Fields, source: usize) -> Result<Row> {
    let value: Value = serde_json::from_str(line)?;
    let field = |name: &str| {
        value
            .get(name)
            .and_then(Value::as_str)
            .with_context(|| format!("the field {name:?} must be a string"))
    };
    let (text, label) = (field(&fields.text)?, field(&fields.label)?);
    let label = fields.renames.get(label).map_or(label, String::as_str);
    Ok(Row { text: text.to_owned(), label: label.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields() -> Fields {
        let renames = [("open_qa".to_owned(), "Open QA".to_owned())].into();
        Fields { text: "text".into(), label: "label".into(), renames }
    }

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in files {
            std::fs::write(folder.path().join(name), content).unwrap();
        }
        folder
    }

    fn read(folder: &tempfile::TempDir, exclude: &Data) -> Result<Data> {
        Data::read(&[folder.path().to_owned()], &fields(), exclude)
    }

    #[test]
    fn a_folders_files_are_read_in_order_and_labels_renamed() {
        let folder = folder(&[
            ("b.jsonl", r#"{"text": "2", "label": "Chatbot"}"#),
            ("a.jsonl", "{\"text\": \"1\", \"label\": \"open_qa\"}\n\n"),
            ("notes.txt", "not data"),
        ]);
        let data = read(&folder, &Data::default()).unwrap();
        assert_eq!(
            data.rows,
            [
                Row { text: "1".into(), label: "Open QA".into(), source: 0 },
                Row { text: "2".into(), label: "Chatbot".into(), source: 0 }
            ]
        );
        assert_eq!(data.labels(), ["Chatbot", "Open QA"]);
    }

    #[test]
    fn a_text_is_there_once_and_never_in_both_sets() {
        let validation = folder(&[("v.jsonl", r#"{"text": "held out", "label": "a"}"#)]);
        let training = folder(&[(
            "t.jsonl",
            "{\"text\": \"held out\", \"label\": \"a\"}\n{\"text\": \"x\", \"label\": \"a\"}\n{\"text\": \"x\", \"label\": \"b\"}",
        )]);
        let validation = read(&validation, &Data::default()).unwrap();
        let data = read(&training, &validation).unwrap();
        assert_eq!(data.rows, [Row { text: "x".into(), label: "a".into(), source: 0 }]);
    }

    #[test]
    fn a_wrong_line_is_named() {
        let folder = folder(&[("a.jsonl", "{\"text\": \"1\", \"label\": \"a\"}\n{\"text\": \"1\"}")]);
        let error = format!("{:#}", read(&folder, &Data::default()).unwrap_err());
        assert!(error.contains("a.jsonl, line 2") && error.contains("\"label\""), "{error}");
    }
}
