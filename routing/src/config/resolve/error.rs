//! Configuration errors.

use std::fmt;

use serde_path_to_error::Segment;

use super::checks::key;

/// Why a configuration is invalid, with the path of the invalid field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    path: String,
    problem: String,
}

impl ConfigError {
    pub(crate) fn new(path: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { path: path.into(), problem: problem.into() }
    }

    pub(crate) fn from_json(error: serde_path_to_error::Error<serde_json::Error>) -> Self {
        let mut path = String::new();
        for segment in error.path() {
            match segment {
                Segment::Seq { index } => path += &format!("[{index}]"),
                Segment::Map { key: name } if path.is_empty() => path = key(name),
                Segment::Map { key: name } => path += &format!(".{}", key(name)),
                Segment::Enum { .. } | Segment::Unknown => {}
            }
        }
        Self { path, problem: problem(&error.into_inner()) }
    }
}

/// Removes line and column if the JSON is well formed: Envoy generated it, so they do not refer to the user's text.
fn problem(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    match text.strip_suffix(&place) {
        Some(problem) if error.is_data() => problem.to_owned(),
        _ => text,
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path.as_str() {
            "" => f.write_str(&self.problem),
            path => write!(f, "{path}: {}", self.problem),
        }
    }
}

impl std::error::Error for ConfigError {}
