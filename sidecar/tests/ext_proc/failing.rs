//! A classifier that fails: callers get no details.

use anyhow::{Result, anyhow};
use llm_router_classifier::engine::Backend;
use llm_router_classifier::model::prediction::{Outputs, Prediction};
use llm_router_classifier::model::tokenizer::Tokens;
use tonic::Code;

use super::{CLASSIFY, PROMPT, admin, body, exchange, serve};

/// Fails like libtorch does.
pub(super) struct Failing;

impl Backend for Failing {
    fn classify(&self, _: &[&Tokens], _: Outputs) -> Result<Vec<Prediction>> {
        Err(anyhow!("Exception raised from infer_size at ExpandUtils.cpp:30\nframe #0").context("layer 3"))
    }
}

#[tokio::test]
async fn the_cause_of_a_failure_is_not_sent_to_callers() {
    let running = serve(Failing, 8).await;
    let status = exchange(running.client.clone(), vec![body(PROMPT)]).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Internal, "classification failed"));

    let response = admin(&running.service, CLASSIFY).await;
    assert!(response.starts_with("HTTP/1.0 500"), "{response}");
    assert!(response.contains(r#""message":"classification failed""#), "{response}");
    for detail in ["layer", "Exception", "frame #0"] {
        assert!(!response.contains(detail), "{response}");
    }
}
