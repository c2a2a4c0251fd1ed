//! A model's edits of request bodies: members that are set, added or removed.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::quoted;
use super::splice::{Member, Object, ObjectChange, Splices};
use crate::json::{Scanner, SyntaxError};

/// Changes of a body's members, each by its own key. Empty for a model without edits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BodyEdits(Vec<(String, Edit)>);

/// The change of a member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Edit {
    /// The member itself changes.
    Whole(ValueEdit),
    /// The member is an object, and its members change.
    Inner(Vec<(String, ValueEdit)>),
}

/// The change of a value. Values are JSON texts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ValueEdit {
    /// Replaces or adds the member.
    Set(String),
    /// Adds it where the member is missing or null.
    Default(String),
    /// Removes the member.
    Remove,
}

impl ValueEdit {
    /// The value that the edit gives to a member that is missing.
    pub(crate) fn value(&self) -> Option<&str> {
        match self {
            Self::Set(value) | Self::Default(value) => Some(value),
            Self::Remove => None,
        }
    }
}

impl BodyEdits {
    /// Adds the edit of a member, or with `inner`, of a member of that member. There must be no other edit of either.
    pub(crate) fn add(&mut self, key: &str, inner: Option<&str>, edit: ValueEdit) {
        let Some(inner) = inner else {
            self.0.push((key.to_owned(), Edit::Whole(edit)));
            return;
        };
        let found = self.0.iter_mut().find_map(|(name, edit)| match edit {
            Edit::Inner(members) if name == key => Some(members),
            _ => None,
        });
        match found {
            Some(members) => members.push((inner.to_owned(), edit)),
            None => self.0.push((key.to_owned(), Edit::Inner(vec![(inner.to_owned(), edit)]))),
        }
    }

    /// Whether it has no edits.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The members that change, without their values: `temperature`, `chat_template_kwargs.enable_thinking`.
    pub fn names(&self) -> Vec<String> {
        let names = self.0.iter().flat_map(|(key, edit)| match edit {
            Edit::Whole(_) => vec![key.clone()],
            Edit::Inner(members) => members.iter().map(|(inner, _)| format!("{key}.{inner}")).collect(),
        });
        names.collect()
    }

    /// The keys of the body's members that change.
    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(key, _)| key.as_str())
    }

    /// The edits of each member of the body.
    #[cfg(test)]
    pub(super) fn by_key(&self) -> impl Iterator<Item = (&str, Vec<(Option<&str>, &ValueEdit)>)> {
        self.0.iter().map(|(key, edit)| match edit {
            Edit::Whole(edit) => (key.as_str(), vec![(None, edit)]),
            Edit::Inner(members) => {
                (key.as_str(), members.iter().map(|(inner, edit)| (Some(inner.as_str()), edit)).collect())
            }
        })
    }

    /// The maximum number of bytes that they add to any body.
    pub(super) fn growth(&self) -> usize {
        let growth = |(key, edit): &(String, Edit)| match edit {
            Edit::Whole(edit) => value_growth(key, edit),
            Edit::Inner(members) => {
                let inner: usize = members.iter().map(|(key, edit)| value_growth(key, edit)).sum();
                member(key, "{}").len() + ",".len() + inner
            }
        };
        self.0.iter().map(growth).sum()
    }

    /// Finds what changes in the body. Values that change within a member are left to `splices`.
    pub(super) fn find(&self, splices: &mut Splices, text: &[u8], body: Object) -> ObjectChange {
        let edits: Vec<_> = self.0.iter().map(|(key, edit)| (key.as_str(), EditRef::new(edit))).collect();
        // The body was parsed before, so it is whole.
        find(splices, text, body.brace, &edits).map(|(change, _)| change).unwrap_or_default()
    }
}

fn value_growth(key: &str, edit: &ValueEdit) -> usize {
    edit.value().map_or(0, |value| member(key, value).len() + ",".len())
}

/// A member of an object, in its JSON encoding.
pub(super) fn member(key: &str, value: &str) -> Vec<u8> {
    [quoted(key).as_bytes(), b":", value.as_bytes()].concat()
}

/// Like [`Edit`], of a member at any depth.
#[derive(Clone, Copy)]
enum EditRef<'e> {
    Whole(&'e ValueEdit),
    Inner(&'e [(String, ValueEdit)]),
}

impl<'e> EditRef<'e> {
    fn new(edit: &'e Edit) -> Self {
        match edit {
            Edit::Whole(edit) => Self::Whole(edit),
            Edit::Inner(members) => Self::Inner(members),
        }
    }

    /// Whether it overrides the value of the client. A default does not.
    fn has_last_word(self) -> bool {
        match self {
            Self::Whole(edit) => !matches!(edit, ValueEdit::Default(_)),
            Self::Inner(members) => members.iter().any(|(_, edit)| !matches!(edit, ValueEdit::Default(_))),
        }
    }
}

/// Finds what these edits change in the object that starts at `brace`, and the object. None if it cannot be read to its end.
fn find(
    splices: &mut Splices,
    text: &[u8],
    brace: usize,
    edits: &[(&str, EditRef<'_>)],
) -> Option<(ObjectChange, Object)> {
    let mut found: Vec<_> = edits.iter().map(|_| Found::default()).collect();
    let object = members(text, brace, |name, member| {
        for ((key, edit), found) in edits.iter().zip(&mut found) {
            if name == key.as_bytes() {
                found.others.extend(found.last.replace(member.clone()));
            } else if edit.has_last_word() && is_same_but_for_case(name, key) {
                // Some servers (with Go's `encoding/json`) treat them as the same member, and use the last one.
                found.others.push(member.clone());
            }
        }
    })
    .ok()?;
    let mut change = ObjectChange::default();
    for ((key, edit), Found { last, others }) in edits.iter().zip(found) {
        change.removed.extend(others);
        match edit {
            EditRef::Whole(edit) => edit_value(splices, text, &mut change, key, last, edit),
            EditRef::Inner(members) => edit_inner(splices, text, &mut change, key, last, members),
        }
    }
    Some((change, object))
}

/// The members of an object that have one key.
#[derive(Default)]
struct Found {
    /// The one that counts.
    last: Option<Member>,
    /// The others, which are removed because parsers differ in which one counts.
    others: Vec<Member>,
}

fn edit_value(
    splices: &mut Splices,
    text: &[u8],
    change: &mut ObjectChange,
    key: &str,
    last: Option<Member>,
    edit: &ValueEdit,
) {
    match (edit, last) {
        (ValueEdit::Set(value) | ValueEdit::Default(value), None) => change.added.push(member(key, value)),
        (ValueEdit::Set(value), Some(member)) => splices.replace(member.value, value.as_bytes()),
        (ValueEdit::Default(value), Some(member)) if value_of(text, &member) == b"null" => {
            splices.replace(member.value, value.as_bytes());
        }
        (ValueEdit::Default(_), Some(_)) | (ValueEdit::Remove, None) => {}
        (ValueEdit::Remove, Some(member)) => change.removed.push(member),
    }
}

fn edit_inner(
    splices: &mut Splices,
    text: &[u8],
    change: &mut ObjectChange,
    key: &str,
    last: Option<Member>,
    edits: &[(String, ValueEdit)],
) {
    let sets = edits.iter().any(|(_, edit)| matches!(edit, ValueEdit::Set(_)));
    let adds = edits.iter().any(|(_, edit)| edit.value().is_some());
    match last {
        Some(parent) if value_of(text, &parent).starts_with(b"{") => {
            let inner: Vec<_> =
                edits.iter().map(|(key, edit)| (key.as_str(), EditRef::Whole(edit))).collect();
            match find(splices, text, parent.value.start, &inner) {
                Some((change, object)) => splices.change_members(object, change),
                // Parsing the body only skips this value, so it may be invalid JSON, such as `NaN`, or too long. Some servers read it
                // anyway, but the policy overrides the client, so the whole value is replaced.
                None if EditRef::Inner(edits).has_last_word() => {
                    splices.replace(parent.value, new_object(edits).into_bytes());
                }
                None => {}
            }
        }
        Some(parent) if sets || (adds && value_of(text, &parent) == b"null") => {
            splices.replace(parent.value, new_object(edits).into_bytes());
        }
        None if adds => change.added.push(member(key, &new_object(edits))),
        _ => {}
    }
}

/// The object that the edits create.
fn new_object(edits: &[(String, ValueEdit)]) -> String {
    let members = edits.iter().filter_map(|(key, edit)| Some(format!("{}:{}", quoted(key), edit.value()?)));
    format!("{{{}}}", members.collect::<Vec<_>>().join(","))
}

fn value_of<'t>(text: &'t [u8], member: &Member) -> &'t [u8] {
    text.get(member.value.clone()).unwrap_or_default()
}

/// Calls `visit` with each member of the object that starts at `brace`, and its key's characters.
///
/// # Errors
/// If the object is not whole, or too long.
pub(super) fn members(
    text: &[u8],
    brace: usize,
    mut visit: impl FnMut(&[u8], Member),
) -> Result<Object, SyntaxError> {
    let mut members = 0;
    // The end of a member is known only at the next key.
    let mut last: Option<(Cow<'_, [u8]>, Member)> = None;
    Scanner::new(text.get(brace..).unwrap_or_default()).object(|scanner, key| {
        let member = Member::new(&key, scanner.skip()?);
        members += 1;
        if let Some((name, mut before)) = last.take() {
            before.before(&key);
            visit(&name, before.at(brace));
        }
        last = Some((key.name, member));
        Ok::<_, SyntaxError>(())
    })?;
    if let Some((name, member)) = last {
        visit(&name, member.at(brace));
    }
    Ok(Object { brace, members })
}

/// Whether a server could treat a name in a body as this key. Go's JSON parser also treats some non-ASCII characters as ASCII
/// letters.
pub(crate) fn is_same_but_for_case(name: &[u8], key: &str) -> bool {
    if name.is_ascii() && key.is_ascii() {
        return name.eq_ignore_ascii_case(key.as_bytes());
    }
    std::str::from_utf8(name).is_ok_and(|name| folded(name).eq(folded(key)))
}

fn folded(text: &str) -> impl Iterator<Item = char> {
    text.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase)
}

/// The text that operators see: `set reasoning_effort to "high", remove logprobs`.
impl fmt::Display for BodyEdits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |key: String, edit: &ValueEdit| match edit {
            ValueEdit::Set(value) => format!("set {key} to {value}"),
            ValueEdit::Default(value) => format!("default {key} to {value}"),
            ValueEdit::Remove => format!("remove {key}"),
        };
        let all = self.0.iter().flat_map(|(key, edit)| match edit {
            Edit::Whole(edit) => vec![shown(key.clone(), edit)],
            Edit::Inner(members) => {
                members.iter().map(|(inner, edit)| shown(format!("{key}.{inner}"), edit)).collect()
            }
        });
        f.write_str(&all.collect::<Vec<_>>().join(", "))
    }
}
