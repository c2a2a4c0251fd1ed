//! Options of commands that route between a weak and a strong model.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use llm_router_routing::config::{Bands, Cost, Model, Policy, Strategy, Target};
use llm_router_routing::documents;

use crate::eval::tradeoff::StrongWhen;
use crate::eval::{Prices, WinRateSettings};

/// Which scores go to the strong model, and what both models cost.
#[derive(Debug, Clone, Args)]
pub struct TwoModelsArgs {
    /// Scores that go to the strong model. Default: low scores, which fits a score that predicts how likely the weak model
    /// suffices.
    #[arg(long, value_enum, conflicts_with = "policy")]
    strong_when: Option<StrongWhen>,
    /// Policy with two bands, which give the models, their prices and the scores that go to each.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Policy in the file. Default: the file's default policy.
    #[arg(long, value_name = "NAME", requires = "policy")]
    policy_name: Option<String>,
    /// Assumed length of a completion, in tokens, to compute its price.
    #[arg(long, default_value_t = 300, value_name = "TOKENS")]
    completion_tokens: u64,
}

impl TwoModelsArgs {
    /// How rows are routed. `positive` are the labels whose probability is the score, for a head with labels.
    pub(super) fn settings(&self, positive: &[String]) -> Result<WinRateSettings> {
        let positive = positive.to_vec();
        let Some(path) = &self.policy else {
            let when = self.strong_when.unwrap_or(StrongWhen::Low);
            return Ok(WinRateSettings { when, positive, prices: None });
        };
        let (when, prices) =
            self.read_policy(path).with_context(|| format!("--policy {}", path.display()))?;
        Ok(WinRateSettings { when, positive, prices: Some(prices) })
    }

    fn read_policy(&self, path: &Path) -> Result<(StrongWhen, Prices)> {
        let config = documents::parse_one(&std::fs::read_to_string(path)?)?;
        let policy = match &self.policy_name {
            Some(name) => config.policy(name).with_context(|| format!("there is no policy {name:?}"))?,
            None => &config.default_policy,
        };
        let [low, high] = two_bands(policy).with_context(|| format!("policy {}", policy.name))?;
        // The strong model is the one with the higher price for a prompt as long as its completion.
        let price = |(_, cost): &(String, Cost)| cost.of(self.completion_tokens, self.completion_tokens);
        ensure!(price(&low) != price(&high), "policy {}: both models cost the same", policy.name);
        let completion_tokens = self.completion_tokens;
        Ok(if price(&low) > price(&high) {
            (StrongWhen::Low, Prices { weak: high, strong: low, completion_tokens })
        } else {
            (StrongWhen::High, Prices { weak: low, strong: high, completion_tokens })
        })
    }
}

/// The models of the band with low scores and of the band with high scores.
fn two_bands(policy: &Policy) -> Result<[(String, Cost); 2]> {
    let Strategy::Bands(bands) = &policy.chooser else { bail!("the policy must have bands, not routes") };
    let priced = |target: &Target| match target {
        Target::Model(model) => priced_model(model),
        Target::Weighted(_) => bail!("a band must have one model, not several by weight"),
    };
    let rows = Bands::rows(bands).map(|(_, target)| priced(target)).collect::<Result<Vec<_>>>()?;
    rows.try_into()
        .map_err(|rows: Vec<_>| anyhow::anyhow!("the policy must have two bands, not {}", rows.len()))
}

fn priced_model(model: &Model) -> Result<(String, Cost)> {
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
            completion_tokens: 100,
        };
        args.settings(&[])
    }

    #[test]
    fn the_model_with_the_higher_price_is_the_strong_one() {
        let high = settings("bands: [{up_to: 0.4, model: small}, {model: large}]").unwrap();
        assert_eq!(high.when, StrongWhen::High);
        assert_eq!(high.prices.unwrap().strong.0, "large");
        let low = settings("bands: [{up_to: 0.4, model: large}, {model: small}]").unwrap();
        assert_eq!(low.when, StrongWhen::Low);
    }

    #[test]
    fn a_policy_without_two_priced_models_is_rejected() {
        for (bands, reason) in [
            ("routes: {}, default: small", "bands, not routes"),
            ("bands: [{up_to: 0.4, model: small}, {model: free}]", "models.free: no cost"),
            ("bands: [{up_to: 0.2, model: small}, {up_to: 0.4, model: large}, {model: large}]", "not 3"),
            ("bands: [{up_to: 0.4, model: small}, {model: small}]", "cost the same"),
        ] {
            let error = format!("{:#}", settings(bands).unwrap_err());
            assert!(error.contains(reason), "{error}");
        }
    }
}
