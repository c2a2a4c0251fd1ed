//! Reads labelled texts from files.

mod row;

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::slice;

use anyhow::{Result, bail, ensure};

pub(crate) use row::PromptKey;
pub use row::{TrainingRow, TrainingTarget};

use super::plan::{HeadKind, HeadPlan, Source};
use llm_router_classifier::records::read_all;

/// The rows of files and folders, in the order in which they were given.
#[derive(Debug, Default)]
pub struct Data {
    /// The files' and folders' paths.
    pub sources: Vec<PathBuf>,
    /// The weight of each source, in addition to that of its size.
    pub weights: Vec<f64>,
    /// All rows. Each prompt occurs once.
    pub rows: Vec<TrainingRow>,
}

impl Data {
    /// Reads a head's files, and all `.jsonl` and `.csv` files of folders. Repeated prompts are left out, and so are those of
    /// `exclude`, since a prompt must not be in training and in validation.
    ///
    /// # Errors
    /// If a file is missing or a line is invalid. The error names file and line.
    pub fn read(sources: &[Source], head: &HeadPlan, exclude: &HashSet<PromptKey>) -> Result<Self> {
        let mut data = Self::default();
        let mut seen = HashSet::new();
        for (index, source) in sources.iter().enumerate() {
            let mut rows = Vec::new();
            for record in read_all(slice::from_ref(&source.path))? {
                rows.extend(TrainingRow::read(&record, source, head, index)?);
            }
            rows.retain(|row| !exclude.contains(&row.key()) && seen.insert(row.key()));
            data.rows.extend(match source.limit {
                Some(limit) => sample(rows, limit),
                None => rows,
            });
            data.sources.push(source.path.clone());
            data.weights.push(source.weight);
        }
        Ok(data)
    }

    /// The labels of the rows, sorted; empty for numbers.
    #[must_use]
    pub fn labels(&self) -> Vec<String> {
        let mut labels: Vec<String> = self.rows.iter().flat_map(|row| row.target.labels()).cloned().collect();
        labels.sort();
        labels.dedup();
        labels
    }

    /// Rejects labels that differ in capitals or white space only, since they are meant to be the same.
    ///
    /// # Errors
    /// Names two such labels and their sources.
    pub(super) fn check_spelling(&self) -> Result<()> {
        let mut spellings: BTreeMap<String, (&String, usize)> = BTreeMap::new();
        for row in &self.rows {
            for label in row.target.labels() {
                let (first, source) =
                    *spellings.entry(label.trim().to_lowercase()).or_insert((label, row.source));
                if first != label {
                    let from =
                        |source| self.sources.get(source).map(|path: &PathBuf| path.display().to_string());
                    bail!(
                        "labels {first:?} ({}) and {label:?} ({}) differ in capitals or white space only: write them \
                         the same way, or rename one with --map {}, or map in a plan",
                        from(source).unwrap_or_default(),
                        from(row.source).unwrap_or_default(),
                        shlex::try_quote(&format!("{label}={first}"))?,
                    );
                }
            }
        }
        Ok(())
    }

    /// Rejects a score's field without any number: the head would learn nothing of it.
    ///
    /// # Errors
    /// Names the field.
    pub(super) fn check_numbers(&self, plan: &HeadPlan) -> Result<()> {
        if plan.kind != HeadKind::Score {
            return Ok(());
        }
        for (index, field) in plan.score_fields.iter().enumerate() {
            let has_number = |row: &TrainingRow| match &row.target {
                TrainingTarget::Numbers(numbers) => numbers.get(index).is_some_and(Option::is_some),
                TrainingTarget::Label(_) | TrainingTarget::Labels(_) => false,
            };
            ensure!(
                self.rows.iter().any(has_number),
                "data: no row has a number in the field {field:?}; --score-fields, or score_fields in a plan, names the fields"
            );
        }
        Ok(())
    }
}

/// A random sample of the rows, in their order. It is the same each time.
fn sample(rows: Vec<TrainingRow>, limit: usize) -> Vec<TrainingRow> {
    let mut chosen: Vec<_> = rows.into_iter().enumerate().collect();
    fastrand::Rng::with_seed(1).shuffle(&mut chosen);
    chosen.truncate(limit);
    chosen.sort_by_key(|(index, _)| *index);
    chosen.into_iter().map(|(_, row)| row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in files {
            std::fs::write(folder.path().join(name), content).unwrap();
        }
        folder
    }

    fn source(folder: &tempfile::TempDir) -> Source {
        Source::from(folder.path().to_owned())
    }

    fn read_as(kind: HeadKind, source: &Source, exclude: &HashSet<PromptKey>) -> Result<Data> {
        let head = HeadPlan { kind, ..HeadPlan::new("head", vec![source.clone()]) };
        Data::read(&head.data, &head, exclude)
    }

    fn read(source: &Source) -> Result<Data> {
        read_as(HeadKind::SingleLabel, source, &HashSet::new())
    }

    fn row(text: &str, label: &str) -> TrainingRow {
        TrainingRow {
            text: text.into(),
            context: Vec::new(),
            target: TrainingTarget::Label(label.into()),
            source: 0,
        }
    }

    #[test]
    fn a_folders_files_are_read_in_order_and_labels_renamed() {
        let folder = folder(&[
            ("b.jsonl", r#"{"text": "2", "label": "Chatbot"}"#),
            ("a.jsonl", "{\"text\": \"1\", \"label\": \"open_qa\"}\n\n"),
            ("c.csv", "text,label\n\"3, 4\n5\",Chatbot\n"),
            ("notes.txt", "not data"),
        ]);
        let map = [("open_qa".to_owned(), "Open QA".to_owned())].into();
        let data = read(&Source { map, ..source(&folder) }).unwrap();
        assert_eq!(data.rows, [row("1", "Open QA"), row("2", "Chatbot"), row("3, 4\n5", "Chatbot")]);
        assert_eq!(data.labels(), ["Chatbot", "Open QA"]);
    }

    #[test]
    fn repeated_and_excluded_texts_are_left_out() {
        let folder = folder(&[(
            "t.jsonl",
            "{\"text\": \"held out\", \"label\": \"a\"}\n{\"text\": \"x\", \"label\": \"a\"}\n{\"text\": \"x\", \"label\": \"b\"}",
        )]);
        let data =
            read_as(HeadKind::SingleLabel, &source(&folder), &[("held out".to_owned(), Vec::new())].into())
                .unwrap();
        assert_eq!(data.rows, [row("x", "a")]);
    }

    #[test]
    fn the_same_text_after_another_message_is_another_prompt() {
        let rows = r#"{"text": "shorter", "label": "a", "context": ["a poem"]}
            {"text": "shorter", "label": "b", "context": []}
            {"text": "shorter", "label": "b"}"#;
        let folder = folder(&[("t.jsonl", rows)]);
        let data = read(&source(&folder)).unwrap();
        assert_eq!(data.rows.len(), 2);
        assert_eq!(
            (data.rows[0].context.as_slice(), &data.rows[1]),
            (&["a poem".to_owned()][..], &row("shorter", "b"))
        );
        let folder = self::folder(&[("t.jsonl", r#"{"text": "x", "label": "a", "context": "y"}"#)]);
        let error = format!("{:#}", read(&source(&folder)).unwrap_err());
        assert!(error.contains("\"context\" must be a list of strings"), "{error}");
    }

    #[test]
    fn a_source_can_give_one_label_to_some_of_its_rows() {
        let rows: Vec<_> = (0..9).map(|n| format!(r#"{{"text": "{n}", "label": "{}"}}"#, n % 2)).collect();
        let folder = folder(&[("a.jsonl", &rows.join("\n"))]);
        let one = Source { label: Some("safe".into()), limit: Some(4), ..source(&folder) };
        let data = read(&one).unwrap();
        assert_eq!((data.rows.len(), data.labels()), (4, vec!["safe".to_owned()]));
        assert_eq!(read(&one).unwrap().rows, data.rows);
        let only = Source { only: ["1".to_owned()].into(), ..source(&folder) };
        assert_eq!(read(&only).unwrap().rows.len(), 4);
    }

    #[test]
    fn several_labels_are_a_list_or_separated() {
        let folder = folder(&[
            ("a.jsonl", "{\"text\": \"1\", \"label\": [\"a\", \"b\"]}\n{\"text\": \"2\", \"label\": []}"),
            ("b.csv", "text,label\n3,b | c\n4,\n"),
        ]);
        let data = read_as(HeadKind::MultiLabel, &source(&folder), &HashSet::new()).unwrap();
        let labels: Vec<_> = data
            .rows
            .iter()
            .map(|row| match &row.target {
                TrainingTarget::Labels(labels) => labels.join("+"),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(labels, ["a+b", "", "b+c", ""]);
        assert_eq!(data.labels(), ["a", "b", "c"]);
    }

    #[test]
    fn numbers_may_be_missing_but_not_out_of_range() {
        let folder =
            folder(&[("a.csv", "text,x,y\n1,0.5,\n2,1,0\n"), ("b.jsonl", r#"{"text": "3", "y": 0.25}"#)]);
        let head = HeadPlan {
            kind: HeadKind::Score,
            score_fields: ["x", "y"].map(str::to_owned).to_vec(),
            ..HeadPlan::new("head", vec![source(&folder)])
        };
        let data = Data::read(&head.data, &head, &HashSet::new()).unwrap();
        let targets: Vec<_> = data.rows.iter().map(|row| row.target.clone()).collect();
        let numbers = [[Some(0.5), None], [Some(1.0), Some(0.0)], [None, Some(0.25)]];
        assert_eq!(targets, numbers.map(|numbers| TrainingTarget::Numbers(numbers.to_vec())));
        std::fs::write(folder.path().join("a.csv"), "text,x\n1,7\n").unwrap();
        let error = format!("{:#}", Data::read(&head.data, &head, &HashSet::new()).unwrap_err());
        assert!(error.contains("a.csv, line 2") && error.contains("\"x\""), "{error}");
    }

    #[test]
    fn an_invalid_line_is_named() {
        let folder = folder(&[("a.jsonl", "{\"text\": \"1\", \"label\": \"a\"}\n{\"text\": \"1\"}")]);
        let error = format!("{:#}", read(&source(&folder)).unwrap_err());
        assert!(error.contains("a.jsonl, line 2") && error.contains("\"label\""), "{error}");
    }
}
