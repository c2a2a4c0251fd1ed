//! The options of the model to measure in this process. If a gateway is measured, `--model` is the name of
//! the LLM.

use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{ArgMatches, Args, Command, Error, FromArgMatches};
use llm_router_classifier::args::EngineArgs;

const MODEL: &str = "model";
const HELP: &str = "Folder with config.json, model.safetensors, tokenizer.json and heads/. With --gateway: the `model` of the \
    requests, instead of the one in the file of --prompts. Default with --gateway: auto";

/// The model to measure, or its name in requests.
#[derive(Debug)]
pub(super) struct ModelOrName {
    /// Which model runs in this process, and how.
    pub(super) engine: EngineArgs,
    /// What the command line has for `--model`. Neither the environment nor the default counts: they name a folder.
    pub(super) name: Option<String>,
}

impl Args for ModelOrName {
    fn augment_args(command: Command) -> Command {
        EngineArgs::augment_args(command).mut_arg(MODEL, |arg| arg.help(HELP).value_name("FOLDER|NAME"))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for ModelOrName {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let is_named = matches.value_source(MODEL) == Some(ValueSource::CommandLine);
        let model = matches.get_one::<PathBuf>(MODEL).filter(|_| is_named);
        let name = model.map(|model| model.to_string_lossy().into_owned());
        Ok(Self { engine: EngineArgs::from_arg_matches(matches)?, name })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
