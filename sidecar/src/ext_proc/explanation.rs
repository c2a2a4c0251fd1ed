//! Explained requests: where a request would go, every step of the decision, and the predictions of all heads.

use std::sync::Arc;
use std::time::{Duration, Instant};

use llm_router_classifier::engine::EngineError;
use llm_router_classifier::few_shot::Similarity;
use llm_router_classifier::model::prediction::{HeadOutput, Prediction};
use llm_router_routing::config::{Classifier, Examples};
use llm_router_routing::context::RequestContext;
use llm_router_routing::exchange::Query;
use llm_router_routing::explain::{ExplainedRequest, Explainer, Explanation};
use llm_router_routing::headers::Headers;
use llm_router_routing::request::{Request, Target};
use tokio::time::timeout_at;

use super::request::{self, PromptText};
use super::{PolicyRouter, Service};

/// The policy by which a request is explained.
pub(crate) enum ExplainingPolicy<'p> {
    /// The sidecar's own.
    Own(&'p PolicyRouter),
    /// One that came with the request.
    Given(&'p Explainer),
}

/// The explanation of a request.
pub(crate) struct Explained {
    /// The decision; none without a policy.
    pub(crate) explanation: Option<Explanation>,
    /// The texts that were classified, in order; none if the request has no text.
    pub(crate) texts: Vec<ClassifiedText>,
    /// Estimated tokens of the prompt; 0 if the body cannot be read.
    pub(crate) prompt_tokens: u64,
}

/// A text, and its predictions.
pub(crate) struct ClassifiedText {
    /// The user's message.
    pub(crate) text: String,
    /// The earlier messages that were read with it, oldest first.
    pub(crate) context: Vec<String>,
    /// Whether the decision depends on it.
    pub(crate) decides: bool,
    /// The predictions of all heads.
    pub(crate) prediction: Result<Prediction, EngineError>,
    /// The duration of the classification.
    pub(crate) took: Duration,
}

impl ExplainingPolicy<'_> {
    fn explainer(&self) -> &Explainer {
        match self {
            Self::Own(router) => router.explainer(),
            Self::Given(explainer) => explainer,
        }
    }
}

impl Service {
    /// Explains a request with these headers, at this path, with this body. The classifier has until `deadline`, regardless of the
    /// policy's timeout, because people wait longer for an explanation.
    pub(crate) async fn explain(
        &self,
        policy: Option<ExplainingPolicy<'_>>,
        headers: Headers,
        body: &[u8],
        deadline: Instant,
    ) -> Explained {
        let endpoint = headers.text(":path").and_then(Target::from_path).map(|target| target.endpoint);
        let parsed = endpoint.and_then(|endpoint| Request::parse(endpoint, body).ok());
        let prompt_tokens = parsed.as_ref().map_or(0, |request| request.prompt_tokens);
        let mut texts = Vec::new();
        let explanation = match &policy {
            Some(policy) => {
                let mut request = policy.explainer().start(headers, RequestContext::default(), body);
                while request.query().is_some() {
                    texts.extend(self.answer(policy, &mut request, deadline).await);
                }
                Some(request.finish())
            }
            None => None,
        };
        let settings = policy.as_ref().map(|policy| &policy.explainer().config().prompt);
        let unasked = parsed.filter(|_| texts.is_empty());
        let as_written = request::as_written();
        let prompt = unasked.map(|request| request.prompt(settings.unwrap_or(&as_written)));
        if let Some(prompt) = prompt.filter(|prompt| !prompt.is_empty()) {
            texts.push(self.classified_text((&prompt).into(), None, false, deadline).await);
        }
        Explained { explanation, texts, prompt_tokens }
    }

    /// Calls the classifiers that the decision needs.
    async fn answer(
        &self,
        policy: &ExplainingPolicy<'_>,
        request: &mut ExplainedRequest<'_>,
        deadline: Instant,
    ) -> Option<ClassifiedText> {
        let query = request.query()?;
        let prompt = PromptText::from(query.prompt);
        let similarity = match Query::examples(&query) {
            Some(examples) => self.examples_of(policy, examples, deadline).await,
            None => None,
        };
        let text = self.classified_text(prompt, similarity, true, deadline).await;
        let outputs = text.prediction.as_ref().map_or(&[][..], |prediction| &prediction.scores);
        let of = |classifier: &Classifier| {
            let output = outputs.iter().find(|output| *output.head == *classifier.as_str())?;
            Some((classifier.as_str().to_owned(), output.for_policies()?))
        };
        let predictions: Vec<_> = query.classifiers.iter().filter_map(of).collect();
        let missing = query.missing(&predictions);
        if let Err(error) = &text.prediction {
            request.note("classifier", format!("no prediction: {error}"));
        } else if !missing.is_empty() {
            let names = missing.join(", ");
            request.note(
                "classifier",
                format!("the sidecar has no prediction by {names}, which counts as unavailable"),
            );
        }
        request.predicted(predictions);
        Some(text)
    }

    /// The classifier for a policy's few-shot examples; none if they cannot be embedded in time. Examples
    /// from the request are embedded after those of active policies.
    async fn examples_of(
        &self,
        policy: &ExplainingPolicy<'_>,
        examples: &Arc<Examples>,
        deadline: Instant,
    ) -> Option<Arc<Similarity>> {
        let pending = match policy {
            ExplainingPolicy::Own(_) => self.pipeline.embed_policy_examples(examples),
            ExplainingPolicy::Given(_) => self.pipeline.embed_examples(examples).ok()?,
        };
        timeout_at(deadline.into(), pending.done()).await.ok()?.ok()
    }

    /// The predictions of all heads for a text, and of the few-shot classifier if there is one.
    async fn classified_text(
        &self,
        prompt: PromptText,
        similarity: Option<Arc<Similarity>>,
        decides: bool,
        deadline: Instant,
    ) -> ClassifiedText {
        let start = Instant::now();
        let asked = self.score_and_compare(prompt.as_prompt(), true, similarity, Some(deadline)).await;
        let prediction = asked.map(|(mut prediction, similar): (Prediction, Option<HeadOutput>)| {
            prediction.scores.extend(similar);
            prediction
        });
        let (text, context) = prompt.into_parts();
        ClassifiedText { text, context, decides, prediction, took: start.elapsed() }
    }
}
