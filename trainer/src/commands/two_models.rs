//! Options of the commands that route between a weak and a strong model.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use llm_router_routing::config::{Bands, Cost, Model, Policy, Strategy, Target};
use llm_router_routing::documents;

use crate::eval::tradeoff::StrongWhen;
use crate::eval::{Prices, WinRateSettings};

/// Who is strong, and what it costs.
#[derive(Debug, Clone, Args)]
pub struct TwoModelsArgs {
    /// Which scores go to the strong model. Default: low ones, as of a score that says how likely the weak one suffices.
    #[arg(long, value_enum, conflicts_with = "policy")]
    strong_when: Option<StrongWhen>,
    /// Take both models, their prices and which scores go to whom from a policy with two bands.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Which policy of the file; its default if not given.
    #[arg(long, value_name = "NAME", requires = "policy")]
    policy_name: Option<String>,
    /// How long an answer is taken to be, in tokens, to tell its price.
    #[arg(long, default_value_t = 300, value_name = "TOKENS")]
    answer_tokens: u64,
}

impl TwoModelsArgs {
    /// How rows are routed; of a head with labels, by how likely these are.
    pub(super) fn settings(&self, positive: &[String]) -> Result<WinRateSettings> {
        let positive = positive.to_vec();
        let Some(path) = &self.policy else {
            let when = self.strong_when.unwrap_or(StrongWhen::Low);
            return Ok(WinRateSettings { when, positive, prices: None });
        };
        let (when, prices) = self.of_policy(path).with_context(|| format!("--policy {}", path.display()))?;
        Ok(WinRateSettings { when, positive, prices: Some(prices) })
    }

    fn of_policy(&self, path: &Path) -> Result<(StrongWhen, Prices)> {
        let config = documents::parse_one(&std::fs::read_to_string(path)?)?;
        let policy = match &self.policy_name {
            Some(name) => config.policy(name).with_context(|| format!("there is no policy {name:?}"))?,
            None => &config.default_policy,
        };
        let [low, high] = two_bands(policy).with_context(|| format!("policy {}", policy.name))?;
        // What a prompt as long as its answer costs decides who is strong.
        let price = |(_, cost): &(String, Cost)| cost.of(self.answer_tokens, self.answer_tokens);
        ensure!(price(&low) != price(&high), "policy {}: both models cost the same", policy.name);
        let answer_tokens = self.answer_tokens;
        Ok(if price(&low) > price(&high) {
            (StrongWhen::Low, Prices { weak: high, strong: low, answer_tokens })
        } else {
            (StrongWhen::High, Prices { weak: low, strong: high, answer_tokens })
        })
    }
}

/// The models of the low and of the high scores.
fn two_bands(policy: &Policy) -> Result<[(String, Cost); 2]> {
    let Strategy::Bands(bands) = &policy.chooser else { bail!("it must have bands, not routes") };
    let priced = |target: &Target| match target {
        Target::Model(model) => of_model(model),
        Target::Weighted(_) => bail!("a band must have one model, not several by weight"),
    };
    let rows = Bands::rows(bands).map(|(_, target)| priced(target)).collect::<Result<Vec<_>>>()?;
    rows.try_into().map_err(|rows: Vec<_>| anyhow::anyhow!("it must have two bands, not {}", rows.len()))
}

fn of_model(model: &Model) -> Result<(String, Cost)> {
    let cost = model.cost.with_context(|| format!("models.{}: no cost is declared", model.name))?;
    Ok((model.name.to_string(), cost))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn settings(bands: &str) -> Result<WinRateSettings> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let text = format!(
            "sidecar: {{cluster: c}}\ndefault_policy: p\nmodels:\n  small: {{cluster: c, model: s, cost: {{input: 1, \
             output: 2}}}}\n  large: {{cluster: c, model: l, cost: {{input: 5, output: 9}}}}\n  free: {{cluster: c, \
             model: f}}\npolicies: {{p: {{classifier: complexity, {bands}}}}}\n"
        );
        file.write_all(text.as_bytes()).unwrap();
        let args = TwoModelsArgs {
            strong_when: None,
            policy: Some(file.path().to_owned()),
            policy_name: None,
            answer_tokens: 100,
        };
        args.settings(&[])
    }

    #[test]
    fn the_dearer_model_is_the_strong_one() {
        let high = settings("bands: [{up_to: 0.4, model: small}, {model: large}]").unwrap();
        assert_eq!(high.when, StrongWhen::High);
        assert_eq!(high.prices.unwrap().strong.0, "large");
        let low = settings("bands: [{up_to: 0.4, model: large}, {model: small}]").unwrap();
        assert_eq!(low.when, StrongWhen::Low);
    }

    #[test]
    fn a_policy_without_two_priced_models_says_what_it_lacks() {
        for (bands, wrong) in [
            ("routes: {}, default: small", "bands, not routes"),
            ("bands: [{up_to: 0.4, model: small}, {model: free}]", "models.free: no cost"),
            ("bands: [{up_to: 0.2, model: small}, {up_to: 0.4, model: large}, {model: large}]", "not 3"),
            ("bands: [{up_to: 0.4, model: small}, {model: small}]", "cost the same"),
        ] {
            let error = format!("{:#}", settings(bands).unwrap_err());
            assert!(error.contains(wrong), "{error}");
        }
    }
}
