//! How each of Envoy's retries changes a request for the next model: written by the filter
//! that decides, and read by the one in front of the models, which sees the request once an attempt.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::decision::Decision;
use crate::digest::Digest;
use crate::headers::Headers;
use crate::request::{Request, Target};
use crate::rewrite::{BodyEdits, Restore, TooLarge};

/// Request headers that can hold a key for an LLM.
pub(crate) const CREDENTIALS: [&str; 4] = ["authorization", "x-api-key", "api-key", "x-goog-api-key"];

/// The attempts that follow the first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failover {
    /// The request header that Envoy's routes read the cluster from.
    pub cluster_header: String,
    /// The request header that carries the name of the attempt's model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_header: Option<String>,
    /// The normalized `:path`, which identifies the endpoint.
    pub path: String,
    /// What the first model's edits changed in the body; `None` if it has no edits.
    restore: Option<Restore>,
    retries: Vec<Retry>,
}

/// The request for the next model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retry {
    /// The Envoy cluster that serves it.
    pub cluster: String,
    /// The value of the body's `model`.
    pub model: String,
    /// `:path`.
    pub path: String,
    /// `:authority`.
    pub host: String,
    edits: BodyEdits,
}

impl Failover {
    /// None if there are no fallback models. `host` and `body` are the client's; the body may be empty if the decision's
    /// model does not edit it.
    ///
    /// # Errors
    /// If the members that the decision's model edits are too large to be kept for retries.
    pub(crate) fn new(
        config: &Config,
        decision: &Decision,
        target: &Target,
        host: &str,
        body: &[u8],
    ) -> Result<Option<Self>, TooLarge> {
        if decision.next.is_empty() {
            return Ok(None);
        }
        let restore = Restore::new(&decision.model.body, body)?;
        let retries: Vec<_> = decision
            .next
            .iter()
            .map(|model| Retry {
                cluster: model.cluster.clone(),
                model: model.upstream.clone(),
                path: target.path_at(model.base_path.as_deref()),
                host: model.host.clone().unwrap_or_else(|| host.to_owned()),
                edits: model.body.clone(),
            })
            .collect();
        Ok(Some(Self {
            cluster_header: config.cluster_header.clone(),
            model_header: config.model_header.clone(),
            path: target.path_at(None),
            restore,
            retries,
        }))
    }

    /// The body for a retry: the client's, with the edits of the retry's model alone. `first` is the one that was made for
    /// the first model. None if it cannot be read.
    pub fn body(&self, retry: &Retry, first: &[u8]) -> Option<Vec<u8>> {
        let Target { endpoint, .. } = Target::from_path(&self.path)?;
        let clients = match &self.restore {
            Some(restore) => Cow::Owned(restore.apply(first)),
            None => Cow::Borrowed(first),
        };
        let rewrite = Request::parse(endpoint, &clients).ok()?.into_rewrite();
        Some(rewrite.for_model(&retry.model, &retry.edits, &clients).apply(&clients))
    }

    /// As a value of filter state.
    pub fn to_json(&self) -> String {
        // Texts always serialize.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// None if it was not written by [`to_json`](Self::to_json).
    pub fn from_json(json: &[u8]) -> Option<Self> {
        serde_json::from_slice(json).ok()
    }

    /// The changes of the request at this attempt; none at the first, which is 1. Attempts past the end use the last one.
    pub fn at_attempt(&self, attempt: u64) -> Option<&Retry> {
        let place = usize::try_from(attempt.checked_sub(2)?).ok()?;
        self.retries.get(place).or(self.retries.last())
    }
}

/// Distinguishes the keys of requests without revealing them: for [`foreign_credentials`].
pub fn credentials(headers: &Headers) -> String {
    keys(headers).map(|(name, value)| digest(name, value)).collect()
}

fn digest(name: &str, value: &[u8]) -> String {
    format!("{name}={:016x}\n", Digest::of(&[value]).number())
}

/// The headers of keys that were added to a request since its [`credentials`] were taken. An upstream filter of Envoy that
/// adds a key adds it to the later attempts too, which go to other providers.
pub fn foreign_credentials<'a>(headers: &'a Headers, before: &str) -> Vec<&'a str> {
    let is_new = |name: &str, value: &[u8]| {
        let digest = digest(name, value);
        !before.split_inclusive('\n').any(|line| line == digest)
    };
    keys(headers).filter(|(name, value)| is_new(name, value)).map(|(name, _)| name).collect()
}

fn keys(headers: &Headers) -> impl Iterator<Item = (&str, &[u8])> {
    headers.iter().filter(|(name, _)| CREDENTIALS.contains(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn retry(cluster: &str) -> Retry {
        let edits = BodyEdits::default();
        Retry { cluster: cluster.into(), model: "m".into(), path: "/v1/x".into(), host: "h".into(), edits }
    }

    #[test]
    fn each_attempt_after_the_first_has_the_next_model_and_the_last_stays() {
        let retries = vec![retry("a"), retry("b")];
        let failover = Failover {
            cluster_header: "x".into(),
            model_header: None,
            path: "/v1/x".into(),
            restore: None,
            retries,
        };
        let clusters: Vec<_> = (0..6).map(|attempt| failover.at_attempt(attempt)).collect();
        let (a, b) = (retry("a"), retry("b"));
        assert_eq!(clusters, [None, None, Some(&a), Some(&b), Some(&b), Some(&b)]);
        assert_eq!(Failover::from_json(failover.to_json().as_bytes()), Some(failover));
    }

    #[test]
    fn keys_that_came_later_are_told_from_the_clients() {
        let clients = Headers::from([("authorization", "Bearer client"), ("accept", "*/*")]);
        let before = credentials(&clients);
        assert!(!before.contains("client"), "{before}");
        assert!(foreign_credentials(&clients, &before).is_empty());
        let injected = Headers::from([("authorization", "Bearer provider"), ("x-api-key", "key")]);
        assert_eq!(foreign_credentials(&injected, &before), ["authorization", "x-api-key"]);
        assert_eq!(foreign_credentials(&injected, ""), ["authorization", "x-api-key"]);
    }
}
