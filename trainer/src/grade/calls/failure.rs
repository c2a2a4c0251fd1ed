//! What a failed request means for the run.

use std::time::{Duration, SystemTime};

use reqwest::StatusCode;
use reqwest::header::{HeaderMap, LOCATION, RETRY_AFTER};
use serde_json::Value;

use super::model::ChatModel;
use super::provider::ApiKey;
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
    REJECTED_BY_ROUTER,
];

/// The code of this router, which rejects a prompt without sending it on.
const REJECTED_BY_ROUTER: &str = "rejected_by_policy";

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
    /// This prompt is rejected, and will be rejected again.
    Prompt,
    /// The request is invalid: either because of its prompt, or because all requests to the model are.
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

    /// The failure of a request for which the provider may charge.
    pub(super) fn that_may_cost(self) -> Self {
        Self { may_cost: true, ..self }
    }

    /// The meaning of an unsuccessful response.
    pub(super) fn from_response(
        model: &ChatModel,
        status: StatusCode,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Self {
        let error = ProviderError::from_body(body, model.provider.key.as_ref());
        let why = match error.message.is_empty() {
            true => format!("{status} from {}", model.provider.url),
            false => format!("{status}: {}", error.message),
        };
        let kind = kind(status, headers, &error);
        let advice =
            if kind == FailureKind::Run { advice(model, status, headers, &error) } else { String::new() };
        let failure = Self::new(kind, why + &advice);
        if may_cost(status, headers, &error) { failure.that_may_cost() } else { failure }
    }

    /// The failure without the key and control characters in its message. A provider may send both in any
    /// part of a response.
    pub(super) fn cleaned(self, model: &ChatModel) -> Self {
        Self { why: clean(&self.why, model.provider.key.as_ref()), ..self }
    }
}

/// Whether the provider may have computed a completion before it failed, or charge for a prompt that it rejected.
fn may_cost(status: StatusCode, headers: &HeaderMap, error: &ProviderError) -> bool {
    match status.as_u16() {
        // A gateway before the provider gave up waiting for a completion that was being computed.
        408 => true,
        // With these, the provider states that it computed nothing.
        501 => false,
        503 => !headers.contains_key(RETRY_AFTER),
        500.. => true,
        // Filters and limits of the context are checked by models and tokenizers, which some providers charge for.
        _ => error.is_about_prompt() && !error.has_code(REJECTED_BY_ROUTER),
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
    fn from_body(body: &[u8], key: Option<&ApiKey>) -> Self {
        // Redacts before cutting, because half a key would not be found.
        let message = |text: &str| cut(clean(text, key));
        let Ok(value) = serde_json::from_slice::<Value>(body) else {
            return Self { message: message(&String::from_utf8_lossy(body)), ..Self::default() };
        };
        let error = value.get("error").unwrap_or(&value);
        let text = |value: &Value, path: &str| value.pointer(path).and_then(Value::as_str).map(str::to_owned);
        let messages = [(error, "/message"), (error, ""), (&value, "/message"), (&value, "/detail")];
        let found = messages.into_iter().find_map(|(value, path)| text(value, path));
        Self {
            message: message(&found.unwrap_or_default()),
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

/// A text of a provider in one line, without the key, and without characters that would control a terminal.
fn clean(text: &str, key: Option<&ApiKey>) -> String {
    let words: Vec<_> = text.split_whitespace().collect();
    let mut line = words.join(" ");
    // Removed before the key is searched, because they could divide it.
    line.retain(|letter| !letter.is_control());
    match key {
        Some(key) => key.redact(&line),
        None => line,
    }
}

/// A line of a limited length.
fn cut(line: String) -> String {
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

    fn model() -> ChatModel {
        let url = completions_url("http://host/v1").unwrap();
        let key = Some(ApiKey::from("sk-secret"));
        let provider = Provider::new(url, key, Some("MY_KEY".to_owned()), Pace::new(None));
        let settings = [("max_tokens".to_owned(), json!(1))].into_iter().collect();
        ChatModel::new("m".to_owned(), provider.into(), settings, &Map::new(), None).unwrap()
    }

    fn failure_with(status: u16, headers: &[(&'static str, &str)], body: &Value) -> Failure {
        let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        let status = StatusCode::from_u16(status).unwrap();
        Failure::from_response(&model(), status, &headers.collect(), body.to_string().as_bytes())
    }

    fn failure(status: u16, body: &Value) -> Failure {
        failure_with(status, &[("retry-after", "2")], body)
    }

    #[test]
    fn overload_and_failed_servers_are_transient_and_a_server_that_had_the_prompt_may_charge() {
        let wait = Some(Duration::from_secs(2));
        let body = json!({ "error": { "message": "busy", "code": "rate_limit_exceeded" } });
        for (status, may_cost) in [
            (408, true),
            (409, false),
            (429, false),
            (500, true),
            (501, false),
            (502, true),
            (503, false),
            (504, true),
            (529, true),
        ] {
            let found = failure(status, &body);
            assert_eq!((found.kind, found.may_cost), (FailureKind::Transient { wait }, may_cost), "{status}");
            assert!(found.why.ends_with(": busy"), "{}", found.why);
        }
        assert!(failure_with(503, &[], &body).may_cost, "the response does not rule out a charge");
    }

    #[test]
    fn a_provider_may_charge_for_a_prompt_that_it_rejects() {
        for (code, may_cost) in [
            ("content_filter", true),
            ("context_length_exceeded", true),
            ("rejected_by_policy", false),
            ("invalid_request", false),
        ] {
            let found = failure(400, &json!({ "error": { "message": "no", "code": code } }));
            assert_eq!(found.may_cost, may_cost, "{code}");
        }
    }

    #[test]
    fn neither_the_key_nor_control_characters_of_a_provider_are_shown() {
        let message = format!("{} sk-\u{1b}secret \u{1b}[31mred\u{7}", "x".repeat(MAX_MESSAGE - 24));
        let found = failure(500, &json!({ "error": { "message": message } })).why;
        assert!(found.contains("x [key] [31mred") && !found.contains("sk-"), "{found}");
        // The end of the message falls into the key.
        let message = format!("{} sk-secret", "x".repeat(MAX_MESSAGE - 4));
        let found = failure(500, &json!({ "error": { "message": message } })).why;
        assert!(found.ends_with("x [ke…"), "{found}");
        let location = [("location", "http://other/?key=sk-secret")];
        let found = failure_with(307, &location, &Value::Null).cleaned(&model()).why;
        assert!(found.contains("redirects to http://other/?key=[key]: use"), "{found}");
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
