//! Parsers of the options that name models, keys and prices.

use std::convert::Infallible;
use std::str::FromStr;

use anyhow::{Result, ensure};
use llm_router_classifier::args::may_be_key;
use llm_router_routing::config::Cost;
use serde_json::{Map, Value};

/// A model, and its URL if it has one of its own: `NAME[@URL]`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ModelSpec {
    pub(super) name: String,
    pub(super) url: Option<String>,
}

impl FromStr for ModelSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // Names can contain an @, too.
        let at = ["@http://", "@https://"].into_iter().find_map(|sign| text.find(sign));
        let (name, url) = match at.and_then(|at| text.split_at_checked(at)) {
            Some((name, url)) => (name, url.strip_prefix('@').map(str::to_owned)),
            None => (text, None),
        };
        match name.trim().is_empty() {
            true => Err("a model's name is missing: NAME, or NAME@http://HOST/v1".to_owned()),
            false => Ok(Self { name: name.to_owned(), url }),
        }
    }
}

/// The environment variable with a key, and the URL that the key is for: `[URL=]VARIABLE`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct KeySpec {
    pub(super) url: Option<String>,
    pub(super) variable: String,
}

impl FromStr for KeySpec {
    type Err = Infallible;

    /// Never fails: an error would repeat the text, which may be a key. [`check`](Self::check) does not.
    fn from_str(text: &str) -> Result<Self, Infallible> {
        let (url, variable) = match text.rsplit_once('=') {
            Some((url, variable)) => (Some(url.to_owned()), variable),
            None => (None, text),
        };
        Ok(Self { url, variable: variable.to_owned() })
    }
}

impl KeySpec {
    /// Rejects what is not written like an environment variable.
    ///
    /// # Errors
    /// Does not repeat the text, which may be a key.
    pub(super) fn check(&self) -> Result<()> {
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        ensure!(
            !self.variable.is_empty() && self.variable.chars().all(is_name),
            "--key-env: this is not the name of an environment variable; keys are not given on the command line"
        );
        Ok(())
    }

    /// The name as messages may show it.
    pub(super) fn shown(&self) -> &str {
        match may_be_key(&self.variable) {
            true => "that --key-env names",
            false => &self.variable,
        }
    }
}

/// A model's prices: `NAME=INPUT,OUTPUT`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct PriceSpec {
    pub(super) name: String,
    pub(super) cost: Cost,
}

impl FromStr for PriceSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = || {
            let (name, prices) = text.rsplit_once('=')?;
            let (input, output) = prices.split_once(',')?;
            let price = |text: &str| {
                text.trim().parse().ok().filter(|price: &f64| price.is_finite() && *price >= 0.0)
            };
            let (input, output) = (price(input)?, price(output)?);
            Some(Self { name: name.to_owned(), cost: Cost { input, cached_input: input, output } })
        };
        parse().ok_or_else(|| "not NAME=INPUT,OUTPUT, in dollars per million tokens".to_owned())
    }
}

/// Members of a model's request body: `NAME=JSON`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct BodySpec {
    pub(super) name: String,
    pub(super) members: Map<String, Value>,
}

impl FromStr for BodySpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, json) = text.split_once('=').ok_or("not NAME=JSON")?;
        let members = serde_json::from_str(json).map_err(|error| format!("not a JSON object: {error}"))?;
        Ok(Self { name: name.to_owned(), members })
    }
}

/// Parses a number above zero.
pub(super) fn positive(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number: &f64| number.is_finite() && *number > 0.0);
    number.ok_or_else(|| "not a number above 0".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_may_have_its_own_url() {
        let spec = |text: &str| text.parse::<ModelSpec>().map(|spec| (spec.name, spec.url));
        let url = Some("https://host/v1".to_owned());
        assert_eq!(spec("m"), Ok(("m".to_owned(), None)));
        assert_eq!(spec("m@https://host/v1"), Ok(("m".to_owned(), url.clone())));
        assert_eq!(spec("@cf/meta/llama@https://host/v1"), Ok(("@cf/meta/llama".to_owned(), url)));
        assert_eq!(spec("m@2024"), Ok(("m@2024".to_owned(), None)));
        assert!(spec("@https://host").is_err() && spec(" ").is_err());
    }

    #[test]
    fn a_key_is_named_by_its_variable_and_never_repeated() {
        let spec = |text: &str| text.parse::<KeySpec>().unwrap();
        let parts = |text: &str| (spec(text).url, spec(text).variable);
        assert_eq!(parts("MY_KEY"), (None, "MY_KEY".to_owned()));
        assert_eq!(parts("https://host/v1=K2"), (Some("https://host/v1".to_owned()), "K2".to_owned()));
        spec("MY_KEY_2").check().unwrap();
        for key in ["sk-secret", "https://host/v1=sk-secret", ""] {
            let error = spec(key).check().unwrap_err().to_string();
            assert!(error.contains("environment variable") && !error.contains("secret"), "{error}");
        }
        assert_eq!((spec("MY_KEY").shown(), spec("3f9secret").shown()), ("MY_KEY", "that --key-env names"));
    }

    #[test]
    fn prices_are_two_numbers() {
        let spec: PriceSpec = "a=b=0.15,0.6".parse().unwrap();
        assert_eq!((spec.name.as_str(), spec.cost.input, spec.cost.output), ("a=b", 0.15, 0.6));
        for text in ["m", "m=1", "m=1,x", "m=-1,2", "m=inf,2"] {
            assert!(text.parse::<PriceSpec>().unwrap_err().contains("NAME=INPUT,OUTPUT"), "{text}");
        }
    }

    #[test]
    fn body_members_are_an_object() {
        let spec: BodySpec = r#"m={"reasoning_effort": "low"}"#.parse().unwrap();
        assert_eq!((spec.name.as_str(), spec.members.len()), ("m", 1));
        assert!("m".parse::<BodySpec>().is_err() && "m=[1]".parse::<BodySpec>().is_err());
    }

    #[test]
    fn numbers_above_zero() {
        assert_eq!(positive("0.5"), Ok(0.5));
        assert!(["0", "-1", "inf", "NaN", "x"].iter().all(|text| positive(text).is_err()));
    }
}
