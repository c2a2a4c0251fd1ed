//! Where rows of a plan's head are from.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// A file, or a folder of them.
#[derive(Debug, Clone)]
pub struct Source {
    /// Where it is; relative to the working folder.
    pub path: PathBuf,
    /// New names for labels; others stay as they are.
    pub map: BTreeMap<String, String>,
    /// Takes only rows with these labels, before they are renamed; all if empty.
    pub only: BTreeSet<String>,
    /// The label of all rows, whatever is in the label's field.
    pub label: Option<String>,
    /// Most rows that are taken, by chance.
    pub limit: Option<usize>,
    /// What a row counts, times one over the root of the source's size.
    pub weight: f64,
    /// The field with the text, if it is not the head's.
    pub text_field: Option<String>,
    /// The field with the label, if it is not the head's.
    pub label_field: Option<String>,
}

/// A source with settings.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
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

/// Takes a path alone, or settings. An untagged enum would have to guess what `label: no` is before it knows that labels
/// are texts, and could not say which field is wrong.
impl<'de> Deserialize<'de> for Source {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form;

        impl<'de> Visitor<'de> for Form {
            type Value = Source;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a path, or a map with one")
            }

            fn visit_str<E: de::Error>(self, path: &str) -> Result<Source, E> {
                Ok(Source::from(PathBuf::from(path)))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Source, A::Error> {
                Settings::deserialize(MapAccessDeserializer::new(map)).map(Source::from)
            }
        }

        deserializer.deserialize_any(Form)
    }
}

impl From<Settings> for Source {
    fn from(settings: Settings) -> Self {
        let Settings { path, map, only, label, limit, weight, text_field, label_field } = settings;
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

/// The weight of what has none of its own.
pub(super) fn one() -> f64 {
    1.0
}
