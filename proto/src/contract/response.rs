//! The response of the sidecar.

use llm_router_routing::classification::{self as routing, Classification, Label, NotAClassification, Score};
use prost::Message;

use super::{CONTRACT_VERSION, IncompatibleVersion, NAMESPACE, VERSION, Version};
use crate::envoy::service::ext_proc::v3::ProcessingResponse;
use crate::structs::{as_bool, as_number, as_struct, fields, into_string, into_struct, structure};
use crate::{Struct, Value};

/// The field of the [`Coverage`].
const READ: &str = "read";
/// The field of the decision in native mode.
const DECISION: &str = "decision";

/// The predictions of the sidecar's classifiers for one prompt.
#[derive(Clone, Debug, PartialEq)]
pub struct ClassifyResponse {
    /// The contract's version that the sidecar speaks, by [`Version::to_respond`].
    pub version: Version,
    /// The predictions, each with its classifier's name. Decoded ones are in the order of the names.
    pub predictions: Vec<(String, HeadPrediction)>,
    /// How much of the prompt was read.
    pub coverage: Option<Coverage>,
}

/// The prediction of one classifier.
#[derive(Clone, Debug, PartialEq)]
pub enum HeadPrediction {
    /// One label of several.
    Label {
        /// The most likely label.
        label: String,
        /// Its probability.
        confidence: f32,
        /// Every label with its probability. Decoded ones are in the order of the labels.
        scores: Vec<(String, f32)>,
    },
    /// A number, such as a complexity.
    Score {
        /// The number, 0 to 1.
        score: f32,
        /// The numbers of its dimensions. Decoded ones are in the order of their names.
        dimensions: Vec<(String, f32)>,
    },
}

/// How much of a prompt was read, in tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// The tokens that were read.
    pub tokens: u64,
    /// The tokens that the prompt has.
    pub of: u64,
    /// Whether `of` is an estimate.
    pub estimated: bool,
}

/// Why a message is not a [`ClassifyResponse`].
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ResponseError {
    /// The bytes are not a `ProcessingResponse`.
    #[error("the response is malformed")]
    Malformed,
    /// The message has no metadata of the contract, as for a prompt without text.
    #[error("the response has no predictions")]
    NoMetadata,
    /// The version is malformed.
    #[error("the response's metadata {NAMESPACE}.{VERSION} is not MAJOR.MINOR")]
    InvalidVersion,
    /// The sidecar speaks another major version.
    #[error(transparent)]
    Version(#[from] IncompatibleVersion),
}

impl ClassifyResponse {
    /// The response as a message's `dynamic_metadata`.
    pub fn into_metadata(self) -> Struct {
        let version = self.version.to_field().map(|value| (VERSION.to_owned(), value));
        let coverage = self.coverage.map(|coverage| (READ.to_owned(), write_coverage(coverage)));
        namespace(write_predictions(self.predictions).chain(version).chain(coverage))
    }

    /// The prediction by this classifier.
    pub fn prediction(&self, classifier: &str) -> Option<&HeadPrediction> {
        let mut predictions = self.predictions.iter();
        predictions.find(|(name, _)| name == classifier).map(|(_, prediction)| prediction)
    }

    /// Reads a message's bytes.
    ///
    /// # Errors
    /// They are not a message, or one without the contract's metadata.
    pub fn decode(message: &[u8]) -> Result<Self, ResponseError> {
        let message = ProcessingResponse::decode(message).map_err(|_| ResponseError::Malformed)?;
        Self::from_metadata(message.dynamic_metadata.ok_or(ResponseError::NoMetadata)?)
    }

    /// Reads a message's `dynamic_metadata`. Fields that are not predictions are ignored: newer versions may have more.
    ///
    /// # Errors
    /// It does not follow the contract.
    pub fn from_metadata(metadata: Struct) -> Result<Self, ResponseError> {
        let mut namespaces = metadata.fields.into_iter();
        let ours = namespaces.find(|(name, _)| name == NAMESPACE).and_then(|(_, ours)| into_struct(ours));
        let ours = ours.ok_or(ResponseError::NoMetadata)?.fields;
        let version = Version::from_field(ours.get(VERSION)).ok_or(ResponseError::InvalidVersion)?;
        IncompatibleVersion::check(CONTRACT_VERSION, version)?;
        let mut response = Self { version, predictions: Vec::new(), coverage: None };
        for (name, value) in ours {
            if name == READ {
                response.coverage = read_coverage(&value);
            } else if let Some(prediction) = read_prediction(value) {
                response.predictions.push((name, prediction));
            }
        }
        Ok(response)
    }
}

impl HeadPrediction {
    /// The prediction as a policy uses it.
    ///
    /// # Errors
    /// A number is not within 0 to 1, or the label cannot be a header.
    pub fn classification(&self) -> Result<Classification, NotAClassification> {
        match self {
            Self::Label { label, confidence, .. } => {
                Label::new(label.as_str(), *confidence).map(Classification::Label)
            }
            Self::Score { score, dimensions } => {
                let dimensions = dimensions.iter().map(|(name, score)| (name.as_str(), *score));
                Score::new(*score, dimensions).map(Classification::Score)
            }
        }
    }
}

impl HeadPrediction {
    /// The prediction as a policy and its rules use it, with the number of every label.
    ///
    /// # Errors
    /// As [`HeadPrediction::classification`].
    pub fn prediction(&self) -> Result<routing::Prediction, NotAClassification> {
        let (Self::Label { scores: numbers, .. } | Self::Score { dimensions: numbers, .. }) = self;
        Ok(routing::Prediction::new(self.classification()?, numbers.iter().cloned()))
    }
}

/// The `dynamic_metadata` of a decision in native mode, for access logs: the decision's fields, and
/// the predictions that it is based on.
pub fn decision_metadata<K: Into<String>>(
    decision: impl IntoIterator<Item = (K, String)>,
    predictions: Vec<(String, HeadPrediction)>,
) -> Struct {
    let decision = structure(decision.into_iter().map(|(name, text)| (name, text.into())));
    namespace(write_predictions(predictions).chain([(DECISION.to_owned(), decision)]))
}

fn namespace(ours: impl IntoIterator<Item = (String, Value)>) -> Struct {
    fields([(NAMESPACE, structure(ours))])
}

fn write_predictions(predictions: Vec<(String, HeadPrediction)>) -> impl Iterator<Item = (String, Value)> {
    predictions.into_iter().map(|(name, prediction)| (name, write_prediction(prediction)))
}

fn write_prediction(prediction: HeadPrediction) -> Value {
    match prediction {
        HeadPrediction::Label { label, confidence, scores } => structure([
            ("label", label.into()),
            ("confidence", f64::from(confidence).into()),
            ("scores", write_scores(scores)),
        ]),
        HeadPrediction::Score { score, dimensions } => {
            structure([("score", f64::from(score).into()), ("scores", write_scores(dimensions))])
        }
    }
}

fn write_scores(scores: Vec<(String, f32)>) -> Value {
    structure(scores.into_iter().map(|(name, score)| (name, f64::from(score).into())))
}

fn write_coverage(Coverage { tokens, of, estimated }: Coverage) -> Value {
    structure([
        ("tokens", (tokens as f64).into()),
        ("of", (of as f64).into()),
        ("estimated", estimated.into()),
    ])
}

fn read_prediction(value: Value) -> Option<HeadPrediction> {
    let (mut label, mut confidence, mut score, mut scores) = (None, None, None, Vec::new());
    // Loops, because removal from the map would add 6 KB to the Wasm file.
    for (name, value) in into_struct(value)?.fields {
        match name.as_str() {
            "label" => label = into_string(value),
            "confidence" => confidence = as_number(&value),
            // A score that is not a number makes the prediction invalid, even with a label.
            "score" => score = Some(as_number(&value)?),
            "scores" => scores = read_scores(value),
            _ => {}
        }
    }
    match score {
        Some(score) => Some(HeadPrediction::Score { score: score as f32, dimensions: scores }),
        None => Some(HeadPrediction::Label { label: label?, confidence: confidence? as f32, scores }),
    }
}

fn read_scores(value: Value) -> Vec<(String, f32)> {
    let mut scores = Vec::new();
    for (name, score) in into_struct(value).unwrap_or_default().fields {
        if let Some(score) = as_number(&score) {
            scores.push((name, score as f32));
        }
    }
    scores
}

fn read_coverage(value: &Value) -> Option<Coverage> {
    let fields = &as_struct(value)?.fields;
    let count = |name| as_number(fields.get(name)?).filter(|count| *count >= 0.0).map(|count| count as u64);
    let estimated = fields.get("estimated").and_then(as_bool).unwrap_or_default();
    Some(Coverage { tokens: count("tokens")?, of: count("of")?, estimated })
}
