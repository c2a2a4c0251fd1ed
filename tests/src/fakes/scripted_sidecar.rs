//! The sidecar with scripted classifiers: they predict what the prompt says, so that a test can use any
//! prediction. Everything but the model is real.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use anyhow::Result;
use llm_router_classifier::engine::{Backend, Batching, EngineOptions};
use llm_router_classifier::model::prediction::{HeadOutput, Outputs, Prediction};
use llm_router_classifier::model::tokenizer::{Tokenizer, Tokens};
use llm_router_classifier::pipeline::Pipeline;
use llm_router_routing::config::Config;
use llm_router_sidecar::ext_proc::server::{self, Settings};
use llm_router_sidecar::ext_proc::{AssumedBodyMode, PolicyRouter, ReloadableService, Service};
use llm_router_sidecar::serve::listener;
use llm_router_sidecar::telemetry::metrics::Metrics;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::{TIMEOUT, envoy, repository};

/// What comes before the prediction in a prompt. It comes first, where a model that truncates a long text still reads it.
const PREDICTION: &str = "Predict: ";

/// The classifiers. All of them predict the same.
const CLASSIFIERS: [&str; 3] = ["complexity", "mood", "task"];

/// The labels that they know.
const LABELS: [&str; 4] = ["Chatbot", "Closed QA", "Code Generation", "Poetry"];

/// Bytes for the bodies of all requests in progress.
const BODY_MEMORY: usize = 100 << 20;

/// The repository's model, whose tokens the classifiers are given.
const TOKENIZER: &str = "models/minilm/tokenizer.json";

/// A prompt that is classified as `label`. As the functions below, each call returns another prompt.
#[must_use]
pub fn labelled(label: &str) -> String {
    assert!(LABELS.contains(&label), "{label} is not in LABELS");
    scripted(&json!({ "label": label, "confidence": 0.875 }))
}

/// A prompt for which classifiers predict different things, each by its name: `{"mood": {"score": 0.9}}`. Those that are not
/// named predict nothing.
#[must_use]
pub fn by_classifier(predictions: Value) -> String {
    scripted(&predictions)
}

/// A prompt with this score.
#[must_use]
pub fn scored(score: f32) -> String {
    dimensioned(score, json!({}))
}

/// A prompt with this score, and with these scores of its dimensions.
#[must_use]
pub fn dimensioned(score: f32, dimensions: Value) -> String {
    scripted(&json!({ "score": score, "scores": dimensions }))
}

/// A prompt for which no classifier has a prediction.
#[must_use]
pub fn unpredictable() -> String {
    format!("No prediction. {}", next_id())
}

/// The prompt as the classifiers read it, if they get nothing else.
#[must_use]
pub fn as_read(prompt: &str) -> String {
    squeezed(prompt)
}

fn scripted(prediction: &Value) -> String {
    format!("{PREDICTION}{prediction}\n{} ", next_id())
}

/// A unique text.
fn next_id() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    format!("{ID}{})", NUMBER.fetch_add(1, Ordering::Relaxed))
}

/// How [`next_id`] begins.
const ID: &str = "(prompt ";

/// The id in a prompt.
fn id(prompt: &str) -> Option<&str> {
    let id = &prompt[prompt.find(ID)?..];
    id.split_inclusive(')').next()
}

/// A running scripted sidecar.
#[derive(Clone)]
pub struct ScriptedSidecar {
    /// Where it serves ext_proc.
    pub address: SocketAddr,
    texts: Texts,
    metrics: Arc<Metrics>,
    decides: bool,
}

/// The texts that were classified, as the classifiers read them.
type Texts = Arc<Mutex<Vec<String>>>;

impl ScriptedSidecar {
    /// Starts one. With a policy, it decides for Envoy's own filter.
    ///
    /// # Panics
    /// If the policy is invalid.
    #[must_use]
    pub fn start(policy: Option<&Value>) -> Self {
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
        let service = Service {
            pipeline,
            metrics: metrics.clone(),
            router,
            capture: None,
            assumed_body_mode: AssumedBodyMode::default(),
            body_timeout: TIMEOUT,
        };
        let service = ReloadableService::new(service, BODY_MEMORY);
        let settings = Settings { tls: None, drain: Duration::ZERO };
        let stop = CancellationToken::new();
        let serve = |listener| server::serve(listener::tcp(listener), service, settings, stop);
        Self { address: crate::serve(serve), texts, metrics, decides: policy.is_some() }
    }

    /// How often the prompt was classified.
    ///
    /// # Panics
    /// If the prompt is not one of this module's.
    #[must_use]
    pub fn times_classified(&self, prompt: &str) -> usize {
        self.classified(prompt).len()
    }

    /// The texts with the prompt that were classified, each as [`as_read`] has it.
    ///
    /// # Panics
    /// If the prompt is not one of this module's.
    #[must_use]
    pub fn classified(&self, prompt: &str) -> Vec<String> {
        let id = squeezed(id(prompt).expect("a prompt of this module"));
        self.texts.lock().expect("no panic").iter().filter(|text| text.contains(&id)).cloned().collect()
    }

    /// Whether it decides, and does not only classify.
    #[must_use]
    pub fn decides(&self) -> bool {
        self.decides
    }

    /// Its metrics, by name and labels.
    #[must_use]
    pub fn stats(&self) -> HashMap<String, f64> {
        envoy::samples(&self.metrics.encode())
    }
}

struct Classifiers {
    texts: Texts,
}

impl Backend for Classifiers {
    fn classify(&self, texts: &[&Tokens], _: Outputs) -> Result<Vec<Prediction>> {
        let texts = texts.iter().map(|text| read(text));
        let predictions = texts.map(|text| {
            let scores = scores(&text).unwrap_or_default();
            self.texts.lock().expect("no panic").push(text);
            Prediction { scores, ..Prediction::default() }
        });
        Ok(predictions.collect())
    }
}

/// The predictions in the text. Without any, nothing is predicted, as if there were no classifiers.
fn scores(text: &str) -> Option<Vec<HeadOutput>> {
    let (_, prediction) = text.split_once(&squeezed(PREDICTION))?;
    let prediction: Value = serde_json::Deserializer::from_str(prediction).into_iter().next()?.ok()?;
    let is_of_all = prediction.get("label").or(prediction.get("score")).is_some();
    let scores = CLASSIFIERS
        .iter()
        .filter_map(|head| head_output(head, if is_of_all { &prediction } else { prediction.get(head)? }));
    Some(scores.collect())
}

fn head_output(head: &str, prediction: &Value) -> Option<HeadOutput> {
    let (labels, confidences, score): (Arc<[String]>, Vec<_>, _) = match prediction["score"].as_f64() {
        Some(score) => {
            let dimensions = prediction["scores"].as_object().into_iter().flatten();
            let (names, scores): (Vec<_>, Vec<_>) =
                dimensions.filter_map(|(name, score)| Some((name.clone(), score.as_f64()? as f32))).unzip();
            (names.into(), scores, Some(score as f32))
        }
        None => {
            let label = LABELS.iter().find(|label| squeezed(label) == prediction["label"])?;
            ([(*label).to_owned()].into(), vec![prediction["confidence"].as_f64()? as f32], None)
        }
    };
    Some(HeadOutput { head: head.into(), labels, confidences, score })
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
    let pieces = tokens.ids().iter().map(|id| VOCABULARY[id].as_str());
    pieces.filter(|piece| !["[CLS]", "[SEP]"].contains(piece)).collect()
}

fn squeezed(text: &str) -> String {
    text.split_whitespace().collect::<String>().to_lowercase()
}
