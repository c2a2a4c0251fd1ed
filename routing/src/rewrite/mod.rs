//! Puts the chosen model into a body by splicing its bytes: all other bytes, their order and their format stay.

use std::ops::Range;

/// The places of a body to change, found when it was parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewrite {
    /// In the order of their places, not overlapping.
    edits: Vec<Edit>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Edit {
    range: Range<usize>,
    with: With,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum With {
    /// The model's name as a JSON string.
    Model,
    /// The member `"model": …` and a comma, at the start of a body that has none.
    ModelMember,
    Nothing,
}

/// A member of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    /// How many members of the body come before it.
    pub(crate) place: usize,
    /// Where its key starts.
    pub(crate) key: usize,
    /// Where its value lies.
    pub(crate) value: Range<usize>,
}

/// How many bytes longer than the body [`Rewrite::apply`] can make it for this model, whatever the body is.
pub fn growth(model: &str) -> usize {
    MODEL_KEY.len() + quoted(model).len() + ",".len()
}

const MODEL_KEY: &str = "\"model\":";

fn quoted(model: &str) -> String {
    // A string always serializes.
    serde_json::to_string(model).unwrap_or_default()
}

impl Rewrite {
    /// `models`: the members that name the model, in order; the last stays, and gets the chosen one's name. The others
    /// are removed: they would only leave it to the LLM's parser which counts. `metadata`: further members to remove.
    pub(crate) fn new(body: &[u8], models: &[Member], metadata: &[Member]) -> Self {
        let (last, others) = match models.split_last() {
            Some((last, others)) => (Some(last), others),
            None => (None, models),
        };
        let mut removed: Vec<_> = metadata.iter().chain(others).collect();
        removed.sort_by_key(|member| member.place);
        let mut edits = removals(body, &removed);
        match last {
            Some(member) => edits.push(Edit { range: member.value.clone(), with: With::Model }),
            None => {
                edits.extend(first_member(body).map(|at| Edit { range: at..at, with: With::ModelMember }))
            }
        }
        edits.sort_by_key(|edit| (edit.range.start, edit.range.end));
        Self { edits }
    }

    /// The body with `model` as the LLM's API wants it, and without routing metadata. `body` must be the one that was
    /// parsed.
    pub fn apply(&self, body: &[u8], model: &str) -> Vec<u8> {
        let quoted = quoted(model);
        let mut rewritten = Vec::with_capacity(body.len() + growth(model));
        let mut done = 0;
        for Edit { range, with } in &self.edits {
            rewritten.extend_from_slice(body.get(done..range.start).unwrap_or_default());
            match with {
                With::Model => rewritten.extend_from_slice(quoted.as_bytes()),
                With::ModelMember => {
                    rewritten.extend_from_slice(MODEL_KEY.as_bytes());
                    rewritten.extend_from_slice(quoted.as_bytes());
                    rewritten.push(b',');
                }
                With::Nothing => {}
            }
            done = range.end;
        }
        rewritten.extend_from_slice(body.get(done..).unwrap_or_default());
        rewritten
    }
}

/// Just after the opening brace. A body that was parsed has one, and a member for the comma: the prompt's.
fn first_member(body: &[u8]) -> Option<usize> {
    body.iter().position(|byte| *byte == b'{').map(|brace| brace + 1)
}

/// Each member goes with the comma before it; the first members of an object, having none before, with the one after.
fn removals(body: &[u8], members: &[&Member]) -> Vec<Edit> {
    let mut leading = 0;
    members
        .iter()
        .map(|Member { place, key, value }| {
            let range = if *place == leading {
                leading += 1;
                *key..after_comma(body, value.end)
            } else {
                before_comma(body, *key)..value.end
            };
            Edit { range, with: With::Nothing }
        })
        .collect()
}

/// Only white space stands between the comma and the key.
fn before_comma(body: &[u8], key: usize) -> usize {
    body.get(..key).and_then(|head| head.iter().rposition(|byte| *byte == b',')).unwrap_or(key)
}

/// After the comma and the white space that follow a value; before what else follows it.
fn after_comma(body: &[u8], value_end: usize) -> usize {
    let skip_space = |from: usize| {
        let rest = body.get(from..).unwrap_or_default();
        from + rest.iter().take_while(|byte| byte.is_ascii_whitespace()).count()
    };
    let next = skip_space(value_end);
    if body.get(next) == Some(&b',') { skip_space(next + 1) } else { value_end }
}
