//! Rejections of requests, in the error format of their API, so that clients show the reason.

use std::borrow::Cow;

use serde::Serialize;

use crate::requirements::{Api, UnmetRequirement};

/// A response that the router sends instead of routing the request.
#[derive(Clone, Debug, PartialEq)]
pub struct Rejection {
    kind: Kind,
    message: String,
    param: Option<Cow<'static, str>>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    InvalidRequest,
    UnknownResponse,
    /// By a rule, with its status.
    ByPolicy(u16),
    PolicyNotFound,
    ModelNotFound,
    BodyTimeout,
    BodyTooLarge,
    UnsupportedEncoding,
    ClassifierUnavailable,
    Overloaded,
    Internal,
}

/// How long clients should wait before they retry after a 503, in seconds.
const RETRY_AFTER: &str = "1";

impl Rejection {
    /// 400: the body is not a valid request. `param` is the invalid field, if there is one.
    pub fn invalid(param: Option<&'static str>, message: impl Into<String>) -> Self {
        Self { kind: Kind::InvalidRequest, message: cut(&message.into(), 300), param: param.map(Cow::from) }
    }

    /// 400: a rule must check the text of the prompt in this field, and the prompt has none.
    pub fn unreadable_prompt(field: &'static str) -> Self {
        let message = format!(
            "a rule of the policy checks the text of {field}, which has none: send the prompt as text"
        );
        Self::invalid(Some(field), message)
    }

    /// 400: servers differ in how they resolve the path, so that an LLM could get the request past the policy.
    pub fn ambiguous_path() -> Self {
        let message = "the path is ambiguous: send it without \"..\"".to_owned();
        Self { kind: Kind::InvalidRequest, message, param: None }
    }

    /// 400: the client sent a header that only the router may set. The policy compares routes, which Envoy may have chosen by it.
    pub fn routers_header(name: &str) -> Self {
        let message =
            format!("the header {} is reserved for the router: send the request without it", quoted(name));
        Self { kind: Kind::InvalidRequest, message, param: Some(cut(name, 64).into()) }
    }

    /// 404: the client names a policy that is not configured.
    pub fn unknown_policy(name: &str, param: Option<&'static str>) -> Self {
        Self {
            kind: Kind::PolicyNotFound,
            message: format!("the policy {} does not exist", quoted(name)),
            param: param.map(Cow::from),
        }
    }

    /// 404: the client names a model that is not configured.
    pub fn unknown_model(name: &str, param: Option<&'static str>) -> Self {
        Self {
            kind: Kind::ModelNotFound,
            message: format!("the model {} does not exist", quoted(name)),
            param: param.map(Cow::from),
        }
    }

    /// 400: the requested model does not support the request.
    pub fn model_cannot(name: &str, lack: UnmetRequirement) -> Self {
        let message = format!("the model {} does not support {lack}", quoted(name));
        Self { kind: Kind::InvalidRequest, message, param: Some("model".into()) }
    }

    /// 400: no model of the policy supports the request.
    pub fn no_model_can(lack: UnmetRequirement) -> Self {
        let message = format!("no model of the policy supports {lack}");
        Self { kind: Kind::InvalidRequest, message, param: None }
    }

    /// The request is rejected by a rule of the policy, with its status and message.
    pub fn by_policy(status: u16, message: &str) -> Self {
        Self { kind: Kind::ByPolicy(status), message: message.to_owned(), param: None }
    }

    /// 400: the request continues a response of a model that does not support it. `field` refers to that response.
    pub fn state_elsewhere(name: &str, lack: UnmetRequirement, field: &'static str) -> Self {
        let message = format!(
            "{field} belongs to the model {}, which does not support {lack}: send the whole conversation without {field}",
            quoted(name)
        );
        Self { kind: Kind::InvalidRequest, message, param: Some(field.into()) }
    }

    /// 400: the router does not know which model made the response that the request continues. `field` refers to that response.
    pub fn unknown_response(field: &'static str) -> Self {
        let message = format!(
            "the router does not know which model {field} belongs to: name the model, or send the whole conversation without {field}"
        );
        Self { kind: Kind::UnknownResponse, message, param: Some(field.into()) }
    }

    /// 408: the body did not arrive within the time limit.
    pub fn body_timeout() -> Self {
        let message = "the request body did not arrive in time".to_owned();
        Self { kind: Kind::BodyTimeout, message, param: None }
    }

    /// 413: the body is larger than the configured limit, in bytes.
    pub fn body_too_large(max_body: usize) -> Self {
        let message = format!("the request body is larger than the limit of {max_body} bytes");
        Self { kind: Kind::BodyTooLarge, message, param: None }
    }

    /// 413: the body has more members and items than the limit.
    pub fn body_too_long(max_items: u32) -> Self {
        let message = format!("the request body has more than {max_items} messages, parts and fields");
        Self { kind: Kind::BodyTooLarge, message, param: None }
    }

    /// 413: the headers are longer, or more, than the router reads.
    pub fn headers_too_large() -> Self {
        let message = "the request has too many or too long headers: send fewer or shorter ones".to_owned();
        Self { kind: Kind::BodyTooLarge, message, param: None }
    }

    /// 415: the body is compressed, which the router does not support.
    pub fn unsupported_encoding(encoding: &str) -> Self {
        let message =
            format!("content-encoding {} is not supported: send the body uncompressed", quoted(encoding));
        Self { kind: Kind::UnsupportedEncoding, message, param: None }
    }

    /// 415: the body is in another charset than UTF-8. A server that honours the charset could read other fields than the router.
    pub fn unsupported_charset(charset: &str) -> Self {
        let message =
            format!("the charset {} in content-type is not supported: send JSON in UTF-8", quoted(charset));
        Self { kind: Kind::UnsupportedEncoding, message, param: None }
    }

    /// 503: the classifier is unavailable, and the policy rejects requests in this case.
    pub fn classifier_unavailable() -> Self {
        let message = "the prompt classifier is unavailable: try again later".to_owned();
        Self { kind: Kind::ClassifierUnavailable, message, param: None }
    }

    /// 503: the router is overloaded.
    pub fn overloaded() -> Self {
        let message = "the router is overloaded: try again later".to_owned();
        Self { kind: Kind::Overloaded, message, param: None }
    }

    /// 500: a bug: the router lost the state of the request.
    pub fn internal() -> Self {
        let message = "the router failed to process the request".to_owned();
        Self { kind: Kind::Internal, message, param: None }
    }

    /// The HTTP status.
    pub fn status(&self) -> u16 {
        match self.kind {
            Kind::InvalidRequest | Kind::UnknownResponse => 400,
            Kind::ByPolicy(status) => status,
            Kind::PolicyNotFound | Kind::ModelNotFound => 404,
            Kind::BodyTimeout => 408,
            Kind::BodyTooLarge => 413,
            Kind::UnsupportedEncoding => 415,
            Kind::Internal => 500,
            Kind::ClassifierUnavailable | Kind::Overloaded => 503,
        }
    }

    /// OpenAI's machine-readable `code`; logs and metrics use it, too.
    pub fn code(&self) -> &'static str {
        match self.kind {
            Kind::InvalidRequest => "invalid_request",
            Kind::UnknownResponse => "previous_response_not_found",
            Kind::ByPolicy(_) => "rejected_by_policy",
            Kind::PolicyNotFound => "policy_not_found",
            Kind::ModelNotFound => "model_not_found",
            Kind::BodyTimeout => "request_timeout",
            Kind::BodyTooLarge => "request_too_large",
            Kind::UnsupportedEncoding => "unsupported_encoding",
            Kind::ClassifierUnavailable => "classifier_unavailable",
            Kind::Overloaded => "router_overloaded",
            Kind::Internal => "internal_error",
        }
    }

    /// The response headers.
    pub fn headers(&self) -> Vec<(&'static str, &'static str)> {
        let mut all = vec![("content-type", "application/json")];
        if self.status() == 503 && !matches!(self.kind, Kind::ByPolicy(_)) {
            all.push(("retry-after", RETRY_AFTER));
        }
        all
    }

    /// The response body in the error format of this API.
    pub fn body(&self, api: Api) -> Vec<u8> {
        let body = match api {
            Api::Openai => serde_json::to_vec(&OpenaiBody { error: self.openai_error() }),
            Api::Anthropic => {
                let error = AnthropicError { r#type: anthropic_type(self.status()), message: &self.message };
                serde_json::to_vec(&AnthropicBody { r#type: "error", error })
            }
        };
        // Strings always serialize; an empty body would still carry the status.
        body.unwrap_or_default()
    }

    fn openai_error(&self) -> OpenaiError<'_> {
        let r#type = if self.status() < 500 { "invalid_request_error" } else { "server_error" };
        OpenaiError { message: &self.message, r#type, param: self.param.as_deref(), code: self.code() }
    }
}

#[derive(Serialize)]
struct OpenaiBody<'a> {
    error: OpenaiError<'a>,
}

#[derive(Serialize)]
struct OpenaiError<'a> {
    message: &'a str,
    r#type: &'a str,
    param: Option<&'a str>,
    code: &'a str,
}

#[derive(Serialize)]
struct AnthropicBody<'a> {
    r#type: &'a str,
    error: AnthropicError<'a>,
}

#[derive(Serialize)]
struct AnthropicError<'a> {
    r#type: &'a str,
    message: &'a str,
}

/// Anthropic's error type for a status.
fn anthropic_type(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        503 | 529 => "overloaded_error",
        408 | 504 => "timeout_error",
        500.. => "api_error",
        _ => "invalid_request_error",
    }
}

/// A name from the client.
fn quoted(name: &str) -> String {
    format!("{:?}", cut(name, 64))
}

/// Cuts a text to this number of characters. Messages quote the client, and a response must not echo megabytes.
fn cut(text: &str, characters: usize) -> String {
    match text.char_indices().nth(characters) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_has_openais_shape() {
        let rejection = Rejection::invalid(Some("messages"), "messages must be an array");
        let body: serde_json::Value = serde_json::from_slice(&rejection.body(Api::Openai)).unwrap();
        let expected = serde_json::json!({"error": {
            "message": "messages must be an array", "type": "invalid_request_error",
            "param": "messages", "code": "invalid_request",
        }});
        assert_eq!(body, expected);
    }

    #[test]
    fn the_body_has_anthropics_shape_for_its_clients() {
        let error = |rejection: Rejection| {
            let body: serde_json::Value = serde_json::from_slice(&rejection.body(Api::Anthropic)).unwrap();
            assert_eq!(body["type"], "error");
            assert!(body["error"]["message"].is_string());
            body["error"]["type"].as_str().unwrap().to_owned()
        };
        assert_eq!(
            error(Rejection::invalid(Some("messages"), "messages is missing")),
            "invalid_request_error"
        );
        assert_eq!(error(Rejection::unknown_model("x", None)), "not_found_error");
        assert_eq!(error(Rejection::body_timeout()), "timeout_error");
        assert_eq!(error(Rejection::body_too_large(1)), "request_too_large");
        assert_eq!(error(Rejection::unsupported_encoding("gzip")), "invalid_request_error");
        assert_eq!(error(Rejection::unsupported_charset("utf-7")), "invalid_request_error");
        assert_eq!(error(Rejection::classifier_unavailable()), "overloaded_error");
        assert_eq!(error(Rejection::overloaded()), "overloaded_error");
        assert_eq!(error(Rejection::internal()), "api_error");
        assert_eq!(
            [403, 429, 500].map(anthropic_type),
            ["permission_error", "rate_limit_error", "api_error"]
        );
    }

    #[test]
    fn what_the_client_sent_is_not_echoed_whole() {
        let long = "é".repeat(1_000_000);
        assert!(Rejection::unknown_model(&long, Some("model")).body(Api::Openai).len() < 500);
        assert!(Rejection::invalid(None, long).body(Api::Openai).len() < 1000);
    }

    #[test]
    fn only_what_passes_asks_to_retry() {
        for rejection in [Rejection::classifier_unavailable(), Rejection::overloaded()] {
            assert!(rejection.headers().contains(&("retry-after", "1")));
        }
        assert_eq!(Rejection::by_policy(503, "no").headers(), [("content-type", "application/json")]);
        assert_eq!(Rejection::body_too_large(10).headers(), [("content-type", "application/json")]);
    }
}
