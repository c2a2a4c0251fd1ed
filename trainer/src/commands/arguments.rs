//! Parsers of arguments, and the command line itself.

use anyhow::{Context, Result};
use llm_router_classifier::model::text_features::TextFeature;

/// Parses a number from 0 to 1.
pub(super) fn fraction(text: &str) -> Result<f64, String> {
    let fraction = text.parse().ok().filter(|fraction| (0.0..=1.0).contains(fraction));
    fraction.ok_or_else(|| "not a number from 0 to 1".to_owned())
}

/// Parses the name of a text feature.
pub(super) fn feature(name: &str) -> Result<TextFeature, String> {
    let names = TextFeature::ALL.map(|feature| feature.to_string()).join(", ");
    let found = TextFeature::ALL.into_iter().find(|feature| feature.to_string() == name);
    found.ok_or_else(|| format!("not one of {names}"))
}

/// Parses `FROM=TO` of `--map`.
pub(super) fn rename(argument: &str) -> Result<(String, String), String> {
    let (from, to) = argument.split_once('=').ok_or_else(|| format!("{argument:?} is not FROM=TO"))?;
    Ok((from.to_owned(), to.to_owned()))
}

/// Returns the command line, quoted for a shell, with the program's name instead of its path.
pub(super) fn command_line() -> Result<String> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words = std::iter::once("llm-router-train").chain(arguments.iter().map(String::as_str));
    shlex::try_join(words).context("an argument has a NUL character")
}
