//! The pair of models that a head chooses between: their names, and what they cost.

use anyhow::{Context, Result, bail, ensure};
use llm_router_routing::config::{Config, Cost, Model, Policy};

use super::names::Names;
use super::rows::{Completion, GradedPrompt};
use crate::eval::tradeoff::{GradedRow, QualityCost};

/// A weak and a strong model.
#[derive(Debug, Clone, PartialEq)]
pub struct Pair {
    /// Their names, if they are known.
    pub names: Option<Names>,
    /// The prices of both, if they are known.
    pub prices: Option<Prices>,
}

/// What both models' tokens cost.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Prices {
    weak: Cost,
    strong: Cost,
    /// The assumed length of a completion, in tokens, where a row does not give it.
    completion_tokens: u64,
}

impl Pair {
    /// Models without a policy, if their names are known.
    #[must_use]
    pub fn of_names(names: Option<Names>) -> Self {
        Self { names, prices: None }
    }

    /// The two models of a policy, or those of these names. The strong one is the one with the higher price.
    ///
    /// # Errors
    /// If the configuration has no such model, or names are needed to determine the two models. The error names the fix.
    pub fn from_policy(
        config: &Config,
        policy: &Policy,
        names: Option<Names>,
        completion_tokens: u64,
    ) -> Result<Self> {
        let (weak, strong) = match &names {
            Some(Names { weak, strong }) => {
                (named(config, "--weak-name", weak)?, named(config, "--strong-name", strong)?)
            }
            None => by_price(policy).with_context(|| format!("policy {}", policy.name))?,
        };
        let costs = weak.cost.zip(strong.cost);
        Ok(Self {
            names: Some(Names { weak: weak.name.to_string(), strong: strong.name.to_string() }),
            prices: costs.map(|(weak, strong)| Prices { weak, strong, completion_tokens }),
        })
    }

    /// Whether this is the name of the strong model; none if it is neither model's.
    #[must_use]
    pub fn is_strong(&self, name: &str) -> Option<bool> {
        let names = self.names.as_ref()?;
        (name == names.strong || name == names.weak).then(|| name == names.strong)
    }

    /// A prompt with its score and its number of tokens. Costs are in dollars, or without prices in strong calls.
    #[must_use]
    pub fn graded_row(&self, prompt: &GradedPrompt, score: f32, tokens: u64) -> GradedRow {
        let (weak, strong) = match &self.prices {
            Some(prices) => (
                prices.of(&prices.weak, &prompt.weak, tokens),
                prices.of(&prices.strong, &prompt.strong, tokens),
            ),
            None => (0.0, 1.0),
        };
        GradedRow {
            score,
            weak: QualityCost { quality: prompt.weak.grade, cost: weak },
            strong: QualityCost { quality: prompt.strong.grade, cost: strong },
        }
    }
}

impl Prices {
    /// The cost of a completion: of its own token counts, or if these are unknown, of the prompt's tokens and
    /// the assumed length.
    fn of(&self, cost: &Cost, completion: &Completion, prompt_tokens: u64) -> f64 {
        const PER: f64 = 1e6;
        match completion.tokens {
            Some(tokens) => (cost.input * tokens.prompt + cost.output * tokens.completion) / PER,
            None => cost.of(prompt_tokens, self.completion_tokens),
        }
    }
}

fn named<'a>(config: &'a Config, option: &str, name: &str) -> Result<&'a Model> {
    let known = || config.models().map(|model| model.name.as_str()).collect::<Vec<_>>().join(", ");
    let model = config.model(name);
    Ok(model
        .with_context(|| format!("{option} {name}: the policy file has no such model; it has {}", known()))?)
}

/// The cheaper and the more expensive of a policy's two models.
fn by_price(policy: &Policy) -> Result<(&Model, &Model)> {
    let mut models: Vec<&Model> = Vec::new();
    for model in policy.models() {
        if models.iter().all(|known| known.name != model.name) {
            models.push(model);
        }
    }
    let names = models.iter().map(|model| model.name.as_str()).collect::<Vec<_>>().join(", ");
    let Ok([first, second]) = <[&Model; 2]>::try_from(models) else {
        bail!(
            "it must have two models, but has {names}. Name the two that were graded: --weak-name, --strong-name"
        );
    };
    ensure!(
        first.cost.is_some() && second.cost.is_some() && first.price() != second.price(),
        "which of {names} is the strong model? Their costs do not decide it: declare them in the policy, or use --weak-name and \
         --strong-name"
    );
    Ok(if first.price() < second.price() { (first, second) } else { (second, first) })
}

#[cfg(test)]
mod tests {
    use llm_router_routing::documents;

    use super::*;
    use crate::win_rate::usage::TokenCounts;

    const MODELS: &str = "small: {cluster: c, model: s, cost: {input: 1, output: 2}}, \
                          large: {cluster: c, model: l, cost: {input: 5, output: 10}}, free: {cluster: c, model: f}";

    fn pair(policy: &str, names: Option<(&str, &str)>) -> Result<Pair> {
        let text = format!(
            "sidecar: {{cluster: c}}\ndefault_policy: p\nmodels: {{{MODELS}}}\npolicies: {{p: {{{policy}}}}}\n"
        );
        let config = documents::parse_one(&text).unwrap();
        let names = names.map(|(weak, strong)| Names { weak: weak.into(), strong: strong.into() });
        Pair::from_policy(&config, &config.default_policy, names, 300)
    }

    const BANDS: &str = "classifier: win-rate, bands: [{up_to: 0.5, model: large}, {model: small}]";
    const THREE: &str = "classifier: task, routes: {a: free, b: large}, default: small";

    fn prompt(weak: Option<TokenCounts>) -> GradedPrompt {
        GradedPrompt {
            text: "hi".into(),
            context: Vec::new(),
            source: 0,
            group: 0,
            weak: Completion { grade: 0.25, tokens: weak },
            strong: Completion { grade: 1.0, tokens: None },
        }
    }

    #[test]
    fn the_model_with_the_higher_price_is_the_strong_one() {
        let found = pair(BANDS, None).unwrap();
        assert_eq!(found.names, Some(Names { weak: "small".into(), strong: "large".into() }));
        assert!(found.prices.is_some());
    }

    #[test]
    fn names_choose_among_several_models() {
        let found = pair(THREE, Some(("free", "large"))).unwrap();
        assert_eq!(found.names.unwrap().weak, "free");
        assert_eq!(found.prices, None, "one of them has no price");
    }

    #[test]
    fn models_that_are_not_clear_are_an_error_with_the_fix() {
        for (policy, names, wrong) in [
            (
                THREE,
                None,
                "must have two models, but has free, large, small. Name the two that were graded: --weak-name",
            ),
            (
                "classifier: t, routes: {a: free}, default: small",
                None,
                "which of free, small is the strong model?",
            ),
            (
                BANDS,
                Some(("small", "huge")),
                "--strong-name huge: the policy file has no such model; it has free, large",
            ),
        ] {
            let error = format!("{:#}", pair(policy, names).unwrap_err());
            assert!(error.contains(wrong), "{error}");
        }
    }

    #[test]
    fn a_decision_is_strong_weak_or_neither() {
        let pair = pair(BANDS, None).unwrap();
        assert_eq!(
            ["large", "small", "free"].map(|name| pair.is_strong(name)),
            [Some(true), Some(false), None]
        );
    }

    #[test]
    fn a_completion_costs_what_it_took_or_what_is_assumed() {
        let pair = pair(BANDS, None).unwrap();
        let graded = prompt(Some(TokenCounts { prompt: 100.0, completion: 50.0 }));
        let GradedRow { score, weak, strong } = pair.graded_row(&graded, 0.5, 90);
        assert_eq!(score, 0.5);
        assert_eq!((weak.quality, strong.quality), (0.25, 1.0));
        assert!((weak.cost - (100.0 + 2.0 * 50.0) / 1e6).abs() < 1e-15, "{weak:?}");
        assert!((strong.cost - (5.0 * 90.0 + 10.0 * 300.0) / 1e6).abs() < 1e-15, "{strong:?}");
        let GradedRow { weak, strong, .. } = Pair::of_names(None).graded_row(&prompt(None), 0.5, 90);
        assert_eq!((weak.cost, strong.cost), (0.0, 1.0), "in strong calls");
    }
}
