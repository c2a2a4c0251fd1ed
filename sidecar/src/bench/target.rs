//! The classifier under load: in this process as `serve` runs it, or a sidecar over gRPC.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use futures_util::stream;
use llm_router_proto::contract::{CONTRACT_VERSION, Classifiers, ClassifyRequest};
use llm_router_proto::envoy::service::ext_proc::v3::external_processor_client::ExternalProcessorClient;
use serde_json::json;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use llm_router_classifier::engine::EngineError;
use llm_router_classifier::model::prediction::Outputs;
use llm_router_classifier::pipeline::Pipeline;

/// Time limit for the connection and for the first call.
const START_TIMEOUT: Duration = Duration::from_secs(10);

/// The classifier. Clones share it.
#[derive(Clone)]
pub enum Target {
    /// In this process.
    InProcess {
        /// Tokenizer and engine.
        pipeline: Pipeline,
        /// The outputs to compute for each prompt.
        outputs: Outputs,
    },
    /// A sidecar over one connection, like each of Envoy's worker threads has.
    Grpc(ExternalProcessorClient<Channel>),
}

/// Why a call failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// Too many prompts were waiting.
    Overloaded,
    /// The deadline passed.
    DeadlineExceeded,
    /// Anything else.
    Failed,
}

impl Target {
    /// Connects to `HOST:PORT` or `unix:PATH`, without TLS.
    ///
    /// # Errors
    /// If the address is invalid, or nothing listens there.
    pub async fn connect(address: &str) -> Result<Self> {
        let fail = || format!("cannot connect to {address}");
        let uri = if address.starts_with("unix:") { address.to_owned() } else { format!("http://{address}") };
        let endpoint = Endpoint::from_shared(uri).with_context(fail)?.connect_timeout(START_TIMEOUT);
        Ok(Self::Grpc(ExternalProcessorClient::new(endpoint.connect().await.with_context(fail)?)))
    }

    /// Makes one call, so that a target that does not work is reported and not measured.
    ///
    /// # Errors
    /// If the call fails.
    pub async fn check(&self, text: &str) -> Result<()> {
        match self {
            Self::InProcess { pipeline, outputs } => {
                pipeline.classify(text, *outputs, Instant::now().checked_add(START_TIMEOUT), None).await?;
            }
            Self::Grpc(client) => match call(client.clone(), text, START_TIMEOUT).await {
                Ok(true) => {}
                Ok(false) => bail!("the sidecar closed the call without a response"),
                Err(status) => bail!("the sidecar responded with {:?}: {}", status.code(), status.message()),
            },
        }
        Ok(())
    }

    /// Checks that the model reads the text as this many tokens. A remote model cannot be checked.
    ///
    /// # Errors
    /// If it reads another number.
    pub fn check_length(&self, text: &str, tokens: usize) -> Result<()> {
        let Self::InProcess { pipeline, .. } = self else { return Ok(()) };
        let read = pipeline.count_tokens(text)?;
        ensure!(read == tokens, "--tokens {tokens}: the model reads {read} tokens of such a prompt");
        Ok(())
    }

    /// Classifies a text within the time limit.
    ///
    /// # Errors
    /// If there is no prediction in time.
    pub async fn classify(&self, text: &str, timeout: Duration) -> Result<(), Failure> {
        match self {
            Self::InProcess { pipeline, outputs } => {
                let deadline = Instant::now().checked_add(timeout);
                let prediction = pipeline.classify(text, *outputs, deadline, None).await;
                prediction.map(drop).map_err(|error| Failure::from(&error))
            }
            Self::Grpc(client) => match call(client.clone(), text, timeout).await {
                Ok(true) => Ok(()),
                Ok(false) => Err(Failure::Failed),
                Err(status) => Err(Failure::from(&status)),
            },
        }
    }
}

/// Calls like the Wasm filter does. Returns whether there was a response.
async fn call(
    client: ExternalProcessorClient<Channel>,
    text: &str,
    timeout: Duration,
) -> Result<bool, Status> {
    // tonic's own timeout ends with the response's headers, which arrive at once.
    let response = tokio::time::timeout(timeout, exchange(client, text, timeout)).await;
    response.unwrap_or_else(|_| Err(Status::deadline_exceeded("no response in time")))
}

/// Sends one message, closes our side, and reads until the sidecar closes its side.
async fn exchange(
    mut client: ExternalProcessorClient<Channel>,
    text: &str,
    timeout: Duration,
) -> Result<bool, Status> {
    let body = json!({"messages": [{"role": "user", "content": text}]}).to_string().into();
    let (version, classifiers) = (CONTRACT_VERSION, Classifiers::All);
    let message = ClassifyRequest { version, classifiers, policy: None, examples: None, body }.encode();
    let mut request = tonic::Request::new(stream::iter([message]));
    request.set_timeout(timeout);
    let mut responses = client.process(request).await?.into_inner();
    let responded = responses.message().await?.is_some();
    // The status comes in the trailers, after the last message.
    while responses.message().await?.is_some() {}
    Ok(responded)
}

impl From<&EngineError> for Failure {
    fn from(error: &EngineError) -> Self {
        match error {
            EngineError::Overloaded => Self::Overloaded,
            EngineError::DeadlineExceeded => Self::DeadlineExceeded,
            EngineError::ShuttingDown | EngineError::NoWorkers | EngineError::Failed(_) => Self::Failed,
        }
    }
}

impl From<&Status> for Failure {
    fn from(status: &Status) -> Self {
        match status.code() {
            Code::ResourceExhausted => Self::Overloaded,
            // tonic's client reports "cancelled" if it is the first to notice that the time is up.
            Code::DeadlineExceeded | Code::Cancelled => Self::DeadlineExceeded,
            _ => Self::Failed,
        }
    }
}
