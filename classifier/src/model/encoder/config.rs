//! Reads `config.json` in Hugging Face's format.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// A `config.json`: which encoder, and its dimensions.
#[derive(Debug)]
pub(crate) struct Config {
    path: PathBuf,
    fields: Map<String, Value>,
}

/// The part of a config that one kind of encoder reads.
pub(super) trait Part: DeserializeOwned {
    /// Rejects configurations that this crate cannot compute.
    ///
    /// # Errors
    /// Names the field, its value and what is supported.
    fn check(&self) -> Result<()>;
}

impl Config {
    /// Reads the file.
    ///
    /// # Errors
    /// If the file is missing or is not a JSON object; the error names it.
    pub(crate) fn load(path: &Path) -> Result<Self> {
        let path = path.to_owned();
        let json = std::fs::read(&path).with_context(|| {
            format!("cannot read {}; `scripts/setup` fetches the default model", path.display())
        })?;
        let fields = serde_json::from_slice(&json).with_context(|| format!("in {}", path.display()))?;
        Ok(Self { path, fields })
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The fields.
    pub(crate) fn fields(&self) -> &Map<String, Value> {
        &self.fields
    }

    /// The config with these defaults for fields that the file lacks.
    pub(crate) fn or(mut self, defaults: Map<String, Value>) -> Self {
        for (field, value) in defaults {
            self.fields.entry(field).or_insert(value);
        }
        self
    }

    /// The kind of encoder.
    ///
    /// # Errors
    /// If the file has no `model_type`.
    pub(super) fn model_type(&self) -> Result<&str> {
        let value = self.fields.get("model_type").and_then(Value::as_str);
        value.with_context(|| format!("{}: no model_type", self.path.display()))
    }

    /// The fields that one kind of encoder reads.
    ///
    /// # Errors
    /// If one is missing, has another type, or is unsupported; the error names file and field.
    pub(super) fn parse<T: Part>(&self) -> Result<T> {
        let parse = || {
            let part = T::deserialize(&self.fields)?;
            part.check()?;
            anyhow::Ok(part)
        };
        parse().with_context(|| format!("in {}", self.path.display()))
    }
}

/// Rejects dimensions that no tensor can have, or that do not divide.
///
/// # Errors
/// Names the fields.
pub(super) fn check_heads(hidden_size: i64, num_attention_heads: i64) -> Result<()> {
    ensure!(
        hidden_size > 0 && num_attention_heads > 0 && hidden_size % num_attention_heads == 0,
        "num_attention_heads {num_attention_heads} must divide hidden_size {hidden_size}"
    );
    Ok(())
}

/// Rejects activations other than the implemented one.
///
/// # Errors
/// Names the field and its value.
pub(super) fn check_gelu(field: &str, activation: &str) -> Result<()> {
    ensure!(activation == "gelu", "{field} {activation:?} is not supported; supported: \"gelu\"");
    Ok(())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The config of a fixture, with some fields changed; null removes one.
    pub(in super::super) fn fixture(name: &str, changes: Value) -> Config {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/encoders").join(name);
        let mut config = Config::load(&folder.join("config.json")).unwrap();
        for (field, value) in changes.as_object().unwrap() {
            match value {
                Value::Null => config.fields.remove(field),
                value => config.fields.insert(field.clone(), value.clone()),
            };
        }
        config
    }

    /// The error for a fixture's config with some fields changed.
    pub(in super::super) fn error<T: Part>(name: &str, changes: Value) -> String {
        match fixture(name, changes).parse::<T>() {
            Ok(_) => panic!("no error"),
            Err(error) => format!("{error:#}"),
        }
    }

    #[test]
    fn defaults_fill_missing_fields_and_no_others() {
        let config = fixture("bert", serde_json::json!({"hidden_size": null}));
        let defaults = serde_json::json!({"hidden_size": 768, "vocab_size": 1});
        let config = config.or(defaults.as_object().unwrap().clone());
        assert_eq!((&config.fields["hidden_size"], &config.fields["vocab_size"]), (&768.into(), &97.into()));
    }

    #[test]
    fn a_missing_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        assert!(
            Config::load(&folder.path().join("config.json")).unwrap_err().to_string().contains("config.json")
        );
    }
}
