//! The dynamic metadata of our messages: predictions for our filter; predictions and decisions for the access logs and
//! filters of native Envoy. Pure.

use llm_router_proto::Struct;
use llm_router_proto::contract::{ClassifyResponse, Coverage, HeadPrediction, Version, decision_metadata};
use llm_router_routing::decision::Decision;
use llm_router_routing::headers::EXPLANATION_PREFIX;
use llm_router_routing::rejection::Rejection;

use llm_router_classifier::model::prediction::{HeadOutput, Prediction};

/// The predictions of every head, and how much of the text was read.
pub(super) fn of_prediction(prediction: &Prediction, version: Version) -> Struct {
    let read = &prediction.read;
    let coverage = Coverage { tokens: read.tokens as u64, of: read.of as u64, estimated: read.estimated };
    let predictions = by_head(&prediction.scores);
    ClassifyResponse { version, predictions, coverage: Some(coverage) }.into_metadata()
}

/// The decision, under the names of the response headers: `model`, `reason` and, if they are known, `policy`,
/// `label`, `confidence` and `score`. With the scores that it is based on, if any.
pub(super) fn of_decision(decision: &Decision, scores: &[HeadOutput]) -> Struct {
    let headers = decision.response_headers();
    let fields = headers
        .filter_map(|(name, value)| Some((name.strip_prefix(EXPLANATION_PREFIX)?, value.into_owned())));
    decision_metadata(fields, by_head(scores))
}

/// Why a request is rejected, or in shadow mode would be: `rejected`.
pub(super) fn of_rejection(rejection: &Rejection) -> Struct {
    decision_metadata([("rejected", rejection.code().to_owned())], Vec::new())
}

fn by_head(outputs: &[HeadOutput]) -> Vec<(String, HeadPrediction)> {
    outputs.iter().filter_map(|output| Some((output.head.to_string(), head_prediction(output)?))).collect()
}

/// None if the head has no labels.
fn head_prediction(output: &HeadOutput) -> Option<HeadPrediction> {
    let scores = output.iter().map(|(label, confidence)| (label.to_owned(), confidence)).collect();
    match output.score {
        Some(score) => Some(HeadPrediction::Score { score, dimensions: scores }),
        None => {
            let (label, confidence) = output.top()?;
            Some(HeadPrediction::Label { label: label.to_owned(), confidence, scores })
        }
    }
}

#[cfg(test)]
mod tests {
    use llm_router_classifier::model::tokenizer;
    use llm_router_proto::contract::CONTRACT_VERSION;
    use llm_router_proto::structs::{fields, structure};

    use super::*;

    fn scores() -> HeadOutput {
        let labels = ["Chatbot", "Code Generation"].map(str::to_owned);
        HeadOutput { head: "task".into(), labels: labels.into(), confidences: vec![0.25, 0.75], score: None }
    }

    fn response(prediction: &Prediction) -> ClassifyResponse {
        ClassifyResponse::from_metadata(of_prediction(prediction, CONTRACT_VERSION)).unwrap()
    }

    fn all() -> Vec<(String, f32)> {
        vec![("Chatbot".to_owned(), 0.25), ("Code Generation".to_owned(), 0.75)]
    }

    #[test]
    fn every_score_is_included() {
        let read = tokenizer::Coverage { tokens: 256, of: 789, estimated: false };
        let response = response(&Prediction { scores: vec![scores()], read, ..Prediction::default() });
        let label = "Code Generation".to_owned();
        let task = HeadPrediction::Label { label, confidence: 0.75, scores: all() };
        assert_eq!(response.predictions, [("task".to_owned(), task)]);
        assert_eq!(response.coverage, Some(Coverage { tokens: 256, of: 789, estimated: false }));
        assert_eq!(response.version, CONTRACT_VERSION);
    }

    #[test]
    fn a_score_replaces_the_label() {
        let scores = vec![HeadOutput { score: Some(0.375), ..scores() }];
        let response = response(&Prediction { scores, ..Prediction::default() });
        let task = HeadPrediction::Score { score: 0.375, dimensions: all() };
        assert_eq!(response.predictions, [("task".to_owned(), task)]);
    }

    #[test]
    fn a_rejection_is_recorded_by_its_code() {
        let decision = structure([("rejected", "request_too_large".into())]);
        let expected = fields([("llm_router", structure([("decision", decision)]))]);
        assert_eq!(of_rejection(&Rejection::body_too_large(1)), expected);
    }
}
