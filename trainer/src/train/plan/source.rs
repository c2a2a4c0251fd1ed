//! The sources of a head's rows.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// A file or a folder of files, with settings.
#[derive(Debug, Clone)]
pub struct Source {
    /// The path, relative to the working folder.
    pub path: PathBuf,
    /// New names of labels. Other labels keep theirs.
    pub map: BTreeMap<String, String>,
    /// Only rows with one of these labels are used; all rows if empty. The labels are those before renaming.
    pub only: BTreeSet<String>,
    /// The label of all rows. It overrides their label field.
    pub label: Option<String>,
    /// Maximum number of rows. They are sampled at random.
    pub limit: Option<usize>,
    /// A row's weight is this times one over the square root of the source's number of rows.
    pub weight: f64,
    /// The field with the text, if it differs from the head's.
    pub text_field: Option<String>,
    /// The field with the label, if it differs from the head's.
    pub label_field: Option<String>,
}

/// A source in its long form.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SourceFields {
    path: PathBuf,
    #[serde(default)]
    map: BTreeMap<String, String>,
    #[serde(default)]
    only: BTreeSet<String>,
    label: Option<String>,
    limit: Option<usize>,
    #[serde(default = "one")]
    weight: f64,
    text_field: Option<String>,
    label_field: Option<String>,
}

/// Reads a path, or a map of settings. An untagged enum would parse `label: no` as a boolean before it knows that labels
/// are strings, and could not say which field is invalid.
impl<'de> Deserialize<'de> for Source {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form;

        impl<'de> Visitor<'de> for Form {
            type Value = Source;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a path, or a map with a path")
            }

            fn visit_str<E: de::Error>(self, path: &str) -> Result<Source, E> {
                Ok(Source::from(PathBuf::from(path)))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Source, A::Error> {
                SourceFields::deserialize(MapAccessDeserializer::new(map)).map(Source::from)
            }
        }

        deserializer.deserialize_any(Form)
    }
}

impl From<SourceFields> for Source {
    fn from(settings: SourceFields) -> Self {
        let SourceFields { path, map, only, label, limit, weight, text_field, label_field } = settings;
        Self { path, map, only, label, limit, weight, text_field, label_field }
    }
}

impl From<PathBuf> for Source {
    fn from(path: PathBuf) -> Self {
        Self {
            path,
            map: BTreeMap::new(),
            only: BTreeSet::new(),
            label: None,
            limit: None,
            weight: 1.0,
            text_field: None,
            label_field: None,
        }
    }
}

/// The default weight.
pub(super) fn one() -> f64 {
    1.0
}
