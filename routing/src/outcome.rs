//! What becomes of a request once it is decided, for whoever carries that out.

use crate::config::{Config, Mode};
use crate::decision::{Decision, Reason};
use crate::rejection::Rejection;
use crate::request::Endpoint;
use crate::rewrite::Rewrite;

/// What is kept of a request's headers until its body is there.
#[derive(Clone, Debug)]
pub struct Head {
    /// The API that it speaks.
    pub endpoint: Endpoint,
    /// Its `:path`, with the query.
    pub path: String,
    /// All headers, with lower-case names.
    pub headers: Vec<(String, Vec<u8>)>,
}

/// What becomes of a request. In shadow it goes on as it was sent, whatever is told of it.
#[derive(Debug)]
pub enum Outcome {
    /// It goes on as it was sent, and there is nothing to tell.
    Untouched,
    /// It goes on, to the LLM that was chosen; without changes, it only would have been.
    Routed {
        /// Which LLM, and why.
        decision: Decision,
        /// How the request becomes one to that LLM.
        changes: Option<Changes>,
    },
    /// It is answered in place of an LLM; or goes on, and only would have been.
    Refused {
        /// The answer.
        refusal: Rejection,
        /// Whether it is sent.
        answered: bool,
    },
}

/// How a request becomes one to the LLM that was chosen.
#[derive(Debug, PartialEq)]
pub struct Changes {
    /// Headers to set: the cluster, and what does not fit the LLM or the body any more.
    pub headers: Vec<(String, String)>,
    /// The body that replaces the client's.
    pub body: Vec<u8>,
}

impl Outcome {
    /// What becomes of the request of this head and body. `decided` is none if the request is not to be routed.
    pub fn of(
        config: &Config,
        head: &Head,
        body: &[u8],
        decided: Result<Option<(Decision, Rewrite)>, Rejection>,
    ) -> Self {
        match decided {
            Ok(None) => Self::Untouched,
            Ok(Some((decision, _))) if config.mode == Mode::Shadow => {
                Self::Routed { decision: Decision { reason: Reason::Shadow, ..decision }, changes: None }
            }
            Ok(Some((decision, rewrite))) => {
                let body = rewrite.apply(body, &decision.model.upstream);
                let headers = head.set_headers(config, &decision, body.len());
                Self::Routed { decision, changes: Some(Changes { headers, body }) }
            }
            Err(refusal) => Self::refused(config, refusal),
        }
    }

    /// What becomes of a request that cannot be routed.
    pub fn refused(config: &Config, refusal: Rejection) -> Self {
        Self::Refused { refusal, answered: config.mode != Mode::Shadow }
    }
}

impl Head {
    fn set_headers(&self, config: &Config, decision: &Decision, length: usize) -> Vec<(String, String)> {
        let model = &decision.model;
        let mut all = vec![(config.cluster_header.clone(), model.cluster.clone())];
        if self.headers.iter().any(|(name, _)| name == "content-length") {
            all.push(("content-length".to_owned(), length.to_string()));
        }
        if let Some(base_path) = &model.base_path {
            all.push((":path".to_owned(), self.endpoint.path_at(&self.path, base_path)));
        }
        if let Some(host) = &model.host {
            all.push((":authority".to_owned(), host.clone()));
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::request::Request;
    use crate::router::{Client, Plan, Router};

    const BODY: &str = r#"{"model": "big", "messages": [{"role": "user", "content": "Hi"}]}"#;
    const REWRITTEN: &str = r#"{"model": "vendor/big", "messages": [{"role": "user", "content": "Hi"}]}"#;

    fn config(change: impl FnOnce(&mut Value)) -> Config {
        let mut config = json!({
            "sidecar": {"cluster": "c"}, "cluster_header": "x-target", "default_policy": "p",
            "models": {"big": {"cluster": "big-cluster", "model": "vendor/big"}},
            "policies": {"p": {"classifier": "task", "routes": {}, "default": "big"}},
        });
        change(&mut config);
        Config::from_json(config.to_string().as_bytes()).unwrap()
    }

    fn shadow(config: &mut Value) {
        config["mode"] = json!("shadow");
    }

    fn head(headers: &[(&str, &str)]) -> Head {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec()));
        let path = "/team/v1/chat/completions?x=1".to_owned();
        Head { endpoint: Endpoint::ChatCompletions, path, headers: headers.collect() }
    }

    /// What becomes of [`BODY`], which names its model.
    fn named(config: &Config, headers: &[(&str, &str)]) -> Outcome {
        let head = head(headers);
        let request = Request::parse(head.endpoint, BODY.as_bytes()).unwrap();
        let client = Client { path: &head.path, headers: &head.headers };
        let Ok(Plan::Route(decision)) = Router::new(config.clone()).plan(&request, &client) else {
            panic!("not routed")
        };
        Outcome::of(config, &head, BODY.as_bytes(), Ok(Some((decision, request.into_rewrite()))))
    }

    fn changes(outcome: Outcome) -> Changes {
        let Outcome::Routed { changes: Some(changes), .. } = outcome else { panic!("{outcome:?}") };
        changes
    }

    fn headers(outcome: Outcome) -> Vec<(String, String)> {
        changes(outcome).headers
    }

    fn pairs(headers: &[(&str, &str)]) -> Vec<(String, String)> {
        headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_decision_sets_the_cluster_and_the_body_with_its_length() {
        let length = REWRITTEN.len().to_string();
        let expected = Changes {
            headers: pairs(&[("x-target", "big-cluster"), ("content-length", &length)]),
            body: REWRITTEN.into(),
        };
        assert_eq!(changes(named(&config(|_| ()), &[("content-length", "67")])), expected);
    }

    #[test]
    fn a_body_of_unknown_length_gets_none() {
        assert_eq!(headers(named(&config(|_| ()), &[])), pairs(&[("x-target", "big-cluster")]));
    }

    #[test]
    fn a_model_elsewhere_gets_its_path_and_host() {
        let elsewhere = config(|it| {
            it["models"]["big"]["base_path"] = json!("/openai/v1");
            it["models"]["big"]["host"] = json!("api.example.com");
        });
        let expected = [
            ("x-target", "big-cluster"),
            (":path", "/openai/v1/chat/completions?x=1"),
            (":authority", "api.example.com"),
        ];
        assert_eq!(headers(named(&elsewhere, &[])), pairs(&expected));
    }

    #[test]
    fn in_shadow_a_decision_changes_nothing() {
        match named(&config(shadow), &[("content-length", "67")]) {
            Outcome::Routed { decision, changes: None } => assert_eq!(decision.reason, Reason::Shadow),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_refusal_is_answered_but_in_shadow() {
        for (config, expected) in [(config(|_| ()), true), (config(shadow), false)] {
            let decided = Err(Rejection::classifier_unavailable());
            match Outcome::of(&config, &head(&[]), b"", decided) {
                Outcome::Refused { refusal, answered } => {
                    assert_eq!((refusal.code(), answered), ("classifier_unavailable", expected));
                }
                other => panic!("{other:?}"),
            }
        }
    }
}
