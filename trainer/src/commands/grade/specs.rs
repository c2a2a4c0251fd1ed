//! Parsers of the options that name models, keys and prices.

use std::str::FromStr;

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
        // Names can have this sign, too.
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
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (url, variable) = match text.rsplit_once('=') {
            Some((url, variable)) => (Some(url.to_owned()), variable),
            None => (None, text),
        };
        let is_name =
            |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        match is_name(variable) {
            true => Ok(Self { url, variable: variable.to_owned() }),
            // The text may be a key, which must not be repeated here.
            false => {
                Err("this is not the name of an environment variable; keys are not given on the command line"
                    .to_owned())
            }
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
        let spec = |text: &str| text.parse::<KeySpec>().map(|spec| (spec.url, spec.variable));
        assert_eq!(spec("MY_KEY"), Ok((None, "MY_KEY".to_owned())));
        assert_eq!(spec("https://host/v1=K2"), Ok((Some("https://host/v1".to_owned()), "K2".to_owned())));
        let error = spec("sk-secret").unwrap_err();
        assert!(error.contains("environment variable") && !error.contains("secret"), "{error}");
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
