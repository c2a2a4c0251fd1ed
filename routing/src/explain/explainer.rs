//! Processes a request as in Envoy, and explains the steps.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::considered::{self, ConsideredModel};
use super::narrator::Narrator;
use super::step::ExplainedStep;
use crate::cache::CachingRouter;
use crate::classification::Prediction;
use crate::config::{Config, Mode};
use crate::context::RequestContext;
use crate::exchange::{CallResult, Exchange, OnBody, OnHeaders, Query};
use crate::headers::Headers;

/// No time passes: how long a classifier takes is not explained.
const NOW: Duration = Duration::ZERO;

/// Whether explanations contain the values that a model's body edits set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyValues {
    /// Yes.
    Shown,
    /// No, only the names of the changed members: the values may be secret.
    Hidden,
}

/// Explains requests by one policy. Nothing is sent, cached or counted. A policy in shadow mode is explained as if it were
/// enforced. Clones share the policy.
#[derive(Clone)]
pub struct Explainer {
    /// Enforces.
    config: Arc<Config>,
    router: Arc<CachingRouter>,
    /// The policy's own mode.
    mode: Mode,
    body_values: BodyValues,
}

impl Explainer {
    /// Explains by this policy.
    pub fn new(mut config: Config, body_values: BodyValues) -> Self {
        let mode = config.mode;
        config.mode = Mode::Enforce;
        let config = Arc::new(config);
        let router = Arc::new(CachingRouter::without_caches(Arc::clone(&config)));
        Self { config, router, mode, body_values }
    }

    /// The policy, which enforces.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// A request for a dry run without an explanation.
    pub fn exchange(&self) -> Exchange {
        Exchange::new(Arc::clone(&self.router))
    }

    /// Starts with a request's headers and body. The pseudo headers are among the headers.
    pub fn start<'b>(
        &self,
        headers: Headers,
        context: RequestContext,
        body: &'b [u8],
    ) -> ExplainedRequest<'b> {
        let mut exchange = self.exchange();
        let mut narrator = Narrator::new(Arc::clone(&self.config), self.mode, self.body_values);
        let (removed, then) = exchange.request_headers(headers, context, true, &mut narrator);
        narrator.removed(removed);
        let action = match then {
            OnHeaders::Continue => {
                narrator.untouched("it is not a request to an LLM API");
                None
            }
            OnHeaders::Respond(response) => {
                narrator.responded(&response);
                None
            }
            OnHeaders::Hold => Some(exchange.request_body(body, NOW, &mut narrator)),
        };
        ExplainedRequest { exchange, narrator, action, body }
    }
}

/// A request in progress.
pub struct ExplainedRequest<'b> {
    exchange: Exchange,
    narrator: Narrator,
    /// What the router does with the body; none if it is not read.
    action: Option<OnBody>,
    body: &'b [u8],
}

impl ExplainedRequest<'_> {
    /// The next call to the classifiers; none if no prediction is missing.
    pub fn query(&self) -> Option<Query<'_>> {
        match self.action {
            Some(OnBody::Classify) => self.exchange.query(),
            _ => None,
        }
    }

    /// Adds a step of the tool itself.
    pub fn note(&mut self, topic: &'static str, text: String) {
        self.narrator.note(topic, text);
    }

    /// The requested predictions, each with its classifier's name. Missing ones are unavailable.
    pub fn predicted(&mut self, predictions: Vec<(String, Prediction)>) {
        let result = match predictions.is_empty() {
            true => CallResult::Unavailable,
            false => CallResult::Classified(predictions),
        };
        self.action = Some(self.exchange.classified(result, || self.body, NOW, &mut self.narrator));
    }

    /// The explanation, once no query is left.
    pub fn finish(mut self) -> Explanation {
        match &self.action {
            None => {}
            Some(OnBody::Continue | OnBody::Classify) => {
                self.narrator.untouched("its model is not configured")
            }
            Some(OnBody::Forward(forward)) => self.narrator.forwarded(forward),
            Some(OnBody::Respond(response)) => self.narrator.responded(response),
        }
        Explanation(self.narrator)
    }
}

/// The explanation of a routing decision.
pub struct Explanation(Narrator);

impl Explanation {
    /// The steps, in the order in which they were taken.
    pub fn steps(&self) -> &[ExplainedStep] {
        &self.0.steps
    }

    /// The outcome: an object with the `action` `forward`, `respond` or `untouched`, and more.
    pub fn outcome(&self) -> &Value {
        &self.0.outcome
    }

    /// Every model of the configuration, why it was chosen or not, and what the request would cost there. `prompt_tokens` and
    /// `completion_tokens` are those that are paid for.
    pub fn considered(&self, prompt_tokens: u64, completion_tokens: u64) -> Vec<ConsideredModel> {
        considered::all(&self.0, prompt_tokens, completion_tokens)
    }
}

/// A line for each step, topic and text.
impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.steps().iter().map(|step| step.topic.len()).max().unwrap_or(0);
        for ExplainedStep { topic, text, .. } in self.steps() {
            writeln!(f, "{topic:<width$}  {text}")?;
        }
        Ok(())
    }
}
