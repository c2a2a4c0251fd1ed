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

impl Rewrite {
    /// `models`: where the values of `model` lie; all are replaced, whichever of several the LLM would read.
    /// `metadata`: the values of members to remove, each with its place among the body's members, in order.
    pub(crate) fn new(body: &[u8], models: Vec<Range<usize>>, metadata: &[(usize, Range<usize>)]) -> Self {
        let mut edits: Vec<_> = removals(body, metadata);
        if models.is_empty() {
            edits.extend(first_member(body).map(|at| Edit { range: at..at, with: With::ModelMember }));
        }
        edits.extend(models.into_iter().map(|range| Edit { range, with: With::Model }));
        edits.sort_by_key(|edit| (edit.range.start, edit.range.end));
        Self { edits }
    }

    /// How much longer than the body, in bytes, [`apply`](Self::apply) can make it.
    pub fn growth(&self, model: &str) -> usize {
        // Every byte can take six as a JSON escape; quotes, and the member's name.
        let member = 6 * model.len() + 11;
        self.edits
            .iter()
            .filter(|edit| edit.with != With::Nothing)
            .map(|edit| member.saturating_sub(edit.range.len()))
            .sum()
    }

    /// The body with `model` as the LLM's API wants it, and without routing metadata. `body` must be the one that was
    /// parsed.
    pub fn apply(&self, body: &[u8], model: &str) -> Vec<u8> {
        // A string always serializes.
        let model = serde_json::to_string(model).unwrap_or_default();
        let mut rewritten = Vec::with_capacity(body.len() + self.edits.len() * (model.len() + 10));
        let mut done = 0;
        for Edit { range, with } in &self.edits {
            rewritten.extend_from_slice(body.get(done..range.start).unwrap_or_default());
            match with {
                With::Model => rewritten.extend_from_slice(model.as_bytes()),
                With::ModelMember => {
                    rewritten.extend_from_slice(b"\"model\":");
                    rewritten.extend_from_slice(model.as_bytes());
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
fn removals(body: &[u8], metadata: &[(usize, Range<usize>)]) -> Vec<Edit> {
    let mut leading = 0;
    metadata
        .iter()
        .map(|(place, value)| {
            let key = key_start(body, value.start);
            let range = if *place == leading {
                leading += 1;
                key..after_comma(body, value.end)
            } else {
                before_comma(body, key)..value.end
            };
            Edit { range, with: With::Nothing }
        })
        .collect()
}

/// Where the key of the value at `value` starts. None of the keys that are removed has a quote in it, however it is
/// written.
fn key_start(body: &[u8], value: usize) -> usize {
    let colon = rfind(body, value, |byte| byte == b':');
    let closing = rfind(body, colon, |byte| byte == b'"');
    rfind(body, closing, |byte| byte == b'"')
}

fn before_comma(body: &[u8], key: usize) -> usize {
    rfind(body, key, |byte| byte == b',')
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

fn rfind(body: &[u8], before: usize, wanted: impl Fn(u8) -> bool) -> usize {
    body.get(..before).and_then(|head| head.iter().rposition(|byte| wanted(*byte))).unwrap_or(before)
}
