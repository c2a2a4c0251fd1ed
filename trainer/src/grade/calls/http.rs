//! Sends a request, and reads the response within bounds.

use std::time::Duration;

use anyhow::{Context, Result};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Client, Response, redirect};

use super::chat::Completion;
use super::failure::{Failure, FailureKind, ProviderError};
use super::model::ChatModel;

/// The longest response that is read, in bytes.
const MAX_RESPONSE: usize = 4 << 20;

/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The response header in which this router names the model that it routed to.
const ROUTED_MODEL: &str = "x-llm-router-model";

/// Sends requests to models.
#[derive(Debug)]
pub(crate) struct HttpClient(Client);

impl HttpClient {
    /// A client with this time limit for a request.
    ///
    /// # Errors
    /// If TLS cannot be set up.
    pub(crate) fn new(timeout: Duration) -> Result<Self> {
        // An error means that a provider is installed already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder()
            .timeout(timeout)
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(redirect::Policy::none())
            .user_agent(concat!("llm-router-train/", env!("CARGO_PKG_VERSION")))
            .build();
        Ok(Self(client.context("cannot set up the HTTP client")?))
    }

    /// Sends one request.
    pub(super) async fn send(&self, model: &ChatModel, body: Vec<u8>) -> Result<Completion, Failure> {
        self.exchange(model, body).await.map_err(|failure| failure.cleaned(model))
    }

    async fn exchange(&self, model: &ChatModel, body: Vec<u8>) -> Result<Completion, Failure> {
        let mut request = self.0.post(model.provider.url.clone()).body(body);
        request = request.header(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(key) = &model.provider.key {
            let header = key.header().map_err(|error| Failure::new(FailureKind::Run, error.to_string()))?;
            request = request.header(AUTHORIZATION, header);
        }
        let response = request.send().await.map_err(|error| interrupted(model, error))?;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = read(model, response).await?;
        if !status.is_success() {
            return Err(Failure::from_response(model, status, &headers, &body));
        }
        if let Some(status) = ProviderError::status_in(&body) {
            // The provider had started a successful response, so a model may have run.
            return Err(Failure::from_response(model, status, &headers, &body).that_may_cost());
        }
        let routed = headers.get(ROUTED_MODEL).and_then(|name| name.to_str().ok());
        if let Some(other) = routed.filter(|&name| name != model.name) {
            let why = format!(
                "the gateway sent the request for {:?} to the model {other:?}: name a model of its policy, not an alias or a \
                 policy, and check whether it fails over",
                model.name
            );
            return Err(Failure::new(FailureKind::OtherModel, why).that_may_cost());
        }
        Completion::from_body(&body).map_err(|error| {
            let why = format!("{} does not send chat completions: {error:#}", model.provider.url);
            Failure::new(FailureKind::Request, why).that_may_cost()
        })
    }
}

/// A request without a complete response. Once it was sent, the provider may charge for it.
fn interrupted(model: &ChatModel, error: reqwest::Error) -> Failure {
    let not_sent = error.is_connect() || error.is_builder();
    let what = if error.is_timeout() { "timed out" } else { "failed" };
    let why = format!(
        "the request to {} {what}: {:#}",
        model.provider.url,
        anyhow::Error::new(error.without_url())
    );
    let failure = Failure::new(FailureKind::Transient { wait: None }, why);
    if not_sent { failure } else { failure.that_may_cost() }
}

async fn read(model: &ChatModel, mut response: Response) -> Result<Vec<u8>, Failure> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| interrupted(model, error))? {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_RESPONSE {
            let why = format!("the response is longer than {} MiB", MAX_RESPONSE >> 20);
            return Err(Failure::new(FailureKind::Prompt, why).that_may_cost());
        }
    }
    Ok(body)
}
