//! What the sidecar responds.

use std::collections::BTreeMap;

use llm_router_routing::classification::{Classification, Label, NotAClassification, Score};
use prost::{DecodeError, Message};

use super::{CONTRACT_VERSION, IncompatibleVersion, NAMESPACE, VERSION, Version};
use crate::envoy::service::ext_proc::v3::ProcessingResponse;
use crate::structs::{as_bool, as_number, fields, into_string, into_struct, structure};
use crate::{Struct, Value};

/// The field of the [`Coverage`].
const READ: &str = "read";
/// The field of the decision that native Envoy carries out.
const DECISION: &str = "decision";

/// What the sidecar's classifiers predict for one prompt.
#[derive(Clone, Debug, PartialEq)]
pub struct ClassifyResponse {
    /// The contract's version that the sidecar speaks, by [`Version::to_respond`].
    pub version: Version,
    /// The predictions, by the classifier's name.
    pub predictions: BTreeMap<String, HeadPrediction>,
    /// How much of the prompt was read.
    pub coverage: Option<Coverage>,
}

/// What one classifier predicts.
#[derive(Clone, Debug, PartialEq)]
pub enum HeadPrediction {
    /// One label of several.
    Label {
        /// The most likely label.
        label: String,
        /// Its probability.
        confidence: f32,
        /// The probability of every label.
        scores: BTreeMap<String, f32>,
    },
    /// A number, such as a complexity.
    Score {
        /// The number, 0 to 1.
        score: f32,
        /// The numbers that it is made of.
        dimensions: BTreeMap<String, f32>,
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
    #[error("the response is malformed: {0}")]
    Message(#[from] DecodeError),
    /// The message has no metadata of ours, as for a prompt without text.
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

    /// Reads a message's bytes.
    ///
    /// # Errors
    /// They are not a message, or one without the contract's metadata.
    pub fn decode(message: &[u8]) -> Result<Self, ResponseError> {
        let metadata = ProcessingResponse::decode(message)?.dynamic_metadata;
        Self::from_metadata(metadata.ok_or(ResponseError::NoMetadata)?)
    }

    /// Reads a message's `dynamic_metadata`. Fields that are not predictions are ignored: newer versions may have more.
    ///
    /// # Errors
    /// It is not the contract's.
    pub fn from_metadata(mut metadata: Struct) -> Result<Self, ResponseError> {
        let ours = metadata.fields.remove(NAMESPACE).and_then(into_struct);
        let mut ours = ours.ok_or(ResponseError::NoMetadata)?.fields;
        let version = ours.remove(VERSION);
        let version = Version::from_field(version.as_ref()).ok_or(ResponseError::InvalidVersion)?;
        IncompatibleVersion::check(CONTRACT_VERSION, version)?;
        let coverage = ours.remove(READ).and_then(read_coverage);
        let predictions = ours.into_iter();
        let predictions = predictions.filter_map(|(name, value)| Some((name, read_prediction(value)?)));
        Ok(Self { version, predictions: predictions.collect(), coverage })
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

/// The `dynamic_metadata` of a decision that native Envoy carries out, for its access logs: the decision's fields, and
/// the predictions that it was made by.
pub fn decision_metadata<K: Into<String>>(
    decision: impl IntoIterator<Item = (K, String)>,
    predictions: BTreeMap<String, HeadPrediction>,
) -> Struct {
    let decision = structure(decision.into_iter().map(|(name, text)| (name, text.into())));
    namespace(write_predictions(predictions).chain([(DECISION.to_owned(), decision)]))
}

fn namespace(ours: impl IntoIterator<Item = (String, Value)>) -> Struct {
    fields([(NAMESPACE, structure(ours))])
}

fn write_predictions(predictions: BTreeMap<String, HeadPrediction>) -> impl Iterator<Item = (String, Value)> {
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

fn write_scores(scores: BTreeMap<String, f32>) -> Value {
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
    let mut fields = into_struct(value)?.fields;
    let scores = fields.remove("scores").and_then(into_struct).unwrap_or_default().fields.into_iter();
    let scores = scores.filter_map(|(name, score)| Some((name, as_number(&score)? as f32))).collect();
    match fields.get("score") {
        Some(score) => Some(HeadPrediction::Score { score: as_number(score)? as f32, dimensions: scores }),
        None => {
            let label = into_string(fields.remove("label")?)?;
            let confidence = as_number(fields.get("confidence")?)? as f32;
            Some(HeadPrediction::Label { label, confidence, scores })
        }
    }
}

fn read_coverage(value: Value) -> Option<Coverage> {
    let fields = into_struct(value)?.fields;
    let count = |name| as_number(fields.get(name)?).filter(|count| *count >= 0.0).map(|count| count as u64);
    let estimated = fields.get("estimated").and_then(as_bool).unwrap_or_default();
    Some(Coverage { tokens: count("tokens")?, of: count("of")?, estimated })
}
