//! One prompt, and how its completions are graded.

use anyhow::{Context, Result, ensure};
use llm_router_classifier::records::{CONTEXT_FIELD, Record};
use regex::Regex;
use serde_json::{Map, Value};

use super::answer::Answers;
use super::messages;

/// Fields with the prompt: the trainer's name, and that of captured traffic.
const TEXT_FIELDS: [&str; 2] = ["text", "prompt"];

/// Fields that decide how a row is graded. A row has one of them at most.
const CHECK_FIELDS: [&str; 3] = ["answer", "answer_regex", "tests"];

/// How the completions of a row are graded.
#[derive(Debug, Clone)]
pub(crate) enum Check {
    /// By known answers.
    Answers(Answers),
    /// By a pattern that a good completion matches.
    Pattern(Regex),
    /// By Python code that fails if the completion's code is wrong.
    Tests(String),
    /// By a model that compares both completions.
    Judge,
}

/// A prompt to grade.
#[derive(Debug, Clone)]
pub(crate) struct GradingRow {
    /// What a classifier reads.
    pub(crate) text: String,
    /// What the same user said before, oldest first.
    pub(crate) context: Vec<String>,
    /// What the models get.
    pub(crate) messages: Vec<Value>,
    /// How the completions are graded.
    pub(crate) check: Check,
    /// All other fields, for the output.
    pub(crate) others: Map<String, Value>,
    /// File and line.
    pub(crate) place: String,
}

impl GradingRow {
    /// Reads a record.
    ///
    /// # Errors
    /// If a field is missing or invalid. The error names file, line and field.
    pub(super) fn from_record(record: &Record) -> Result<Self> {
        let given = conversation(record)?;
        let text = match (text(record)?, &given) {
            (Some(text), _) => text,
            (None, Some(messages)) => {
                let last = messages::user_texts(messages).pop().filter(|text| !text.trim().is_empty());
                last.with_context(|| format!("{record}: the field \"messages\" has no text of the user"))?
            }
            (None, None) => record.text("text").map(str::to_owned)?,
        };
        let mut context = record.texts_if_any(CONTEXT_FIELD)?;
        if let (true, Some(messages)) = (context.is_empty(), &given) {
            context = messages::user_texts(messages);
            context.pop();
        }
        let messages = given.unwrap_or_else(|| messages::from_user(&context, &text));
        let mut others = record.fields.clone();
        others.retain(|field, _| !TEXT_FIELDS.contains(&field.as_str()) && field != CONTEXT_FIELD);
        Ok(Self { text, context, messages, check: check(record)?, others, place: record.to_string() })
    }
}

/// The prompt's text, if the row has one.
fn text(record: &Record) -> Result<Option<String>> {
    let given: Vec<_> = TEXT_FIELDS.into_iter().filter(|field| is_given(record, field)).collect();
    let texts = given.iter().map(|field| record.text(field)).collect::<Result<Vec<_>>>()?;
    match texts.as_slice() {
        [first, second] => ensure!(
            first == second,
            "{record}: the fields \"text\" and \"prompt\" differ: remove the wrong one"
        ),
        [text] => ensure!(!text.trim().is_empty(), "{record}: the field {:?} has no text", given.concat()),
        _ => {}
    }
    Ok(texts.first().map(|&text| text.to_owned()))
}

/// The messages, if the row has them.
fn conversation(record: &Record) -> Result<Option<Vec<Value>>> {
    if !is_given(record, "messages") {
        return Ok(None);
    }
    let list = record.fields.get("messages").and_then(Value::as_array);
    let list =
        list.with_context(|| format!("{record}: the field \"messages\" must be a list of messages"))?;
    messages::check(list).with_context(|| format!("{record}: the field \"messages\" is invalid"))?;
    Ok(Some(list.clone()))
}

fn check(record: &Record) -> Result<Check> {
    let given: Vec<_> = CHECK_FIELDS.into_iter().filter(|field| is_given(record, field)).collect();
    ensure!(given.len() <= 1, "{record}: keep one of the fields {given:?}; a row is graded in one way");
    match given.first() {
        None => Ok(Check::Judge),
        Some(&"answer") => {
            let answers = record.fields.get("answer").and_then(Answers::from_value);
            let answers = answers.with_context(|| {
                format!("{record}: the field \"answer\" must be a string or a number with some content, or a list of them")
            })?;
            Ok(Check::Answers(answers))
        }
        Some(&"answer_regex") => {
            let pattern = Regex::new(record.text("answer_regex")?);
            pattern
                .map(Check::Pattern)
                .with_context(|| format!("{record}: the field \"answer_regex\" is not a regular expression"))
        }
        Some(_) => Ok(Check::Tests(record.text("tests")?.to_owned())),
    }
}

/// Whether a field is there and not empty. CSV has all fields in all rows.
fn is_given(record: &Record, field: &str) -> bool {
    match record.fields.get(field) {
        None | Some(Value::Null) => false,
        Some(Value::String(text)) => !text.is_empty(),
        Some(_) => true,
    }
}
