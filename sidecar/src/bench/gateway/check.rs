//! The first request to an API, so that a wrong URL, key or model is an error that says what to do.

use std::time::Duration;

use anyhow::{Result, bail};

use super::exchange::exchange;
use super::failure::{Failure, Problem};
use super::sample::Side;
use super::setup::{Setup, Target};

/// Sends one request to each target.
///
/// # Errors
/// If one does not respond with a completion.
pub async fn check(setup: &Setup) -> Result<()> {
    // The number of a pair that no measurement reaches.
    let pair = setup.pair(u64::MAX);
    for target in &pair.order {
        let body = pair.chat.body(target.model.as_deref(), pair.is_streamed);
        let exchanged = exchange(&target.endpoint, body, pair.is_streamed, setup.deadline).await;
        if let Err(Problem { failure, detail }) = exchanged.outcome {
            let advice = advice(target, failure, setup.deadline);
            bail!("no completion from {}: {}{detail}{advice}", target.endpoint, prefix(failure));
        }
    }
    Ok(())
}

fn prefix(failure: Failure) -> String {
    match failure {
        Failure::Status(code) => format!("status {code}: "),
        _ => String::new(),
    }
}

fn advice(target: &Target, failure: Failure, deadline: Duration) -> String {
    let (model, key) = match target.side {
        Side::Gateway => ("--model", "--key-env"),
        Side::Direct => ("--direct-model", "--direct-key-env"),
    };
    match failure {
        Failure::Connect if target.endpoint.is_tls() => "\nIs the address right? A private CA's certificate goes into \
            the file that the variable SSL_CERT_FILE names. If the port does not speak TLS, the URL begins with http://"
            .to_owned(),
        Failure::Connect => "\nIs the API running, and is the address right?".to_owned(),
        Failure::Timeout => format!("\nIf the model needs longer than {deadline:?}, raise --deadline"),
        Failure::Status(401 | 403) => {
            format!("\nPut the API's key into an environment variable, and name the variable with {key}")
        }
        Failure::Status(404) => {
            format!("\nThe base URL of most APIs ends in /v1. If the model is unknown, name another with {model}")
        }
        Failure::Status(300..=399) => "\nUse the URL that it redirects to".to_owned(),
        Failure::BrokenOff if !target.endpoint.is_tls() => {
            "\nIf the port speaks TLS, the URL begins with https://. --http2 is for servers that speak HTTP/2 only"
                .to_owned()
        }
        Failure::NotACompletion | Failure::TooLarge => "\nIs it the base URL of an OpenAI-compatible API?".to_owned(),
        Failure::Dropped | Failure::Status(_) | Failure::BrokenOff => String::new(),
    }
}
