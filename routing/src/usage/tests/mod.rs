//! What is read from responses, both as providers write them and malformed.

mod body;
mod chunks;
mod events;
mod hostile;

use super::{Usage, UsageReader};

const JSON: &str = "application/json";
const EVENTS: &str = "text/event-stream; charset=utf-8";

fn reader(content_type: &str, answer: impl AsRef<[u8]>) -> UsageReader {
    let mut reader = UsageReader::with_response_id(Some(content_type));
    reader.read(answer.as_ref());
    reader
}

fn body(answer: impl AsRef<[u8]>) -> Option<Usage> {
    reader(JSON, answer).usage()
}

fn events(answer: impl AsRef<[u8]>) -> Option<Usage> {
    reader(EVENTS, answer).usage()
}

fn usage(input: u64, output: u64) -> Option<Usage> {
    Some(Usage { input_tokens: input, output_tokens: output, cached_input_tokens: None })
}

fn cached(input: u64, output: u64, cached: u64) -> Option<Usage> {
    Some(Usage { input_tokens: input, output_tokens: output, cached_input_tokens: Some(cached) })
}
