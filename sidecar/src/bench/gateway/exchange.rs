//! One request and its whole response.

use std::time::{Duration, Instant};

use reqwest::header::{CONTENT_TYPE, HeaderMap, LOCATION};
use reqwest::{Response, StatusCode};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::endpoint::Endpoint;
use super::event_stream::{DONE, EventReader};
use super::failure::{Failure, Problem};
use super::sample::{Completed, Labels};

/// How much of an unexpected body an error shows, in characters.
const EXCERPT: usize = 300;

/// The maximum length of a body, or of an event of a stream, in bytes.
const MAX_BODY: usize = 4 << 20;

/// How a request ended.
#[derive(Debug)]
pub struct Exchange {
    /// The decision, if there was a response.
    pub labels: Labels,
    /// The completion, or why it failed.
    pub outcome: Result<Completed, Problem>,
}

#[derive(Deserialize)]
struct Completion {
    #[serde(rename = "choices")]
    _choices: Vec<IgnoredAny>,
}

/// A chunk of a stream, or an error in its place.
#[derive(Deserialize)]
struct Chunk {
    error: Option<IgnoredAny>,
}

/// Sends a request and reads the whole response.
pub async fn exchange(endpoint: &Endpoint, body: Vec<u8>, is_streamed: bool, deadline: Duration) -> Exchange {
    let mut labels = Labels::default();
    let response = tokio::time::timeout(deadline, receive(endpoint, body, is_streamed, &mut labels)).await;
    let outcome = match response {
        Ok(Ok(completed)) => Ok(completed),
        Ok(Err(problem)) => {
            Err(Problem { detail: one_line(&endpoint.without_key(&problem.detail)), ..problem })
        }
        Err(_) => Err(Problem::new(Failure::Timeout, format!("no complete response within {deadline:?}"))),
    };
    Exchange { labels, outcome }
}

async fn receive(
    endpoint: &Endpoint,
    body: Vec<u8>,
    is_streamed: bool,
    labels: &mut Labels,
) -> Result<Completed, Problem> {
    let response = endpoint.post(body).send().await.map_err(from_transport)?;
    *labels = Labels::from_headers(response.headers());
    let status = response.status();
    match (status.is_success(), is_streamed) {
        (true, false) => whole(response).await,
        (true, true) => stream(response).await,
        (false, _) => Err(rejection(status, response).await),
    }
}

async fn whole(response: Response) -> Result<Completed, Problem> {
    let body = body(response).await?;
    let done = Instant::now();
    match serde_json::from_slice::<Completion>(&body) {
        Ok(_) => Ok(Completed { done, first_event: None }),
        Err(error) => Err(Problem::new(Failure::NotACompletion, format!("{error} in {}", excerpt(&body)))),
    }
}

/// The whole body of a response.
async fn body(mut response: Response) -> Result<Vec<u8>, Problem> {
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(from_transport)? {
        if body.len() + piece.len() > MAX_BODY {
            return Err(Problem::new(Failure::TooLarge, format!("the body has more than {MAX_BODY} bytes")));
        }
        body.extend_from_slice(&piece);
    }
    Ok(body)
}

async fn stream(mut response: Response) -> Result<Completed, Problem> {
    if !is_event_stream(response.headers()) {
        let body = body(response).await?;
        let detail = format!("expected a stream, but received {}", excerpt(&body));
        return Err(Problem::new(Failure::NotACompletion, detail));
    }
    let mut reader = EventReader::default();
    let (mut first_event, mut is_done, mut invalid) = (None, false, None);
    while let Some(piece) = response.chunk().await.transpose() {
        let Ok(piece) = piece.map_err(from_transport) else {
            // Clients stop reading after the last event.
            break;
        };
        reader.push(&piece, |data| {
            first_event.get_or_insert_with(Instant::now);
            is_done |= data == DONE;
            if data != DONE && !is_chunk(data) && invalid.is_none() {
                invalid = Some(excerpt(data));
            }
        });
        if reader.unfinished() > MAX_BODY {
            let detail = format!("an event of a stream has more than {MAX_BODY} bytes");
            return Err(Problem::new(Failure::TooLarge, detail));
        }
    }
    match (invalid, is_done) {
        (Some(event), _) => {
            Err(Problem::new(Failure::NotACompletion, format!("an event of a stream is {event}")))
        }
        (None, false) => Err(Problem::new(Failure::BrokenOff, "the stream ended without [DONE]")),
        (None, true) => Ok(Completed { done: Instant::now(), first_event }),
    }
}

fn is_event_stream(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.trim_start().to_ascii_lowercase().starts_with("text/event-stream")
}

fn is_chunk(data: &[u8]) -> bool {
    serde_json::from_slice::<Chunk>(data).is_ok_and(|chunk| chunk.error.is_none())
}

async fn rejection(status: StatusCode, response: Response) -> Problem {
    let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
    let location = location.map(|url| format!("redirected to {url}"));
    // The body is read even if nobody needs it, so that the connection can be used again.
    let body = body(response).await.unwrap_or_default();
    Problem::new(Failure::Status(status.as_u16()), location.unwrap_or_else(|| excerpt(&body)))
}

fn from_transport(error: reqwest::Error) -> Problem {
    let failure = if error.is_connect() { Failure::Connect } else { Failure::BrokenOff };
    // URLs may have credentials in their query.
    Problem::new(failure, format!("{:#}", anyhow::Error::from(error.without_url())))
}

fn excerpt(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let text = text.trim();
    match text.char_indices().nth(EXCERPT) {
        _ if text.is_empty() => "an empty body".to_owned(),
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// Control characters would let a server write to the terminal.
fn one_line(text: &str) -> String {
    text.split(|character: char| character.is_control() || character.is_whitespace())
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}
