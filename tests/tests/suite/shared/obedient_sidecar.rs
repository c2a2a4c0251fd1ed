//! The sidecar with classifiers that say what the prompt tells them to, so that a test can be about any answer. All of
//! it is real but the model.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use anyhow::Result;
use llm_router_classifier::engine::{Backend, Batching, EngineOptions};
use llm_router_classifier::model::prediction::{HeadOutput, Outputs, Prediction};
use llm_router_classifier::model::tokenizer::{Tokenizer, Tokens};
use llm_router_classifier::pipeline::Pipeline;
use llm_router_routing::config::Config;
use llm_router_sidecar::ext_proc::server::{self, Settings};
use llm_router_sidecar::ext_proc::{PolicyRouter, ReloadableService, Service};
use llm_router_sidecar::serve::listener;
use llm_router_sidecar::telemetry::metrics::Metrics;
use llm_router_tests::{envoy, repository};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

/// What comes before the answer in a prompt. It stands first, where a model that cuts a long text still reads it.
const ANSWER: &str = "The answer: ";

/// All classifiers say the same.
const CLASSIFIERS: [&str; 3] = ["complexity", "mood", "task"];

/// The labels that they know.
const LABELS: [&str; 4] = ["Chatbot", "Closed QA", "Code Generation", "Poetry"];

/// Bytes for the bodies of all requests in progress.
const BODY_MEMORY: usize = 100 << 20;

/// The repository's model, whose tokens the classifiers are given.
const TOKENIZER: &str = "models/minilm/tokenizer.json";

/// A prompt about `topic`, classified as `label`.
pub(crate) fn labelled(topic: &str, label: &str) -> String {
    assert!(LABELS.contains(&label), "{label} is not in LABELS");
    format!("{ANSWER}{}\n{topic}", json!({ "label": label, "confidence": 0.875 }))
}

/// A prompt about `topic`, of this score.
pub(crate) fn scored(topic: &str, score: f32) -> String {
    dimensioned(topic, score, json!({}))
}

/// A prompt about `topic`, of this score and with these scores of its dimensions.
pub(crate) fn dimensioned(topic: &str, score: f32, dimensions: Value) -> String {
    format!("{ANSWER}{}\n{topic}", json!({ "score": score, "scores": dimensions }))
}

/// A running one.
#[derive(Clone)]
pub(crate) struct ObedientSidecar {
    pub(crate) address: SocketAddr,
    texts: Texts,
    metrics: Arc<Metrics>,
}

/// What the classifiers were given, as they read it.
type Texts = Arc<Mutex<Vec<String>>>;

impl ObedientSidecar {
    /// With a policy, it decides for Envoy's own filter.
    pub(crate) fn start(policy: Option<&Value>) -> Self {
        static TOKENS: LazyLock<Arc<Tokenizer>> =
            LazyLock::new(|| Arc::new(Tokenizer::load(&repository().join(TOKENIZER)).expect("a tokenizer")));
        let (texts, metrics) = (Texts::default(), Arc::new(Metrics::new()));
        let classifiers = Classifiers { texts: texts.clone() };
        let options = EngineOptions { queue: 256, batching: Batching::Alone, tokenizers: NonZeroUsize::MIN };
        let router = policy.map(|policy| {
            let config = Config::from_json(policy.to_string().as_bytes()).expect("a valid policy");
            Arc::new(PolicyRouter::new(config))
        });
        let heads = CLASSIFIERS.map(str::to_owned).into();
        let (tokenizer, measured) = (Arc::clone(&TOKENS), metrics.classifier.clone());
        let pipeline = Pipeline::start(tokenizer, vec![classifiers], heads, options, measured);
        let pipeline = pipeline.expect("the engine's threads");
        let service = Service { pipeline, metrics: metrics.clone(), router };
        let live = ReloadableService::new(service, BODY_MEMORY);
        let settings = Settings { tls: None, drain: Duration::ZERO };
        let stop = CancellationToken::new();
        let serve = |listener| server::serve(listener::tcp(listener), live, settings, stop);
        Self { address: llm_router_tests::serve(serve), texts, metrics }
    }

    /// How often a classifier was asked about a text with `topic` in it.
    pub(crate) fn asked_about(&self, topic: &str) -> usize {
        let topic = squeezed(topic);
        self.texts.lock().expect("no panic").iter().filter(|text| text.contains(&topic)).count()
    }

    /// Its metrics, by name and labels.
    pub(crate) fn stats(&self) -> HashMap<String, f64> {
        envoy::samples(&self.metrics.encode())
    }
}

struct Classifiers {
    texts: Texts,
}

impl Backend for Classifiers {
    fn classify(&self, texts: &[&Tokens], _: Outputs) -> Result<Vec<Prediction>> {
        let texts = texts.iter().map(|text| read(text));
        let answers = texts.map(|text| {
            let scores = scores(&text).unwrap_or_default();
            self.texts.lock().expect("no panic").push(text);
            Prediction { scores, ..Prediction::default() }
        });
        Ok(answers.collect())
    }
}

/// What the text tells the classifiers to say; nothing if it tells nothing, as if there were none.
fn scores(text: &str) -> Option<Vec<HeadOutput>> {
    let (_, answer) = text.split_once(&squeezed(ANSWER))?;
    let answer: Value = serde_json::Deserializer::from_str(answer).into_iter().next()?.ok()?;
    let (labels, confidences, score): (Arc<[String]>, Vec<_>, _) = match answer["score"].as_f64() {
        Some(score) => {
            let dimensions = answer["scores"].as_object()?;
            let scores = dimensions.values().filter_map(Value::as_f64).map(|score| score as f32);
            (dimensions.keys().cloned().collect(), scores.collect(), Some(score as f32))
        }
        None => {
            let label = LABELS.iter().find(|label| squeezed(label) == answer["label"])?;
            ([(*label).to_owned()].into(), vec![answer["confidence"].as_f64()? as f32], None)
        }
    };
    let scores = |head: &str| HeadOutput {
        head: head.into(),
        labels: labels.clone(),
        confidences: confidences.clone(),
        score,
    };
    Some(CLASSIFIERS.map(scores).to_vec())
}

/// The text of these tokens: without capitals and spaces, which the model does not see.
fn read(tokens: &Tokens) -> String {
    static VOCABULARY: LazyLock<HashMap<i64, String>> = LazyLock::new(|| {
        let file = std::fs::read(repository().join(TOKENIZER)).expect("the tokenizer");
        let file: Value = serde_json::from_slice(&file).expect("JSON");
        let entries = file["model"]["vocab"].as_object().expect("a vocabulary").iter();
        // Pieces that go on with a word begin with this.
        let piece = |token: &str| token.strip_prefix("##").unwrap_or(token).to_owned();
        entries.map(|(token, id)| (id.as_i64().expect("an id"), piece(token))).collect()
    });
    tokens.ids().iter().map(|id| VOCABULARY[id].as_str()).collect()
}

fn squeezed(text: &str) -> String {
    text.split_whitespace().collect::<String>().to_lowercase()
}
