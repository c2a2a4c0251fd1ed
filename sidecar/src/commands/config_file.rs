//! The command line, with options of `serve` from a file.
//!
//! The file's values become the options' defaults. So options and their checks are defined once, and flags and environment
//! variables take precedence over the file as they do over any default.

use std::ffi::OsString;
use std::path::Path;

use anyhow::{Context, Result, bail};
use clap::{CommandFactory, FromArgMatches, Parser};
use serde_json::{Map, Value};

use super::{Cli, Command};

/// Parses the process's arguments. Exits if they are invalid or ask for help.
///
/// # Errors
/// If the file of `--config` cannot be read, or has an unknown option or an invalid value.
pub fn parse() -> Result<Cli> {
    parse_from(std::env::args_os().collect()).or_else(|error| match error.downcast::<clap::Error>() {
        Ok(error) => error.exit(),
        Err(error) => Err(error),
    })
}

fn parse_from(arguments: Vec<OsString>) -> Result<Cli> {
    let cli = Cli::try_parse_from(&arguments)?;
    let Command::Serve(serve) = &cli.command else { return Ok(cli) };
    let Some(path) = &serve.config else { return Ok(cli) };
    let command = with_defaults(path).with_context(|| format!("--config {}", path.display()))?;
    Ok(Cli::from_arg_matches(&command.try_get_matches_from(arguments)?)?)
}

fn with_defaults(path: &Path) -> Result<clap::Command> {
    let text = std::fs::read_to_string(path)?;
    let options: Map<String, Value> = serde_saphyr::from_str(&text)?;
    options.into_iter().try_fold(Cli::command(), |command, (name, value)| {
        let value = match value {
            Value::String(text) => text,
            Value::Number(number) => number.to_string(),
            Value::Bool(flag) => flag.to_string(),
            Value::Null | Value::Array(_) | Value::Object(_) => bail!("{name}: must be a single value"),
        };
        let serve = command.find_subcommand("serve").context("no command serve")?;
        let set = |argument: clap::Arg| argument.default_value(value);
        match (id(serve, &name), id(&command, &name)) {
            (Some(id), _) if name != "config" => {
                Ok(command.mut_subcommand("serve", |serve| serve.mut_arg(id, set)))
            }
            (None, Some(id)) => Ok(command.mut_arg(id, set)),
            _ => bail!("{name}: unknown option; `llm-router-sidecar serve --help` lists all"),
        }
    })
}

/// The name by which clap knows an option that takes a value.
fn id(command: &clap::Command, long: &str) -> Option<String> {
    let mut arguments = command.get_arguments();
    arguments.find(|argument| argument.get_long() == Some(long)).map(|it| it.get_id().to_string())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn parse(text: &str, flags: &[&str]) -> Result<String> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        let path = file.path().to_str().unwrap();
        let arguments = ["sidecar", "serve", "--config", path]
            .into_iter()
            .chain(flags.iter().copied())
            .map(OsString::from);
        parse_from(arguments.collect()).map(|cli| format!("{cli:?}"))
    }

    #[test]
    fn an_option_is_taken_from_the_file_unless_a_flag_has_it() {
        let text = "queue: 7\nlisten: 'unix:/run/s'\nlog-format: json\nsocket-mode: 600\n";
        let cli = parse(text, &["--queue", "9"]).unwrap();
        for part in ["queue: 9", "/run/s", "log_format: Json", &format!("socket_mode: {}", 0o600)] {
            assert!(cli.contains(part), "no {part} in {cli}");
        }
    }

    #[test]
    fn a_file_with_anything_else_is_rejected_with_the_reason() {
        for (text, reason) in [
            ("quue: 7", "quue: unknown option"),
            ("config: other.yaml", "config: unknown option"),
            ("help: true", "help: unknown option"),
            ("queue: [7]", "queue: must be a single value"),
            ("queue: seven", "--queue"),
            ("- queue", "--config"),
        ] {
            let error = format!("{:#}", parse(text, &[]).unwrap_err());
            assert!(error.contains(reason), "{error}");
        }
    }
}
