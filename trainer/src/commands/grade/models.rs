//! The models of `grade`: names, URLs, keys, prices and settings.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use clap::Args;
use llm_router_routing::config::{Config, Cost};
use llm_router_routing::documents;
use serde_json::{Map, Value, json};

use super::RequestsArgs;
use super::specs::{BodySpec, KeySpec, ModelSpec, PriceSpec};
use crate::grade::calls::{ApiKey, ChatModel, Pace, Provider, completions_url};

/// The environment variable of the key for --url, unless --key-env names another one.
const DEFAULT_KEY: &str = "OPENAI_API_KEY";

/// Which models are called, and how.
#[derive(Debug, Args)]
pub(super) struct ModelsArgs {
    /// Weak model: the small, cheap one.
    #[arg(long, value_name = "NAME[@URL]")]
    weak: ModelSpec,
    /// Strong model.
    #[arg(long, value_name = "NAME[@URL]")]
    strong: ModelSpec,
    /// Model that compares the completions of rows without "answer", "answer_regex" and "tests".
    #[arg(long, value_name = "NAME[@URL]")]
    judge: Option<ModelSpec>,
    /// Base URL of the models that have no URL of their own, such as http://127.0.0.1:10000/v1.
    #[arg(long)]
    url: Option<String>,
    /// Environment variable with the key for --url, or with the key for another URL. Default: OPENAI_API_KEY for --url, if it
    /// is set.
    #[arg(long, value_name = "[URL=]VARIABLE")]
    key_env: Vec<KeySpec>,
    /// Maximum length of a completion, in tokens.
    #[arg(long, default_value_t = 1024, value_name = "TOKENS")]
    max_tokens: u32,
    /// Maximum length of a judge's completion, in tokens.
    #[arg(long, default_value_t = 1024, value_name = "TOKENS")]
    judge_max_tokens: u32,
    /// Sampling temperature.
    #[arg(long, default_value_t = 0.0, value_name = "NUMBER")]
    temperature: f64,
    /// Members to set in the requests to a model, as a JSON object; null removes one.
    #[arg(long, value_name = "NAME=JSON")]
    body: Vec<BodySpec>,
    /// Prices of a model, in dollars per million tokens.
    #[arg(long, value_name = "NAME=INPUT,OUTPUT")]
    price: Vec<PriceSpec>,
    /// Policy whose models have a cost, for models without --price.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
}

/// The models of a run.
pub(super) struct GradedModels {
    pub(super) weak: ChatModel,
    pub(super) strong: ChatModel,
    pub(super) judge: Option<ChatModel>,
}

impl ModelsArgs {
    /// The models. All have prices, or none has.
    ///
    /// # Errors
    /// Names the option that is missing or wrong.
    pub(super) fn models(&self, requests: &RequestsArgs, needs_prices: bool) -> Result<GradedModels> {
        self.check_names()?;
        self.key_env.iter().try_for_each(KeySpec::check)?;
        let mut providers = Providers { args: self, rate: requests.rate, known: HashMap::new() };
        let policy = self.read_policy()?;
        let mut model = |spec: &ModelSpec, max_tokens: u32| {
            let settings = json!({ "max_tokens": max_tokens, "temperature": self.temperature });
            let settings = settings.as_object().cloned().unwrap_or_default();
            let edits = self.body.iter().filter(|body| body.name == spec.name);
            let edits: Map<String, Value> = edits.flat_map(|body| body.members.clone()).collect();
            let price = self.price(&spec.name, policy.as_ref());
            ChatModel::new(spec.name.clone(), providers.provider(spec)?, settings, &edits, price)
        };
        let weak = model(&self.weak, self.max_tokens)?;
        let strong = model(&self.strong, self.max_tokens)?;
        let judge = self.judge.as_ref().map(|judge| model(judge, self.judge_max_tokens)).transpose()?;
        providers.check_keys()?;
        ensure!(!weak.is(&strong), "--weak and --strong are the same model, {:?}", weak.name);
        if let Some(judge) = judge.as_ref().filter(|judge| judge.is(&weak) || judge.is(&strong)) {
            tracing::warn!(
                "--judge {:?} compares its own completions, which judges tend to prefer",
                judge.name
            );
        }
        let models: Vec<_> = [&weak, &strong].into_iter().chain(&judge).collect();
        let unpriced: Vec<_> = models.iter().filter(|model| model.price.is_none()).collect();
        if let Some(model) = unpriced.first().filter(|_| needs_prices || unpriced.len() < models.len()) {
            anyhow::bail!(
                "the price of the model {0:?} is missing: add --price {0}=INPUT,OUTPUT, or its cost to the file of --policy",
                model.name
            );
        }
        Ok(GradedModels { weak, strong, judge })
    }

    fn specs(&self) -> impl Iterator<Item = &ModelSpec> {
        [&self.weak, &self.strong].into_iter().chain(&self.judge)
    }

    /// Rejects options for models that are not called.
    fn check_names(&self) -> Result<()> {
        let prices = self.price.iter().map(|price| ("--price", &price.name));
        let bodies = self.body.iter().map(|body| ("--body", &body.name));
        let names: Vec<_> = self.specs().map(|spec| spec.name.as_str()).collect();
        for (option, name) in prices.chain(bodies) {
            ensure!(
                names.contains(&name.as_str()),
                "{option} {name}: no such model is called, only {names:?}"
            );
        }
        Ok(())
    }

    fn read_policy(&self) -> Result<Option<Config>> {
        let read = |path: &PathBuf| {
            let text = std::fs::read_to_string(path)?;
            anyhow::Ok(documents::parse_one(&text)?)
        };
        let Some(path) = &self.policy else { return Ok(None) };
        read(path).map(Some).with_context(|| format!("--policy {}", path.display()))
    }

    /// The prices of a model. In a policy, the name is that for clients, or else that for the provider.
    fn price(&self, name: &str, policy: Option<&Config>) -> Option<Cost> {
        let given = self.price.iter().find(|price| price.name == name).map(|price| price.cost);
        given.or_else(|| {
            let policy = policy?;
            let upstream = || policy.models().find(|model| model.upstream == name);
            policy.model(name).or_else(upstream)?.cost
        })
    }
}

/// The providers of the models, one for each URL.
struct Providers<'a> {
    args: &'a ModelsArgs,
    rate: Option<f64>,
    known: HashMap<String, Arc<Provider>>,
}

impl Providers<'_> {
    fn provider(&mut self, spec: &ModelSpec) -> Result<Arc<Provider>> {
        let base = spec.url.as_ref().or(self.args.url.as_ref()).with_context(|| {
            format!("the URL of the model {0:?} is missing: use --url URL, or {0}@URL", spec.name)
        })?;
        let url = completions_url(base)?;
        if let Some(known) = self.known.get(url.as_str()) {
            return Ok(Arc::clone(known));
        }
        let (key, variable) = self.key(url.as_str())?;
        let name = url.to_string();
        let provider = Arc::new(Provider::new(url, key, variable, Pace::new(self.rate)));
        if provider.exposes_key() {
            tracing::warn!(url = name, "the key for this URL crosses the network unencrypted: use https");
        }
        self.known.insert(name, Arc::clone(&provider));
        Ok(provider)
    }

    /// The key for a URL, and its environment variable. A key is only sent to its own URL.
    fn key(&self, url: &str) -> Result<(Option<ApiKey>, Option<String>)> {
        let default = self.args.url.as_deref().map(completions_url).transpose()?;
        let is_default = default.is_some_and(|default| default.as_str() == url);
        for spec in &self.args.key_env {
            let matches = match &spec.url {
                Some(base) => completions_url(base)?.as_str() == url,
                None => is_default,
            };
            if matches {
                let variable = spec.variable.clone();
                let key = ApiKey::from_env(&variable)?;
                ensure!(key.is_some(), "--key-env: the environment variable {} is not set", spec.shown());
                return Ok((key, Some(variable)));
            }
        }
        match is_default {
            true => Ok((ApiKey::from_env(DEFAULT_KEY)?, Some(DEFAULT_KEY.to_owned()))),
            false => Ok((None, None)),
        }
    }

    /// Rejects keys for URLs that no model has.
    fn check_keys(&self) -> Result<()> {
        for spec in &self.args.key_env {
            match &spec.url {
                Some(base) => ensure!(
                    self.known.contains_key(completions_url(base)?.as_str()),
                    "--key-env {base}=...: no model has this URL"
                ),
                None => ensure!(
                    self.args.url.is_some(),
                    "the variable {0} has the key for --url, which is missing: use --key-env URL=VARIABLE",
                    spec.shown()
                ),
            }
        }
        Ok(())
    }
}
