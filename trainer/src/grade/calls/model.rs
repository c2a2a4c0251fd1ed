//! A model to send prompts to.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail, ensure};
use llm_router_routing::config::Cost;
use serde_json::{Map, Value, json};

use super::chat::Completion;
use super::provider::Provider;
use crate::grade::key::Key;
use crate::grade::money::Money;

/// Members of the request body that a user must not set.
const RESERVED: [&str; 5] = ["model", "messages", "stream", "stream_options", "n"];

/// The members that limit a completion. Without one, a request has no worst case.
const LIMITS: [&str; 2] = ["max_completion_tokens", "max_tokens"];

/// Tokens that a provider adds to a message, at most.
const TOKENS_PER_MESSAGE: u64 = 16;

/// Tokens that a provider adds to a request, at most.
const TOKENS_PER_REQUEST: u64 = 64;

/// A model, and how it is called.
#[derive(Debug)]
pub(crate) struct ChatModel {
    /// Its name for the provider.
    pub(crate) name: String,
    /// Its provider.
    pub(crate) provider: Arc<Provider>,
    /// Members of the request body, in addition to model and messages.
    settings: BTreeMap<String, Value>,
    max_tokens: u64,
    /// Its prices, if they are known.
    pub(crate) price: Option<Cost>,
    has_succeeded: AtomicBool,
}

impl ChatModel {
    /// A model with these members of the request body. `edits` replaces members; null removes one.
    ///
    /// # Errors
    /// If the edits concern a reserved member, or leave none that limits the completion.
    pub(crate) fn new(
        name: String,
        provider: Arc<Provider>,
        settings: Map<String, Value>,
        edits: &Map<String, Value>,
        price: Option<Cost>,
    ) -> Result<Self> {
        let mut settings: BTreeMap<_, _> = settings.into_iter().collect();
        for (member, value) in edits {
            ensure!(
                !RESERVED.contains(&member.as_str()),
                "--body {name}: the member {member:?} cannot be set"
            );
            match value {
                Value::Null => settings.remove(member),
                value => settings.insert(member.clone(), value.clone()),
            };
        }
        let max_tokens = max_tokens(&settings).with_context(|| format!("--body {name}"))?;
        Ok(Self { name, provider, settings, max_tokens, price, has_succeeded: AtomicBool::new(false) })
    }

    /// Whether the other is the same model at the same URL.
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.name == other.name && self.provider.url == other.provider.url
    }

    /// The request's body.
    pub(super) fn body(&self, messages: &[Value]) -> Vec<u8> {
        let mut body: Map<_, _> = [("model".to_owned(), self.name.clone().into())].into_iter().collect();
        body.insert("messages".to_owned(), messages.into());
        body.extend(self.settings.clone());
        Value::from(body).to_string().into_bytes()
    }

    /// The key of a result that depends on these values and on the model.
    pub(crate) fn key(&self, kind: &str, values: &Value) -> Key {
        Key::compute(&json!([kind, self.provider.url.as_str(), self.name, self.settings, values]))
    }

    /// The most that a request can cost: a token has at least one byte, so the number of bytes bounds the
    /// number of the prompt's tokens.
    pub(crate) fn worst_cost(&self, messages: &[Value]) -> Money {
        let bytes = self.body(messages).len() as u64;
        let added = TOKENS_PER_REQUEST + TOKENS_PER_MESSAGE * messages.len() as u64;
        self.cost(bytes + added, self.max_tokens)
    }

    /// The cost of these tokens.
    pub(crate) fn cost(&self, input_tokens: u64, output_tokens: u64) -> Money {
        let price = self.price.map_or(0.0, |price| price.of(input_tokens, output_tokens));
        Money::from_price(price)
    }

    /// The maximum length of a completion, in tokens.
    pub(crate) fn max_tokens(&self) -> u64 {
        self.max_tokens
    }

    /// The cost of a completion, if the provider reports its tokens.
    pub(super) fn cost_of(&self, completion: &Completion) -> Option<Money> {
        let usage = completion.usage?.into();
        Some(Money::from_price(self.price.map_or(0.0, |price| price.of_usage(&usage))))
    }

    /// Records that a request succeeded.
    pub(crate) fn record_success(&self) {
        self.has_succeeded.store(true, Ordering::Relaxed);
        self.provider.record_success();
    }

    /// Whether a request has succeeded. If so, an invalid request is about its prompt.
    pub(super) fn has_succeeded(&self) -> bool {
        self.has_succeeded.load(Ordering::Relaxed)
    }
}

/// The maximum length of a completion, in tokens. With two limits, providers differ in which one they respect, so it is the
/// larger one.
fn max_tokens(settings: &BTreeMap<String, Value>) -> Result<u64> {
    let mut limits = Vec::new();
    for member in LIMITS {
        match settings.get(member).map(Value::as_u64) {
            Some(Some(limit)) if limit > 0 => limits.push(limit),
            // Some providers interpret -1 or another value as no limit.
            Some(_) => bail!("{member:?} must be a number of tokens from 1; null removes it"),
            None => {}
        }
    }
    limits.into_iter().max().with_context(|| {
        let [preferred, other] = LIMITS;
        format!("keep {other:?} or {preferred:?}, so that a completion has a limit")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grade::calls::pace::Pace;
    use crate::grade::calls::provider::completions_url;

    fn model(edits: &Value) -> Result<ChatModel> {
        let url = completions_url("http://host/v1")?;
        let provider = Arc::new(Provider::new(url, None, None, Pace::new(None)));
        let settings = json!({ "temperature": 0, "max_tokens": 100 });
        let price = Cost { input: 1.0, cached_input: 0.5, output: 10.0 };
        ChatModel::new(
            "m".to_owned(),
            provider,
            settings.as_object().unwrap().clone(),
            edits.as_object().unwrap(),
            Some(price),
        )
    }

    #[test]
    fn edits_replace_and_remove_members() {
        let found = model(&json!({ "max_tokens": null, "max_completion_tokens": 50, "top_p": 0.5 })).unwrap();
        let body: Value =
            serde_json::from_slice(&found.body(&[json!({ "role": "user", "content": "Hi" })])).unwrap();
        let expected = json!({
            "model": "m", "messages": [{ "role": "user", "content": "Hi" }],
            "max_completion_tokens": 50, "temperature": 0, "top_p": 0.5,
        });
        assert_eq!((body, found.max_tokens()), (expected, 50));
        for (edits, wrong) in [
            (json!({ "max_tokens": null }), "keep \"max_tokens\""),
            (json!({ "max_tokens": -1 }), "--body m: \"max_tokens\" must be a number of tokens from 1"),
            (json!({ "max_completion_tokens": 0 }), "\"max_completion_tokens\" must be a number"),
            (json!({ "stream": true }), "\"stream\" cannot be set"),
        ] {
            let error = format!("{:#}", model(&edits).unwrap_err());
            assert!(error.contains(wrong), "{error}");
        }
    }

    #[test]
    fn of_two_limits_the_larger_one_is_reserved() {
        for (limit, max_tokens) in [(10, 100), (1000, 1000)] {
            let found = model(&json!({ "max_completion_tokens": limit })).unwrap();
            assert_eq!(found.max_tokens(), max_tokens);
            assert!(found.worst_cost(&[]) > found.cost(0, max_tokens));
        }
    }

    #[test]
    fn the_worst_case_is_above_the_cost() {
        let model = model(&json!({})).unwrap();
        let message = json!({ "role": "user", "content": "é".repeat(1000) });
        // At most 2000 tokens of text, 100 of the completion, and what the provider adds.
        let worst = model.worst_cost(std::slice::from_ref(&message)).dollars();
        assert!((0.003..0.0033).contains(&worst), "{worst}");
        let body = json!({
            "choices": [{ "message": { "content": "x" } }],
            "usage": { "prompt_tokens": 1000, "completion_tokens": 100, "prompt_tokens_details": { "cached_tokens": 200 } },
        });
        let completion = Completion::from_body(body.to_string().as_bytes()).unwrap();
        // 800 × $1, 200 × $0.50 and 100 × $10 per million.
        assert_eq!(model.cost_of(&completion), Some(Money::from_price(0.0019)));
    }

    #[test]
    fn a_key_depends_on_the_settings_but_not_on_their_order() {
        let key = |edits| model(&edits).unwrap().key("completion", &json!("hi")).to_string();
        assert_eq!(key(json!({ "a": 1, "b": 2 })), key(json!({ "b": 2, "a": 1 })));
        assert_ne!(key(json!({})), key(json!({ "temperature": 1 })));
        assert_ne!(key(json!({})), model(&json!({})).unwrap().key("verdict", &json!("hi")).to_string());
    }
}
