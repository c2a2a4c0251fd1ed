//! Options of commands that route between a weak and a strong model.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use llm_router_routing::config::{Bands, Classifier, Config, Cost, Model, Policy, Strategy, Target};
use llm_router_routing::documents;

use crate::eval::tradeoff::StrongWhen;
use crate::eval::{Prices, WinRateSettings};
use crate::win_rate::find_policy;

/// Which scores go to the strong model, and what both models cost.
#[derive(Debug, Clone, Args)]
pub struct TwoModelsArgs {
    /// Scores that go to the strong model. They depend on the head: low for `win-rate`, high for `complexity`. Alternative:
    /// --policy.
    #[arg(long, value_enum, conflicts_with = "policy")]
    strong_when: Option<StrongWhen>,
    /// Policy with two bands on the head, which give the models, their prices and the scores that go to each.
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
    /// How rows are routed by a head. `positive` are the labels whose probability is the score, for a head with labels.
    ///
    /// # Errors
    /// If nothing says which scores go to the strong model, or the policy cannot route by this head.
    pub(super) fn settings(&self, head: &str, positive: &[String]) -> Result<WinRateSettings> {
        let Some(path) = &self.policy else {
            let when = self.strong_when.with_context(|| {
                format!(
                    "which scores of head {head:?} go to the strong model? Use --strong-when low (win-rate), \
                     --strong-when high (complexity), or --policy"
                )
            })?;
            return Ok(WinRateSettings { when, positive: positive.to_vec(), prices: None });
        };
        let (when, prices) =
            self.read_policy(path, head).with_context(|| format!("--policy {}", path.display()))?;
        ensure!(
            positive.is_empty(),
            "--positive cannot be used with --policy: bands divide a score, and a head with labels has none; use \
             --strong-when instead of --policy"
        );
        Ok(WinRateSettings { when, positive: Vec::new(), prices: Some(prices) })
    }

    /// Rejects these options where no routing is measured.
    pub(super) fn ensure_absent(&self) -> Result<()> {
        ensure!(
            self.policy.is_none(),
            "--policy has no effect without --win-rate: add it, or remove --policy"
        );
        ensure!(
            self.strong_when.is_none(),
            "--strong-when has no effect without --win-rate: add it, or remove --strong-when"
        );
        Ok(())
    }

    fn read_policy(&self, path: &Path, head: &str) -> Result<(StrongWhen, Prices)> {
        let config = documents::parse_one(&std::fs::read_to_string(path)?)?;
        let policy = find_policy(&config, self.policy_name.as_deref())?;
        ensure!(is_by_head(policy, head), wrong_head(&config, policy, head));
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

/// Whether the policy routes by this head.
fn is_by_head(policy: &Policy, head: &str) -> bool {
    matches!(&policy.classifier, Classifier::Head(name) if name == head)
}

/// Why a policy is rejected. The scores of two heads may mean the opposite, so the bands of one cannot be used for the other.
fn wrong_head(config: &Config, policy: &Policy, head: &str) -> String {
    let has_bands = |policy: &Policy| matches!(policy.chooser, Strategy::Bands(_));
    let suitable: Vec<_> = config
        .policies()
        .filter(|other| is_by_head(other, head) && has_bands(other))
        .map(|other| format!("--policy-name {}", other.name))
        .collect();
    let fix = match (suitable.is_empty(), &policy.classifier, &policy.chooser) {
        (false, ..) => format!("use {}", suitable.join(" or ")),
        (true, Classifier::Head(other), Strategy::Bands(_)) => {
            format!("use --head {other}, or a policy with bands on {head:?}")
        }
        (true, ..) => format!("use a policy with bands on {head:?}"),
    };
    let (name, classifier) = (policy.name.as_str(), policy.classifier.as_str());
    format!("policy {name:?} routes by the classifier {classifier:?}, but --head is {head:?}: {fix}")
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

    /// The settings for the head `complexity` by a file with this policy.
    fn settings(policy: &str) -> Result<WinRateSettings> {
        by_file(&format!("p: {{classifier: complexity, {policy}}}"), None, "complexity", &[])
    }

    /// The settings for a head by a file with these policies, with `p` as the default.
    fn by_file(policies: &str, name: Option<&str>, head: &str, positive: &[&str]) -> Result<WinRateSettings> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let text = format!(
            "sidecar: {{cluster: c}}\ndefault_policy: p\nmodels:\n  small: {{cluster: c, model: s, cost: {{input: 1, \
             output: 2}}}}\n  large: {{cluster: c, model: l, cost: {{input: 5, output: 9}}}}\n  free: {{cluster: c, \
             model: f}}\npolicies: {{{policies}}}\n"
        );
        file.write_all(text.as_bytes()).unwrap();
        let args = TwoModelsArgs {
            strong_when: None,
            policy: Some(file.path().to_owned()),
            policy_name: name.map(str::to_owned),
            completion_tokens: 100,
        };
        args.settings(head, &positive.iter().map(|&label| label.to_owned()).collect::<Vec<_>>())
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

    /// Policies by four classifiers. A high score of `complexity` needs the large model, a high one of `win-rate` does not.
    const POLICIES: &str = "
  p: {classifier: complexity, bands: [{up_to: 0.4, model: small}, {model: large}]},
  by_win_rate: {classifier: win-rate, bands: [{up_to: 0.5, model: large}, {model: small}]},
  by_task: {classifier: task, routes: {Code Generation: large}, default: small},
  by_examples: {classifier: examples, routes: {code: {model: large, examples: [sort a list]}}, default: small}";

    #[test]
    fn a_policy_by_the_head_gives_the_scores_of_the_strong_model() {
        for (name, head, when) in [
            (None, "complexity", StrongWhen::High),
            (Some("p"), "complexity", StrongWhen::High),
            (Some("by_win_rate"), "win-rate", StrongWhen::Low),
        ] {
            assert_eq!(by_file(POLICIES, name, head, &[]).unwrap().when, when, "{name:?}");
        }
    }

    #[test]
    fn a_policy_by_another_head_is_rejected_with_both_names_and_the_fix() {
        let without_win_rate =
            "p: {classifier: complexity, bands: [{up_to: 0.4, model: small}, {model: large}]}";
        for (policies, name, head, classifier, fix) in [
            (POLICIES, None, "win-rate", "complexity", "use --policy-name by_win_rate"),
            (POLICIES, Some("by_win_rate"), "complexity", "win-rate", "use --policy-name p"),
            (POLICIES, Some("by_task"), "win-rate", "task", "use --policy-name by_win_rate"),
            (POLICIES, Some("by_examples"), "complexity", "examples", "use --policy-name p"),
            (POLICIES, Some("by_task"), "mood", "task", "use a policy with bands on \"mood\""),
            // No head is called `examples`, and `--head` names no such classifier.
            (
                POLICIES,
                Some("by_examples"),
                "examples",
                "examples",
                "use a policy with bands on \"examples\"",
            ),
            (
                without_win_rate,
                None,
                "win-rate",
                "complexity",
                "use --head complexity, or a policy with bands",
            ),
            (without_win_rate, None, "Complexity", "complexity", "use --head complexity"),
        ] {
            let error = format!("{:#}", by_file(policies, name, head, &[]).unwrap_err());
            let names = format!("routes by the classifier {classifier:?}, but --head is {head:?}");
            assert!(error.contains(&names) && error.contains(fix), "{error}");
        }
        // --positive does not make up for the wrong head.
        let error = format!("{:#}", by_file(POLICIES, None, "task", &["Code Generation"]).unwrap_err());
        assert!(error.contains("\"complexity\", but --head is \"task\""), "{error}");
    }

    #[test]
    fn a_policy_that_the_file_lacks_is_rejected_with_those_that_it_has() {
        let error = format!("{:#}", by_file(POLICIES, Some("q"), "complexity", &[]).unwrap_err());
        assert!(
            error.contains("--policy-name q: the file has no such policy; it has [\"by_examples\","),
            "{error}"
        );
    }

    #[test]
    fn bands_are_not_for_the_probability_of_labels() {
        let error = format!("{:#}", by_file(POLICIES, None, "complexity", &["x"]).unwrap_err());
        assert!(error.contains("--positive cannot be used with --policy"), "{error}");
    }

    #[test]
    fn without_a_policy_the_scores_of_the_strong_model_must_be_given() {
        let args = |strong_when| TwoModelsArgs {
            strong_when,
            policy: None,
            policy_name: None,
            completion_tokens: 100,
        };
        for when in [StrongWhen::Low, StrongWhen::High] {
            assert_eq!(args(Some(when)).settings("mood", &[]).unwrap().when, when);
        }
        let error = args(None).settings("mood", &[]).unwrap_err().to_string();
        assert!(error.contains("head \"mood\"") && error.contains("--strong-when low"), "{error}");
    }
}
