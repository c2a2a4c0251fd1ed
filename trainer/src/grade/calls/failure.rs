//! What a failed request means for the run.

use std::time::{Duration, SystemTime};

use reqwest::StatusCode;
use reqwest::header::{HeaderMap, LOCATION};
use serde_json::Value;

use super::model::ChatModel;
use super::retry::retry_after;

/// The longest part of a provider's message that is shown, in characters.
const MAX_MESSAGE: usize = 400;

/// Codes of providers, and of this router, that reject one prompt.
const PROMPT_CODES: [&str; 6] = [
    "content_filter",
    "content_policy_violation",
    "context_length_exceeded",
    "string_above_max_length",
    "request_too_large",
    "rejected_by_policy",
];

/// A failed request.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Failure {
    pub(super) kind: FailureKind,
    /// The reason, for people.
    pub(super) why: String,
    /// Whether the provider may have computed a completion, and charge for it.
    pub(super) may_cost: bool,
}

/// What follows from a failure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum FailureKind {
    /// A later attempt may succeed; the provider may ask to wait.
    Transient { wait: Option<Duration> },
    /// This prompt is rejected, and will be again.
    Prompt,
    /// The request is invalid: because of its prompt, or as all are.
    Request,
    /// Another model made the completion.
    OtherModel,
    /// Ctrl-C cut the request off.
    CutOff,
    /// All further requests would fail.
    Run,
}

impl Failure {
    pub(super) fn new(kind: FailureKind, why: impl Into<String>) -> Self {
        Self { kind, why: why.into(), may_cost: false }
    }

    /// The same, of a request for which the provider may charge.
    pub(super) fn that_may_cost(self) -> Self {
        Self { may_cost: true, ..self }
    }

    /// The meaning of a response without success.
    pub(super) fn from_response(
        model: &ChatModel,
        status: StatusCode,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Self {
        let error = ProviderError::from_body(body);
        let message = match &model.provider.key {
            Some(key) => key.redact(&error.message),
            None => error.message.clone(),
        };
        let why = match message.is_empty() {
            true => format!("{status} from {}", model.provider.url),
            false => format!("{status}: {message}"),
        };
        let kind = kind(status, headers, &error);
        let advice =
            if kind == FailureKind::Run { advice(model, status, headers, &error) } else { String::new() };
        let failure = Self::new(kind, why + &advice);
        // Somebody between us and the provider lost patience with a completion that was being computed.
        match status {
            StatusCode::REQUEST_TIMEOUT | StatusCode::GATEWAY_TIMEOUT => failure.that_may_cost(),
            _ => failure,
        }
    }
}

fn kind(status: StatusCode, headers: &HeaderMap, error: &ProviderError) -> FailureKind {
    if error.is_about_prompt() {
        return FailureKind::Prompt;
    }
    match status.as_u16() {
        413 => FailureKind::Prompt,
        429 if error.has_code("insufficient_quota") => FailureKind::Run,
        408 | 409 | 425 | 429 | 500.. => {
            FailureKind::Transient { wait: retry_after(headers, SystemTime::now()) }
        }
        ..=399 | 401..=405 => FailureKind::Run,
        _ => FailureKind::Request,
    }
}

/// What a user can do about it.
fn advice(model: &ChatModel, status: StatusCode, headers: &HeaderMap, error: &ProviderError) -> String {
    let (name, url) = (&model.name, &model.provider.url);
    match (status.as_u16(), &model.provider.key_variable) {
        _ if error.has_code("insufficient_quota") => "; add credit with the provider".to_owned(),
        (..=399, _) => {
            let to = headers.get(LOCATION).and_then(|to| to.to_str().ok()).unwrap_or("another URL");
            format!("; {url} redirects to {to}: use that URL without its /chat/completions")
        }
        (401, Some(variable)) => format!("; check the key in the environment variable {variable}, for {url}"),
        (401, None) => {
            format!("; name the environment variable with the key for {url}: --key-env [URL=]VARIABLE")
        }
        (402, _) => "; add credit with the provider".to_owned(),
        (403, _) => format!("; the key may not use the model {name:?} at {url}"),
        (404, _) => format!("; check the model's name {name:?} and the URL {url}"),
        _ => format!("; {url} does not take chat completions: check the URL"),
    }
}

/// The error in a response's body, in OpenAI's shape or similar ones.
#[derive(Debug, Default)]
pub(super) struct ProviderError {
    message: String,
    codes: Vec<String>,
    /// A moderation names what it objects to.
    is_flagged: bool,
}

impl ProviderError {
    fn from_body(body: &[u8]) -> Self {
        let Ok(value) = serde_json::from_slice::<Value>(body) else {
            return Self { message: cut(&String::from_utf8_lossy(body)), ..Self::default() };
        };
        let error = value.get("error").unwrap_or(&value);
        let text = |value: &Value, path: &str| value.pointer(path).and_then(Value::as_str).map(str::to_owned);
        let messages = [(error, "/message"), (error, ""), (&value, "/message"), (&value, "/detail")];
        let message = messages.into_iter().find_map(|(value, path)| text(value, path));
        Self {
            message: cut(&message.unwrap_or_default()),
            codes: ["/code", "/type", "/innererror/code"]
                .into_iter()
                .filter_map(|path| text(error, path))
                .collect(),
            is_flagged: text(error, "/metadata/flagged_input").is_some(),
        }
    }

    /// The status of an error in a response that has the status 200.
    pub(super) fn status_in(body: &[u8]) -> Option<StatusCode> {
        let value: Value = serde_json::from_slice(body).ok()?;
        let code = value.get("error").filter(|error| !error.is_null())?.get("code").and_then(Value::as_u64);
        let status = code.and_then(|code| StatusCode::from_u16(u16::try_from(code).ok()?).ok());
        Some(status.filter(|status| !status.is_success()).unwrap_or(StatusCode::BAD_GATEWAY))
    }

    fn has_code(&self, code: &str) -> bool {
        self.codes.iter().any(|given| given == code)
    }

    fn is_about_prompt(&self) -> bool {
        self.is_flagged || PROMPT_CODES.iter().any(|code| self.has_code(code))
    }
}

/// In one line of a limited length.
fn cut(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(MAX_MESSAGE) {
        Some((end, _)) => format!("{}…", line.get(..end).unwrap_or_default()),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};

    use super::*;
    use crate::grade::calls::pace::Pace;
    use crate::grade::calls::provider::{Provider, completions_url};

    fn failure(status: u16, body: &Value) -> Failure {
        let url = completions_url("http://host/v1").unwrap();
        let provider = Provider::new(url, None, Some("MY_KEY".to_owned()), Pace::new(None));
        let settings = [("max_tokens".to_owned(), json!(1))].into_iter().collect();
        let model = ChatModel::new("m".to_owned(), provider.into(), settings, &Map::new(), None).unwrap();
        let headers = [("retry-after".parse().unwrap(), "2".parse().unwrap())].into_iter().collect();
        Failure::from_response(
            &model,
            StatusCode::from_u16(status).unwrap(),
            &headers,
            body.to_string().as_bytes(),
        )
    }

    #[test]
    fn overload_and_timeouts_are_transient_and_a_timeout_may_cost() {
        let wait = Some(Duration::from_secs(2));
        for (status, may_cost) in
            [(408, true), (409, false), (429, false), (500, false), (503, false), (504, true), (529, false)]
        {
            let found =
                failure(status, &json!({ "error": { "message": "busy", "code": "rate_limit_exceeded" } }));
            assert_eq!((found.kind, found.may_cost), (FailureKind::Transient { wait }, may_cost), "{status}");
            assert!(found.why.ends_with(": busy"), "{}", found.why);
        }
    }

    #[test]
    fn an_error_that_all_requests_meet_says_what_to_do() {
        let quota = json!({ "error": { "message": "no credit", "code": "insufficient_quota" } });
        for (status, body, advice) in [
            (
                401,
                json!({ "error": { "message": "bad key" } }),
                "bad key; check the key in the environment variable MY_KEY",
            ),
            (403, json!({ "error": "not yours" }), "not yours; the key may not use the model \"m\""),
            (
                404,
                json!({ "detail": "unknown" }),
                "unknown; check the model's name \"m\" and the URL http://host/v1/",
            ),
            (402, json!({ "message": "pay" }), "pay; add credit"),
            (429, quota, "no credit; add credit"),
            (405, Value::Null, "does not take chat completions"),
            (301, Value::Null, "redirects to another URL"),
        ] {
            let found = failure(status, &body);
            assert_eq!(found.kind, FailureKind::Run, "{status}");
            assert!(found.why.contains(advice), "{}", found.why);
        }
    }

    #[test]
    fn a_rejected_prompt_is_not_an_invalid_request() {
        let error = |code: &str| json!({ "error": { "message": "no", "code": code } });
        for (status, body) in [
            (400, error("content_filter")),
            (400, error("content_policy_violation")),
            (400, error("context_length_exceeded")),
            (403, error("rejected_by_policy")),
            (400, json!({ "error": { "message": "no", "innererror": { "code": "content_filter" } } })),
            (
                403,
                json!({ "error": { "code": 403, "message": "flagged", "metadata": { "flagged_input": "x" } } }),
            ),
            (413, error("whatever")),
        ] {
            assert_eq!(failure(status, &body).kind, FailureKind::Prompt, "{body}");
        }
        for status in [400, 422] {
            assert_eq!(failure(status, &error("invalid_request")).kind, FailureKind::Request, "{status}");
        }
    }

    #[test]
    fn an_error_in_a_successful_response_has_a_status() {
        let status =
            |body: Value| ProviderError::status_in(body.to_string().as_bytes()).map(|status| status.as_u16());
        assert_eq!(status(json!({ "error": { "code": 429, "message": "busy" } })), Some(429));
        assert_eq!(status(json!({ "error": { "message": "broken" } })), Some(502));
        assert_eq!(status(json!({ "choices": [], "error": null })), None);
        assert_eq!(status(json!({ "choices": [] })), None);
    }

    #[test]
    fn messages_have_one_line_of_limited_length() {
        let found = failure(500, &json!({ "error": { "message": format!("a\nb {}", "é".repeat(1000)) } }));
        assert!(found.why.contains("a b é") && found.why.ends_with('…') && found.why.chars().count() < 500);
    }
}
