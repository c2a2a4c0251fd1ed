//! The sidecar's responses.

use std::fmt;

use llm_router_proto::contract::{ClassifyResponse, ResponseError, UNKNOWN_DIGEST};
use llm_router_routing::classification::{NotAClassification, Prediction};
use llm_router_routing::config::Classifier;
use llm_router_routing::exchange::{CallResult, Query};

/// The longest gRPC status message that is logged, in characters.
const MAX_MESSAGE: usize = 300;

/// Why there is no prediction.
#[derive(Clone, Debug, PartialEq)]
pub enum Failure {
    /// The call ended with this gRPC status, which is not OK.
    Status {
        /// The status.
        code: u32,
        /// The message that came with it; may be empty.
        message: String,
    },
    /// The response does not follow the contract, or has another major version of it.
    Response(ResponseError),
    /// The response has no prediction by this classifier.
    NoPrediction(Classifier),
    /// The response's prediction by this classifier is invalid.
    InvalidPrediction(Classifier, NotAClassification),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status { code, message } if message.is_empty() => {
                write!(f, "the sidecar's gRPC status is {code}")
            }
            Self::Status { code, message } => {
                write!(f, "the sidecar's gRPC status is {code}: {}", line(message))
            }
            Self::Response(error) => write!(f, "the sidecar's response cannot be used: {error}"),
            Self::NoPrediction(classifier) => {
                write!(f, "the sidecar's response has no prediction by {classifier}")
            }
            Self::InvalidPrediction(classifier, error) => {
                write!(f, "the sidecar's prediction by {classifier} is invalid: {error}")
            }
        }
    }
}

/// The text as one short line for the log: the peer wrote it.
fn line(text: &str) -> String {
    text.chars().take(MAX_MESSAGE).map(|it| if it.is_control() { ' ' } else { it }).collect()
}

/// The gRPC status of a call that succeeded.
pub const OK: u32 = 0;

/// The result of a call whose status is not [`OK`].
///
/// # Errors
/// The failure to log, unless the sidecar only lacks the policy's few-shot examples.
pub fn status(code: u32, query: &Query<'_>, message: impl FnOnce() -> String) -> Result<CallResult, Failure> {
    match code {
        UNKNOWN_DIGEST if query.examples().is_some() => Ok(CallResult::UnknownExamples),
        _ => Err(Failure::Status { code, message: message() }),
    }
}

/// The predictions of a call that succeeded. If only some are usable, `on_missing` gets the failures of the
/// others.
///
/// # Errors
/// There is no usable prediction.
pub fn read(
    message: &[u8],
    query: &Query<'_>,
    on_missing: impl FnMut(Failure),
) -> Result<CallResult, Failure> {
    predictions(message, query.classifiers, on_missing).map(CallResult::Classified)
}

/// The usable predictions. If there are none, the error is one of the failures.
fn predictions(
    message: &[u8],
    classifiers: &[Classifier],
    mut on_missing: impl FnMut(Failure),
) -> Result<Vec<(String, Prediction)>, Failure> {
    let response = ClassifyResponse::decode(message).map_err(Failure::Response)?;
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for classifier in classifiers {
        match prediction(&response, classifier) {
            Ok(prediction) => found.push((classifier.as_str().to_owned(), prediction)),
            Err(failure) => failures.push(failure),
        }
    }
    if found.is_empty()
        && let Some(failure) = failures.pop()
    {
        return Err(failure);
    }
    failures.into_iter().for_each(&mut on_missing);
    Ok(found)
}

fn prediction(response: &ClassifyResponse, classifier: &Classifier) -> Result<Prediction, Failure> {
    let prediction = response.prediction(classifier.as_str());
    let prediction = prediction.ok_or_else(|| Failure::NoPrediction(classifier.clone()))?;
    prediction.prediction().map_err(|error| Failure::InvalidPrediction(classifier.clone(), error))
}

#[cfg(test)]
mod tests {
    use llm_router_proto::contract::{CONTRACT_VERSION, HeadPrediction, Version};
    use llm_router_proto::envoy::service::ext_proc::v3::ProcessingResponse;
    use llm_router_routing::classification::{Classification, Label, Score};
    use prost::Message;

    use super::*;

    fn classifier() -> Classifier {
        Classifier::from("task")
    }

    fn message(version: Version, prediction: HeadPrediction) -> Vec<u8> {
        let predictions = vec![("task".to_owned(), prediction)];
        let metadata = ClassifyResponse { version, predictions, coverage: None }.into_metadata();
        ProcessingResponse { dynamic_metadata: Some(metadata), ..ProcessingResponse::default() }
            .encode_to_vec()
    }

    fn label(confidence: f32) -> HeadPrediction {
        HeadPrediction::Label { label: "Chatbot".to_owned(), confidence, scores: Vec::new() }
    }

    fn read_one(message: &[u8], classifier: Classifier) -> Result<Classification, Failure> {
        let found = predictions(message, &[classifier], |failure| panic!("{failure}"))?;
        Ok(found[0].1.classification().clone())
    }

    fn failure(message: &[u8]) -> String {
        read_one(message, classifier()).unwrap_err().to_string()
    }

    #[test]
    fn missing_predictions_do_not_invalidate_the_others() {
        let message = message(CONTRACT_VERSION, label(0.75));
        let mut missing = Vec::new();
        let asked = [classifier(), Classifier::from("mood")];
        let found = predictions(&message, &asked, |failure| missing.push(failure)).unwrap();
        assert_eq!(found.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["task"]);
        assert_eq!(missing, [Failure::NoPrediction(Classifier::from("mood"))]);
    }

    #[test]
    fn a_label_is_read() {
        let expected = Classification::Label(Label::new("Chatbot", 0.75).unwrap());
        assert_eq!(read_one(&message(CONTRACT_VERSION, label(0.75)), classifier()), Ok(expected));
    }

    #[test]
    fn a_score_is_read_with_its_dimensions() {
        let dimensions = [("creativity", 0.25), ("reasoning", 0.5)];
        let owned = dimensions.map(|(name, score)| (name.to_owned(), score)).to_vec();
        let message = message(CONTRACT_VERSION, HeadPrediction::Score { score: 0.375, dimensions: owned });
        let expected = Classification::Score(Score::new(0.375, dimensions).unwrap());
        assert_eq!(read_one(&message, classifier()), Ok(expected));
    }

    #[test]
    fn a_response_without_a_usable_prediction_says_why() {
        assert!(failure(b"\xff\xff\xff").contains("malformed"));
        assert!(failure(b"").contains("has no predictions"));
        assert!(failure(&message(CONTRACT_VERSION, label(7.0))).contains("the confidence 7 is not"));
        let message = message(CONTRACT_VERSION, label(0.75));
        let other = Classifier::from("mood");
        assert_eq!(read_one(&message, other.clone()), Err(Failure::NoPrediction(other)));
    }

    #[test]
    fn a_sidecar_of_another_major_version_is_named_with_what_to_upgrade() {
        let version = Version { major: CONTRACT_VERSION.major + 1, minor: 0 };
        let failure = failure(&message(version, label(0.75)));
        assert!(
            failure.contains(&version.to_string()) && failure.ends_with("upgrade the filter"),
            "{failure}"
        );
    }

    #[test]
    fn a_status_is_logged_with_its_message_in_one_short_line() {
        let log = |message: &str| Failure::Status { code: 3, message: message.to_owned() }.to_string();
        assert_eq!(log(""), "the sidecar's gRPC status is 3");
        assert_eq!(log("no\nsuch classifier"), "the sidecar's gRPC status is 3: no such classifier");
        assert!(log(&"x".repeat(10_000)).len() < 400);
    }
}
