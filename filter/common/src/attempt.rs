//! The changes to each attempt of a retried request. The filter in front of the LLMs sees the request once
//! per attempt, upstream of Envoy's retries. Its header changes persist for later attempts. Each attempt
//! starts with the body for the first model.

use llm_router_routing::exchange::Attempt;
use llm_router_routing::failover::{Failover, Retry, credentials, foreign_credentials};
use llm_router_routing::headers::Headers;

/// The changes to the headers of an attempt.
#[derive(Debug, Default, PartialEq)]
pub struct AttemptHeaders {
    /// Headers to set.
    pub set: Vec<(String, String)>,
    /// Headers to remove: keys of another provider.
    pub remove: Vec<String>,
    /// The value of [`CREDENTIALS`](crate::filter_state::CREDENTIALS) for the next attempts.
    pub credentials: Option<String>,
    /// If set, the host holds the headers, and this rewrites the body.
    pub body: Option<RetriedBody>,
}

/// Turns the body for the first model into the body for the model of this attempt.
#[derive(Debug, PartialEq)]
pub struct RetriedBody {
    failover: Failover,
    retry: Retry,
    has_content_length: bool,
}

impl AttemptHeaders {
    /// `before` returns the credentials that the first attempt left.
    pub fn new(
        failover: Failover,
        attempt: &Attempt,
        headers: &Headers,
        has_body: bool,
        before: impl FnOnce() -> Vec<u8>,
    ) -> Self {
        let mut plan = Self::default();
        // Envoy reads the cluster of a retry from the header that the previous attempt set.
        if let Some(next) = failover.at_attempt(attempt.number.saturating_add(1)) {
            plan.set.push((failover.cluster_header.clone(), next.cluster.clone()));
        }
        let Some(retry) = failover.at_attempt(attempt.number).cloned() else {
            plan.credentials = Some(credentials(headers));
            return plan;
        };
        // A provider's key must not reach another provider.
        let before = before();
        let foreign = foreign_credentials(headers, &String::from_utf8_lossy(&before));
        plan.remove = foreign.into_iter().map(str::to_owned).collect();
        // Envoy's routes may retry without changing the cluster.
        if has_body && attempt.cluster.as_ref() == Some(&retry.cluster) {
            plan.set.push((":path".to_owned(), retry.path.clone()));
            plan.set.push((":authority".to_owned(), retry.host.clone()));
            plan.set.extend(failover.model_header.clone().map(|name| (name, retry.model.clone())));
            let has_content_length = headers.get("content-length").is_some();
            plan.body = Some(RetriedBody { failover, retry, has_content_length });
        }
        plan
    }
}

impl RetriedBody {
    /// The new body and its `content-length`, if the headers have one. `None` if the body cannot be read; it then passes
    /// unchanged.
    pub fn rewrite(&self, first: &[u8]) -> Option<(Vec<u8>, Option<String>)> {
        let body = self.failover.body(&self.retry, first)?;
        let length = self.has_content_length.then(|| body.len().to_string());
        Some((body, length))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use llm_router_routing::cache::CachingRouter;
    use llm_router_routing::config::Config;
    use llm_router_routing::context::RequestContext;
    use llm_router_routing::exchange::{CallResult, Exchange, OnBody};
    use serde_json::json;

    use super::*;

    /// The failover of a request to `a`, which falls back to `b`.
    fn failover() -> Failover {
        let model = |name: &str| json!({"cluster": name, "model": format!("up/{name}")});
        let config = json!({
            "sidecar": {"cluster": "s"}, "default_policy": "p", "models": {"a": model("a"), "b": model("b")},
            "policies": {"p": {"classifier": "task", "routes": {}, "default": "a", "fallback": ["b"]}},
            "failover": true, "model_header": "x-model",
        });
        let config = Config::from_json(config.to_string().as_bytes()).unwrap();
        let mut exchange = Exchange::new(Arc::new(CachingRouter::new(config)));
        let headers = [(":method", "POST"), (":path", "/v1/chat/completions"), (":authority", "gateway")];
        exchange.request_headers(headers.into(), RequestContext::default(), true, &mut ());
        let body = br#"{"model":"auto","messages":[{"role":"user","content":"hi"}]}"#;
        assert_eq!(exchange.request_body(body, Duration::ZERO, &mut ()), OnBody::Classify);
        match exchange.classified(CallResult::Unavailable, || body, Duration::ZERO, &mut ()) {
            OnBody::Forward(forward) => forward.failover.expect("fallback models"),
            other => panic!("{other:?}"),
        }
    }

    fn attempt(number: u64, cluster: &str) -> Attempt {
        Attempt { number, cluster: Some(cluster.to_owned()) }
    }

    #[test]
    fn the_first_attempt_leaves_the_next_cluster_and_its_keys() {
        let headers = Headers::from([("authorization", "Bearer client")]);
        let plan =
            AttemptHeaders::new(failover(), &attempt(1, "a"), &headers, true, || panic!("not asked for"));
        assert_eq!(plan.set, [("x-llm-cluster".to_owned(), "b".to_owned())]);
        assert!(plan.credentials.is_some_and(|it| it.starts_with("authorization=")));
        assert_eq!((plan.remove, plan.body), (vec![], None));
    }

    #[test]
    fn a_retry_loses_keys_that_came_later_and_gets_its_own_body() {
        let headers = Headers::from([("x-api-key", "of provider a"), ("content-length", "9")]);
        let plan = AttemptHeaders::new(failover(), &attempt(2, "b"), &headers, true, Vec::new);
        assert_eq!(plan.remove, ["x-api-key"]);
        assert!(plan.set.contains(&("x-model".to_owned(), "up/b".to_owned())), "{:?}", plan.set);
        let first = br#"{"model":"up/a","messages":[{"role":"user","content":"hi"}]}"#;
        let (body, length) = plan.body.unwrap().rewrite(first).unwrap();
        assert_eq!(body, br#"{"model":"up/b","messages":[{"role":"user","content":"hi"}]}"#);
        assert_eq!(length, Some(body.len().to_string()));
    }

    #[test]
    fn a_retry_at_the_same_cluster_or_without_a_body_stays_as_it_is() {
        let headers = Headers::default();
        for (cluster, has_body) in [("a", true), ("b", false)] {
            let plan = AttemptHeaders::new(failover(), &attempt(2, cluster), &headers, has_body, Vec::new);
            assert_eq!(plan.body, None, "{cluster}");
            assert!(plan.set.iter().all(|(name, _)| name == "x-llm-cluster"), "{:?}", plan.set);
        }
    }
}
