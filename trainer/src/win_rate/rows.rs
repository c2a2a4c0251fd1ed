//! Prompts with grades for the completions of two models.

use std::collections::HashMap;
use std::path::PathBuf;
use std::slice;

use anyhow::{Result, bail, ensure};
use serde_json::Value;

use super::groups::{Groups, Tie};
use super::names::Names;
use super::usage::{TokenCounts, UnreadableUsage, tokens};
use crate::eval::length;
use llm_router_classifier::records::{CONTEXT_FIELD, Record, read_all};

/// Names of the fields that files may have under other names.
#[derive(Debug, Clone)]
pub struct GradedFields {
    /// The prompt.
    pub text: String,
    /// What prompts have in common that must stay on one side of a split, such as a conversation.
    pub group: String,
}

/// Graded prompts. Each prompt occurs once.
#[derive(Debug, Default)]
pub struct GradedPrompts {
    /// The files and folders.
    pub sources: Vec<PathBuf>,
    /// The prompts, in the order of the files.
    pub prompts: Vec<GradedPrompt>,
    /// The number of graded rows. Rows with the same prompt are one prompt with the mean of their grades.
    pub rows: usize,
    /// The number of rows without grades, which are left out.
    pub ungraded: usize,
    /// The models whose completions were graded, if the rows name them.
    pub models: Option<Names>,
    /// The fields with token usage that cannot be read.
    pub unreadable_usage: UnreadableUsage,
}

/// A prompt with the grades of both models' completions.
#[derive(Debug, Clone, PartialEq)]
pub struct GradedPrompt {
    /// What the classifier will read.
    pub text: String,
    /// What the same user said before, oldest first.
    pub context: Vec<String>,
    /// The prompt's source: an index into [`GradedPrompts::sources`].
    pub source: usize,
    /// Prompts with the same number are kept together: those of a group in the files, and those with the same text, whatever
    /// was said before it.
    pub group: usize,
    /// The weak model's completion.
    pub weak: Completion,
    /// The strong model's completion.
    pub strong: Completion,
}

/// A graded completion, or the mean of several.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Completion {
    /// The grade, from 0 to 1.
    pub grade: f64,
    /// The tokens of its request, if the row has them.
    pub tokens: Option<TokenCounts>,
}

impl GradedPrompt {
    /// What a head learns: 1 if only the weak model is right, 0 if only the strong one is, 0.5 where it makes no difference.
    ///
    /// Predicting the gain beats predicting whether the weak model is wrong: where both fail, neither helps.
    #[must_use]
    pub fn score(&self) -> f64 {
        (self.weak.grade - self.strong.grade + 1.0) / 2.0
    }
}

/// The length of a prompt, which a router without a classifier could use as a score.
#[must_use]
pub fn prompt_length(prompt: &GradedPrompt) -> f64 {
    length(&prompt.text)
}

impl GradedPrompts {
    /// The number of prompts on which both models have different grades.
    #[must_use]
    pub fn different(&self) -> usize {
        self.prompts.iter().filter(|prompt| prompt.weak.grade != prompt.strong.grade).count()
    }

    /// Reads JSON Lines or CSV files, or folders of them.
    ///
    /// # Errors
    /// If a file cannot be read, a field is missing or a grade is not from 0 to 1. The error names file and line.
    pub fn read(paths: &[PathBuf], fields: &GradedFields) -> Result<Self> {
        let mut all = Self { sources: paths.to_vec(), ..Self::default() };
        let (mut known, mut groups) = (HashMap::new(), Groups::default());
        for (source, path) in paths.iter().enumerate() {
            for record in read_all(slice::from_ref(path))? {
                let Some(grades) = grades(&record)? else {
                    all.ungraded += 1;
                    continue;
                };
                all.check_models(&record)?;
                let tokens = ["weak_usage", "strong_usage"]
                    .map(|field| all.unreadable_usage.or(tokens(&record, field)));
                let group = groups.add(ties(&record, fields)?);
                let prompt = prompt(&record, fields, source, group, grades, tokens)?;
                all.rows += 1;
                let next = all.prompts.len();
                let (index, count) = known.entry(key(&prompt)).or_insert((next, 0u32));
                match all.prompts.get_mut(*index) {
                    Some(same) => same.add(&prompt, f64::from(*count)),
                    None => all.prompts.push(prompt),
                }
                *count += 1;
            }
        }
        ensure!(
            !all.prompts.is_empty(),
            "no row has grades: each row needs \"weak\" and \"strong\", the grades of both models' completions from 0 to \
             1, as `llm-router-train grade` writes them"
        );
        let numbers = groups.numbers(all.prompts.iter().map(|prompt| prompt.group));
        for (prompt, number) in all.prompts.iter_mut().zip(numbers) {
            prompt.group = number;
        }
        Ok(all)
    }
}

impl GradedPrompts {
    /// Rejects a row of another pair of models than those before it.
    fn check_models(&mut self, record: &Record) -> Result<()> {
        let name = |field: &str| record.fields.get(field).and_then(Value::as_str).map(str::to_owned);
        let Some((weak, strong)) = name("weak_model").zip(name("strong_model")) else { return Ok(()) };
        ensure!(
            weak != strong,
            "{record}: \"weak_model\" and \"strong_model\" are both {weak:?}, but a head chooses between two models: correct \
             the names, or if one name stands for two models, remove these fields and use --weak-name and --strong-name"
        );
        let models = self.models.get_or_insert_with(|| Names { weak: weak.clone(), strong: strong.clone() });
        ensure!(
            models.weak == weak && models.strong == strong,
            "{record}: the grades are of {weak} and {strong}, and those of rows before it of {models}: a head is for one \
             pair of models, so use the rows of each pair separately"
        );
        Ok(())
    }
}

impl GradedPrompt {
    /// Takes the mean with another row of the same prompt. `count` is the number of rows so far.
    fn add(&mut self, other: &Self, count: f64) {
        self.weak.add(&other.weak, count);
        self.strong.add(&other.strong, count);
    }
}

impl Completion {
    fn add(&mut self, other: &Self, count: f64) {
        let mean = |old: f64, new: f64| (old * count + new) / (count + 1.0);
        self.grade = mean(self.grade, other.grade);
        self.tokens = self.tokens.zip(other.tokens).map(|(old, new)| TokenCounts {
            prompt: mean(old.prompt, new.prompt),
            completion: mean(old.completion, new.completion),
        });
    }
}

/// The identity of a prompt: its texts, without capitals and surplus white space, in which copies often
/// differ.
type Key = Vec<String>;

fn key(prompt: &GradedPrompt) -> Key {
    prompt.context.iter().chain([&prompt.text]).map(|text| plain(text)).collect()
}

/// A text without capitals and surplus white space.
fn plain(text: &str) -> String {
    text.to_lowercase().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What a row has in common with others that depend on it. Rows with the same text are tied even if their
/// contexts differ: in different folds, a head that only remembers the text would seem to have learnt
/// something.
fn ties(record: &Record, fields: &GradedFields) -> Result<impl Iterator<Item = Tie>> {
    let name = match record.fields.get(&fields.group) {
        None | Some(Value::Null) => None,
        Some(Value::String(name)) if name.is_empty() => None,
        Some(Value::String(name)) => Some(name.clone()),
        Some(number @ Value::Number(_)) => Some(number.to_string()),
        Some(_) => bail!("{record}: the field {:?} must be a string or a number", fields.group),
    };
    let text = plain(record.text(&fields.text)?);
    Ok(name.map(Tie::Name).into_iter().chain([Tie::Text(text)]))
}

fn prompt(
    record: &Record,
    fields: &GradedFields,
    source: usize,
    group: usize,
    (weak, strong): (f64, f64),
    [weak_tokens, strong_tokens]: [Option<TokenCounts>; 2],
) -> Result<GradedPrompt> {
    Ok(GradedPrompt {
        text: record.text(&fields.text)?.to_owned(),
        context: record.texts_if_any(CONTEXT_FIELD)?,
        source,
        group,
        weak: Completion { grade: weak, tokens: weak_tokens },
        strong: Completion { grade: strong, tokens: strong_tokens },
    })
}

/// The grades of both completions, or none if either could not be graded.
fn grades(record: &Record) -> Result<Option<(f64, f64)>> {
    let grade = |field: &str| -> Result<Option<f64>> {
        ensure!(
            record.fields.contains_key(field),
            "{record}: the field {field:?} is missing: each row needs \"weak\" and \"strong\", the grades of both models' \
             completions from 0 to 1"
        );
        let grade = record.number_if_any(field)?;
        ensure!(
            grade.is_none_or(|grade| (0.0..=1.0).contains(&grade)),
            "{record}: the grade {field:?} must be from 0 to 1; it is {}",
            grade.unwrap_or_default()
        );
        Ok(grade)
    };
    Ok(grade("weak")?.zip(grade("strong")?))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use serde_json::json;

    use super::*;
    use crate::win_rate::folds::assign;

    fn read(rows: &str) -> Result<GradedPrompts> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("graded.jsonl");
        std::fs::write(&path, rows).unwrap();
        let fields = GradedFields { text: "text".into(), group: "group".into() };
        GradedPrompts::read(&[path], &fields)
    }

    #[test]
    fn rows_of_the_same_prompt_are_one_prompt_with_the_mean_grade() {
        let rows = r#"{"text": "What is 2 + 2?", "weak": 1, "strong": 1, "extra": [1]}
            {"text": "Sort a list", "weak": 0, "strong": 1}
            {"text": "what  is 2 + 2?\n", "weak": 0, "strong": 1}
            {"text": "What is 2 + 2?", "weak": 0, "strong": 1, "context": ["Hi"]}
            {"text": "What is 2 + 2?", "weak": 0, "strong": 0.5}"#;
        let found = read(rows).unwrap();
        assert_eq!((found.rows, found.prompts.len()), (5, 3));
        let first = &found.prompts[0];
        assert_eq!(first.text, "What is 2 + 2?");
        assert!(
            (first.weak.grade - 1.0 / 3.0).abs() < 1e-12 && (first.strong.grade - 2.5 / 3.0).abs() < 1e-12
        );
        assert!((first.score() - 0.25).abs() < 1e-12);
        assert_eq!(found.prompts[1].score(), 0.0);
    }

    #[test]
    fn prompts_of_a_group_share_its_number() {
        let rows = r#"{"text": "a", "weak": 1, "strong": 1, "group": "x"}
            {"text": "b", "weak": 1, "strong": 1}
            {"text": "c", "weak": 1, "strong": 1, "group": 7}
            {"text": "d", "weak": 1, "strong": 1, "group": "x"}
            {"text": "e", "weak": 1, "strong": 1, "group": null}"#;
        let groups: Vec<_> = read(rows).unwrap().prompts.iter().map(|prompt| prompt.group).collect();
        assert_eq!(groups, [0, 1, 2, 0, 3]);
    }

    #[test]
    fn a_text_is_in_one_fold_with_all_its_contexts() {
        let mut random = fastrand::Rng::with_seed(7);
        let mut rows = String::new();
        for context in 0..5 {
            for text in 0..80 {
                let text =
                    if context % 2 == 0 { format!("Prompt {text}") } else { format!(" prompt  {text}") };
                let (weak, strong) = (random.u8(..2), random.u8(..2));
                let context = [format!("Something else {context}")];
                rows += &format!(
                    "{}\n",
                    json!({ "text": text, "context": context, "weak": weak, "strong": strong })
                );
            }
        }
        let prompts = read(&rows).unwrap().prompts;
        assert_eq!(prompts.len(), 400);
        let (groups, scores): (Vec<_>, Vec<_>) = prompts.iter().map(|it| (it.group, it.score())).unzip();
        let folds = assign(&groups, &scores, 5, 1);
        let mut of_text: HashMap<_, HashSet<_>> = HashMap::new();
        for (prompt, fold) in prompts.iter().zip(folds) {
            of_text.entry(plain(&prompt.text)).or_default().insert(fold);
        }
        assert_eq!(of_text.len(), 80);
        assert!(of_text.values().all(|folds| folds.len() == 1), "{of_text:?}");
        assert_eq!(of_text.into_values().flatten().collect::<HashSet<_>>().len(), 5, "all folds are used");
    }

    #[test]
    fn the_groups_of_merged_rows_are_one_group() {
        let rows = r#"{"text": "a", "weak": 1, "strong": 1, "group": "x"}
            {"text": "b", "weak": 1, "strong": 1, "group": "y"}
            {"text": "c", "weak": 1, "strong": 1, "group": "z"}
            {"text": "A", "weak": 1, "strong": 1, "group": "y"}"#;
        let groups: Vec<_> = read(rows).unwrap().prompts.iter().map(|prompt| prompt.group).collect();
        assert_eq!(groups, [0, 0, 1]);
    }

    #[test]
    fn rows_may_name_one_pair_of_models() {
        let row = |text: &str, weak: &str| {
            format!(
                r#"{{"text": "{text}", "weak": 1, "strong": 1, "weak_model": "{weak}", "strong_model": "large"}}"#
            ) + "\n"
        };
        let unnamed = "{\"text\": \"c\", \"weak\": 1, \"strong\": 1}\n";
        let found = read(&[&row("a", "small"), unnamed, &row("b", "small")].concat()).unwrap();
        assert_eq!(found.models, Some(Names { weak: "small".into(), strong: "large".into() }));
        assert_eq!(read(unnamed).unwrap().models, None);
        let error = read(&[row("a", "small"), row("b", "tiny")].concat()).unwrap_err().to_string();
        assert!(error.contains(
            "line 2: the grades are of tiny and large, and those of rows before it of small and large"
        ));
        let error = read(&row("a", "large")).unwrap_err().to_string();
        assert!(error.contains("line 1: \"weak_model\" and \"strong_model\" are both \"large\""), "{error}");
    }

    #[test]
    fn ungraded_rows_are_counted_and_left_out() {
        let rows = r#"{"text": "a", "weak": null, "strong": null, "ungraded": "the judge was unclear"}
            {"text": "b", "weak": 1, "strong": null}
            {"text": "c", "weak": 1, "strong": 0}"#;
        let found = read(rows).unwrap();
        assert_eq!((found.rows, found.ungraded, found.prompts.len()), (1, 2, 1));
        assert!(
            read(r#"{"text": "a", "weak": null, "strong": null}"#)
                .unwrap_err()
                .to_string()
                .contains("no row")
        );
    }

    #[test]
    fn an_unusable_row_is_named_with_the_fix() {
        for (row, wrong) in [
            (r#"{"text": "a", "strong": 1}"#, "line 1: the field \"weak\" is missing: each row needs"),
            (r#"{"text": "a", "weak": 5, "strong": 1}"#, "the grade \"weak\" must be from 0 to 1; it is 5"),
            (r#"{"prompt": "a", "weak": 0, "strong": 1}"#, "the field \"text\" is missing"),
            (
                r#"{"text": "a", "weak": 0, "strong": 1, "group": []}"#,
                "\"group\" must be a string or a number",
            ),
        ] {
            let error = format!("{:#}", read(row).unwrap_err());
            assert!(error.contains(wrong), "{error}");
        }
    }
}
