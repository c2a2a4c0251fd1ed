//! What is measured: the classifier in this process as `serve` runs it, or one behind gRPC.

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

/// How long the first answer may take, or a connection.
const START: Duration = Duration::from_secs(10);

/// What is asked. Clones ask the same one.
#[derive(Clone)]
pub enum Target {
    /// Tokenizer and engine of this process.
    InProcess {
        /// What serves.
        pipeline: Pipeline,
        /// What is wanted of each prompt.
        want: Outputs,
    },
    /// A sidecar, over one connection, as each of Envoy's threads has.
    Grpc(ExternalProcessorClient<Channel>),
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// Too many prompts waited.
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
    /// If that is no address, or nothing listens there.
    pub async fn connect(address: &str) -> Result<Self> {
        let fail = || format!("cannot connect to {address}");
        let uri = if address.starts_with("unix:") { address.to_owned() } else { format!("http://{address}") };
        let endpoint = Endpoint::from_shared(uri).with_context(fail)?.connect_timeout(START);
        Ok(Self::Grpc(ExternalProcessorClient::new(endpoint.connect().await.with_context(fail)?)))
    }

    /// Asks once, so that a target that cannot answer is an error and no measurement.
    ///
    /// # Errors
    /// If there is no answer.
    pub async fn check(&self, text: &str) -> Result<()> {
        match self {
            Self::InProcess { pipeline, want } => {
                pipeline.classify(text, *want, Instant::now().checked_add(START), None).await?;
            }
            Self::Grpc(client) => match call(client.clone(), text, START).await {
                Ok(true) => {}
                Ok(false) => bail!("the sidecar ends the call without an answer"),
                Err(status) => bail!("the sidecar answers {:?}: {}", status.code(), status.message()),
            },
        }
        Ok(())
    }

    /// Makes sure that a text is read as so many tokens, if that can be seen from here.
    ///
    /// # Errors
    /// If it is not.
    pub fn check_length(&self, text: &str, tokens: usize) -> Result<()> {
        let Self::InProcess { pipeline, .. } = self else { return Ok(()) };
        let read = pipeline.count_tokens(text)?;
        ensure!(read == tokens, "--tokens {tokens}: the model reads {read} tokens of such a prompt");
        Ok(())
    }

    /// Has a text classified, no later than that.
    ///
    /// # Errors
    /// If it was not.
    pub async fn ask(&self, text: &str, patience: Duration) -> Result<(), Failure> {
        match self {
            Self::InProcess { pipeline, want } => {
                let deadline = Instant::now().checked_add(patience);
                let answer = pipeline.classify(text, *want, deadline, None).await;
                answer.map(drop).map_err(|error| of_engine(&error))
            }
            Self::Grpc(client) => match call(client.clone(), text, patience).await {
                Ok(true) => Ok(()),
                Ok(false) => Err(Failure::Failed),
                Err(status) => Err(of_status(&status)),
            },
        }
    }
}

/// As our filter calls. Whether there was an answer.
async fn call(
    client: ExternalProcessorClient<Channel>,
    text: &str,
    patience: Duration,
) -> Result<bool, Status> {
    // tonic's own timeout ends with the answer's headers, which come at once.
    let answer = tokio::time::timeout(patience, exchange(client, text, patience)).await;
    answer.unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer in time")))
}

/// One message, and the end of our side; the answer, and the end of theirs.
async fn exchange(
    mut client: ExternalProcessorClient<Channel>,
    text: &str,
    patience: Duration,
) -> Result<bool, Status> {
    let body = json!({"messages": [{"role": "user", "content": text}]}).to_string().into();
    let (version, classifiers) = (CONTRACT_VERSION, Classifiers::All);
    let message = ClassifyRequest { version, classifiers, examples: None, body }.encode();
    let mut request = tonic::Request::new(stream::iter([message]));
    request.set_timeout(patience);
    let mut answers = client.process(request).await?.into_inner();
    let answered = answers.message().await?.is_some();
    // The status is in the trailers, after the last message.
    while answers.message().await?.is_some() {}
    Ok(answered)
}

fn of_engine(error: &EngineError) -> Failure {
    match error {
        EngineError::Overloaded => Failure::Overloaded,
        EngineError::DeadlineExceeded => Failure::DeadlineExceeded,
        EngineError::ShuttingDown | EngineError::NoWorkers | EngineError::Failed(_) => Failure::Failed,
    }
}

fn of_status(status: &Status) -> Failure {
    match status.code() {
        Code::ResourceExhausted => Failure::Overloaded,
        // tonic's client says "cancelled" if it is the first to see that the time is up.
        Code::DeadlineExceeded | Code::Cancelled => Failure::DeadlineExceeded,
        _ => Failure::Failed,
    }
}
