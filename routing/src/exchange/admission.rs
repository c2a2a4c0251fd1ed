//! Classifies a request by its headers, before its body arrives.

use crate::config::{Config, Mode};
use crate::context::Attribute;
use crate::headers::Headers;
use crate::model_list;
use crate::rejection::Rejection;
use crate::request::{RequestHead, Resource, Target};

/// The next step for a request after its headers.
#[derive(Debug, PartialEq)]
pub(super) enum Admission {
    /// It is forwarded unchanged: it is not for an LLM, or has no body.
    Untouched,
    /// It is a request for the list of models, with this response.
    Models(Vec<u8>),
    /// Its body is read and routed.
    Prompt(Target),
}

/// Determines the kind of a request. `has_body` is false if it ends with its headers.
///
/// # Errors
/// A 413 if it announces a body that is too large, a 415 if that is compressed or not in UTF-8, a 400 if it might be for an LLM or if
/// its route cannot be compared, a 404 if it asks for a model that is not configured.
pub(super) fn admit(config: &Config, head: &RequestHead, has_body: bool) -> Result<Admission, Rejection> {
    // Envoy passes on methods as they are written, and servers differ in whether they compare the case.
    let is_method = |name: &str| head.method().is_some_and(|method| method.eq_ignore_ascii_case(name));
    // Envoy sends no body in response to HEAD.
    let is_query = (is_method("GET") || is_method("HEAD")) && config.mode != Mode::Shadow;
    let is_prompt = is_method("POST") && has_body;
    match head.resource() {
        Resource::ModelList if is_query => Ok(Admission::Models(model_list::list(config, head.api()))),
        Resource::Model(name) if is_query => match model_list::model(config, name, head.api()) {
            Some(model) => Ok(Admission::Models(model)),
            None => Err(Rejection::unknown_model(name, Some("model"))),
        },
        Resource::Target(target) if is_prompt => {
            check_size(head.content_length().unwrap_or(0), config.limits.max_body)?;
            check_encoding(head.headers())?;
            check_charset(head.headers())?;
            check_route(config, head.headers())?;
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

/// Rejects a body that a server could decode to other JSON than the router reads: in UTF-7, `+ACI-` is a quote, which can hide
/// another `model` in a text.
fn check_charset(headers: &Headers) -> Result<(), Rejection> {
    match headers.foreign_charset() {
        Some(charset) => Err(Rejection::unsupported_charset(&charset)),
        None => Ok(()),
    }
}

/// Rejects a header by which a client could evade a rule on routes: Envoy may have chosen another route by it. Removing the header
/// would not help, because the route is already chosen. In shadow mode, the route counts as unknown, so such rules do not match.
fn check_route(config: &Config, headers: &Headers) -> Result<(), Rejection> {
    if config.mode == Mode::Shadow || !config.context_keys.attributes.contains(&Attribute::RouteName) {
        return Ok(());
    }
    match headers.iter().find(|(name, _)| config.may_choose_route(name)) {
        Some((name, _)) => Err(Rejection::routers_header(name)),
        None => Ok(()),
    }
}
