//! What a request is, by its headers, before its body is there.

use crate::config::{Config, Mode};
use crate::headers::Headers;
use crate::rejection::Rejection;
use crate::request::{RequestHead, Resource, Target};

/// What to do with a request once its headers are there.
#[derive(Debug, PartialEq)]
pub(super) enum Admission {
    /// It goes on as it came: it is not for an LLM, or has no body.
    Untouched,
    /// It gets the list of models.
    ModelList,
    /// Its body is read and routed.
    Prompt(Target),
}

/// Finds out what a request is. `has_body` is false if it ends with its headers.
///
/// # Errors
/// A 413 if it announces a body that is too large, a 415 if that is compressed, a 400 if it might be for an LLM.
pub(super) fn admit(config: &Config, head: &RequestHead, has_body: bool) -> Result<Admission, Rejection> {
    let is_prompt = head.method() == Some("POST") && has_body;
    match head.resource() {
        Resource::ModelList if head.method() == Some("GET") && config.mode != Mode::Shadow => {
            Ok(Admission::ModelList)
        }
        Resource::Target(target) if is_prompt => {
            check_size(head.content_length().unwrap_or(0), config.limits.max_body)?;
            check_encoding(head.headers())?;
            Ok(Admission::Prompt(target.clone()))
        }
        Resource::Ambiguous if is_prompt => Err(Rejection::ambiguous_path()),
        _ => Ok(Admission::Untouched),
    }
}

/// # Errors
/// A 413 for a body over `max_body` bytes.
pub(super) fn check_size(length: usize, max_body: usize) -> Result<(), Rejection> {
    if length > max_body { Err(Rejection::body_too_large(max_body)) } else { Ok(()) }
}

/// A compressed body cannot be read, and must not be inflated: Envoy crashes when a Wasm filter makes a buffered body
/// larger than its limit.
fn check_encoding(headers: &Headers) -> Result<(), Rejection> {
    if headers.is_encoded() {
        let encoding = headers.text("content-encoding").unwrap_or_default();
        return Err(Rejection::unsupported_encoding(encoding));
    }
    Ok(())
}
