//! The decisions of the policy in use for prompts, made by the code that serves it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures_util::{StreamExt, TryStreamExt, stream};
use llm_router_routing::cache::CachingRouter;
use llm_router_routing::classification;
use llm_router_routing::config::{AUTO, Classifier, Config, Mode, Policy};
use llm_router_routing::context::RequestContext;
use llm_router_routing::exchange::{CallResult, Event, EventSink, Exchange, OnBody, OnHeaders, Query};
use llm_router_routing::headers::Headers;
use serde_json::json;

use super::rows::GradedPrompt;
use llm_router_classifier::model::prediction::Outputs;
use llm_router_classifier::model::tokenizer::Prompt;
use llm_router_classifier::pipeline::Pipeline;

/// The policy in use.
#[derive(Debug)]
pub struct CurrentPolicy {
    router: Arc<CachingRouter>,
    /// The model name by which clients select the policy.
    model: String,
}

impl CurrentPolicy {
    /// The policy of this name. Without a name, prompts are decided as for the model `auto`: by the rules,
    /// then by the default policy.
    #[must_use]
    pub fn new(mut config: Config, name: Option<&str>) -> Self {
        // A policy in shadow mode is evaluated as if it were enforced.
        config.mode = Mode::Enforce;
        let model = name.unwrap_or(AUTO).to_owned();
        Self { router: Arc::new(CachingRouter::without_caches(config)), model }
    }

    /// The name of the model that each prompt goes to; none where the request is rejected. At most `ahead`
    /// prompts are decided concurrently.
    ///
    /// # Errors
    /// If the model's folder lacks a classifier of the policy, or a forward pass fails.
    pub async fn decide_all(
        &self,
        pipeline: &Pipeline,
        prompts: &[GradedPrompt],
        ahead: usize,
    ) -> Result<Vec<Option<String>>> {
        let decided = stream::iter(prompts).map(|prompt| self.decide(pipeline, prompt));
        decided.buffered(ahead).try_collect().await
    }

    async fn decide(&self, pipeline: &Pipeline, prompt: &GradedPrompt) -> Result<Option<String>> {
        let (mut exchange, mut chosen) = (Exchange::new(Arc::clone(&self.router)), Chosen::default());
        let headers = [(":method", "POST"), (":path", "/v1/chat/completions")];
        let headers: Headers = headers.into_iter().collect();
        let (_, then) = exchange.request_headers(headers, RequestContext::default(), true, &mut chosen);
        if then != OnHeaders::Hold {
            return Ok(None);
        }
        let body = self.body(prompt);
        let mut action = exchange.request_body(&body, Duration::ZERO, &mut chosen);
        while let OnBody::Classify = action {
            let query = exchange.query().context("the policy asks for no classifier")?;
            let predictions = predict(pipeline, &query).await?;
            action = exchange.classified(
                CallResult::Classified(predictions),
                || &body,
                Duration::ZERO,
                &mut chosen,
            );
        }
        Ok(chosen.0)
    }

    /// The prompt as a client sends it.
    fn body(&self, prompt: &GradedPrompt) -> Vec<u8> {
        let texts = prompt.context.iter().chain([&prompt.text]);
        let messages: Vec<_> = texts.map(|text| json!({"role": "user", "content": text})).collect();
        json!({"model": self.model, "messages": messages}).to_string().into_bytes()
    }
}

/// The policy of a configuration that has this name, or the default one.
///
/// # Errors
/// If the policy does not exist. The error names all policies.
pub fn find<'a>(config: &'a Config, name: Option<&str>) -> Result<&'a Policy> {
    let Some(name) = name else { return Ok(&config.default_policy) };
    let names = || config.policies().map(|policy| policy.name.as_str()).collect::<Vec<_>>();
    let found = config.policy(name);
    Ok(found.with_context(|| {
        format!("--policy-name {name}: the file has no such policy; it has {:?}", names())
    })?)
}

/// Keeps the name of the chosen model.
#[derive(Default)]
struct Chosen(Option<String>);

impl EventSink for Chosen {
    fn record(&mut self, event: Event<'_>) {
        if let Event::Routed(decision) = event {
            self.0 = Some(decision.model.name.to_string());
        }
    }
}

/// What the classifiers of a policy predict.
async fn predict(
    pipeline: &Pipeline,
    query: &Query<'_>,
) -> Result<Vec<(String, classification::Prediction)>> {
    let context: Vec<String> = query.prompt.context().collect();
    let text = query.prompt.text();
    let outputs = match query.examples() {
        Some(_) => Outputs::ScoresAndEmbedding,
        None => Outputs::Scores,
    };
    let prompt = Prompt { text: &text, context: &context };
    let mut prediction = pipeline.classify(prompt, outputs, None, None).await?;
    if let Some(examples) = query.examples() {
        let similarity = pipeline.embed_policy_examples(examples).done().await?;
        let embedding = prediction.embedding.as_deref().context("the model does not output embeddings")?;
        prediction.scores.push(similarity.compare(embedding));
    }
    let mut predictions = Vec::new();
    for name in query.classifiers.iter().map(Classifier::as_str) {
        let scores = prediction.scores.iter().find(|scores| *scores.head == *name);
        let found = scores.and_then(|scores| scores.for_policies());
        let known: Vec<_> = prediction.scores.iter().map(|scores| &*scores.head).collect();
        ensure!(
            found.is_some(),
            "the policy asks the classifier {name:?}, which the model lacks; it has {known:?}. Use the --model that \
             serves this policy"
        );
        predictions.extend(found.map(|found| (name.to_owned(), found)));
    }
    Ok(predictions)
}
