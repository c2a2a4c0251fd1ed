//! Resolves the edits of a model's request bodies.

use super::ConfigError;
use super::checks::key;
use crate::config::raw;
use crate::request::{Endpoint, METADATA_FIELD, Request};
use crate::rewrite::{BodyEdits, ValueEdit, is_same_but_for_case};

/// The most bytes that a model's keys and values may have together.
const MAX_BYTES: usize = 16 << 10;

/// Members that cannot be edited, with what to do instead.
const RESERVED: [(&str, &str); 5] = [
    ("model", "cannot be edited here: set the model's field `model` instead"),
    (METADATA_FIELD, "cannot be edited: it never reaches an LLM"),
    ("messages", "cannot be edited: it is the prompt; remove this edit"),
    ("input", "cannot be edited: it is the prompt; remove this edit"),
    ("prompt", "cannot be edited: it is the prompt; remove this edit"),
];

/// An edit, as written in the policy.
struct Written<'a> {
    member: &'a str,
    inner: Option<&'a str>,
    /// Its path in the configuration.
    path: String,
}

pub(super) fn resolve(raw: raw::BodyEdits, path: &str) -> Result<BodyEdits, ConfigError> {
    let raw::BodyEdits { set, default, remove } = raw;
    let set = set.iter().map(|(name, value)| (name, "set", ValueEdit::Set(value.to_string())));
    let default =
        default.iter().map(|(name, value)| (name, "default", ValueEdit::Default(value.to_string())));
    let remove = remove.iter().map(|name| (name, "remove", ValueEdit::Remove));
    let mut edits = BodyEdits::default();
    let mut all: Vec<Written<'_>> = Vec::new();
    let mut bytes: usize = 0;
    for (name, list, edit) in set.chain(default).chain(remove) {
        bytes = bytes.saturating_add(name.len()).saturating_add(edit.value().map_or(0, str::len));
        if bytes > MAX_BYTES {
            let problem = format!("must have at most {MAX_BYTES} bytes of keys and values");
            return Err(ConfigError::new(path, problem));
        }
        let edited = written(name, format!("{path}.{list}"))?;
        if let Some(other) = all.iter().find(|other| other.conflicts_with(&edited)) {
            let problem = format!("is edited by {} too; keep one of them", other.path);
            return Err(ConfigError::new(edited.path, problem));
        }
        edits.add(edited.member, edited.inner, edit);
        all.push(edited);
    }
    Ok(edits)
}

fn written(name: &str, list: String) -> Result<Written<'_>, ConfigError> {
    let (member, inner) = match name.split_once('.') {
        Some((member, inner)) => (member, Some(inner)),
        None => (name, None),
    };
    let path = match inner {
        Some(inner) => format!("{list}.{}.{}", key(member), key(inner)),
        None => format!("{list}.{}", key(member)),
    };
    if member.is_empty() || inner.is_some_and(str::is_empty) {
        return Err(ConfigError::new(
            path,
            "must name a member of the body, or a member of an object in it: a.b",
        ));
    }
    if inner.is_some_and(|inner| inner.contains('.')) {
        let problem = "is too deep: only two levels can be edited (a.b); set the whole object instead";
        return Err(ConfigError::new(path, problem));
    }
    if let Some((_, problem)) =
        RESERVED.iter().find(|(reserved, _)| is_same_but_for_case(member.as_bytes(), reserved))
    {
        return Err(ConfigError::new(path, *problem));
    }
    // The router removes keys that differ only in case from those that it reads.
    let mut known = Endpoint::ALL.into_iter().flat_map(Request::known_members);
    match known.find(|name| is_same_but_for_case(member.as_bytes(), name) && member != *name) {
        Some(exact) => {
            let problem =
                format!("cannot be edited: it could be mistaken for {exact:?}, so it never reaches an LLM");
            Err(ConfigError::new(path, problem))
        }
        None => Ok(Written { member, inner, path }),
    }
}

impl Written<'_> {
    /// Whether both edit the same member, or one edits a part of the other.
    fn conflicts_with(&self, other: &Self) -> bool {
        let is_same = |a: &str, b: &str| is_same_but_for_case(a.as_bytes(), b);
        is_same(self.member, other.member)
            && match (self.inner, other.inner) {
                (Some(a), Some(b)) => is_same(a, b),
                _ => true,
            }
    }
}
