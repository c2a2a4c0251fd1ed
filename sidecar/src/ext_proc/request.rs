//! Reads requests: headers, the text, and the requested classifiers. Pure.

use llm_router_proto::contract::Classifiers;
use llm_router_proto::envoy::config::core::v3::HeaderValue;
use llm_router_proto::envoy::service::ext_proc::v3::HttpHeaders;
use llm_router_routing::request::{self, Endpoint, PromptSettings, Request, Target};

use llm_router_classifier::model::prediction::HeadOutput;
use llm_router_classifier::model::tokenizer::Prompt;

use crate::capture::Record;

/// The maximum length of the text that is taken from a body, in bytes. Of a longer text, both ends are taken.
/// The model reads far less: the rest matters only for the reported coverage.
const LONGEST: usize = 1 << 20;

/// A classifier that the model does not have.
#[derive(Debug, PartialEq)]
pub(super) struct UnknownClassifier(pub(super) String);

/// Removes this name from those that a request names. Returns whether it was among them.
pub(super) fn take(classifiers: &mut Classifiers, name: &str) -> bool {
    let Classifiers::Named(names) = classifiers else { return false };
    let before = names.len();
    names.retain(|named| named != name);
    names.len() < before
}

/// Whether a request names no classifier.
pub(super) fn is_empty(classifiers: &Classifiers) -> bool {
    matches!(classifiers, Classifiers::Named(names) if names.is_empty())
}

/// Selects the scores of the classifiers that a request names. Omits those that the model lacks. If it lacks
/// all of them, that is an error.
pub(super) fn select(
    classifiers: &Classifiers,
    mut scores: Vec<HeadOutput>,
) -> Result<Vec<HeadOutput>, UnknownClassifier> {
    let Classifiers::Named(names) = classifiers else { return Ok(scores) };
    scores.retain(|scores| names.iter().any(|name| **name == *scores.head));
    match names.first() {
        Some(unknown) if scores.is_empty() => Err(UnknownClassifier(unknown.clone())),
        _ => Ok(scores),
    }
}

/// The API of a request, by its headers; none if it is not for an LLM.
pub(super) fn endpoint(headers: &HttpHeaders) -> Option<Endpoint> {
    Target::from_path(header(headers, ":path")?).map(|target| target.endpoint)
}

/// The value of the first header with this name, if it is text.
pub(super) fn header<'a>(headers: &'a HttpHeaders, name: &str) -> Option<&'a str> {
    let mut headers = headers.headers.as_ref()?.headers.iter();
    std::str::from_utf8(value(headers.find(|header| header.key == name)?)).ok()
}

/// The length that the client announced for the body.
pub(super) fn content_length(headers: &HttpHeaders) -> Option<usize> {
    header(headers, "content-length")?.parse().ok()
}

/// The client's headers, with lower-case names as Envoy has them.
pub(super) fn headers(message: HttpHeaders) -> Vec<(String, Vec<u8>)> {
    let headers = message.headers.unwrap_or_default().headers;
    let pair = |header: HeaderValue| {
        let value = value(&header).to_vec();
        (header.key, value)
    };
    headers.into_iter().map(pair).collect()
}

/// Envoy sets one of the two fields, depending on its configuration.
fn value(header: &HeaderValue) -> &[u8] {
    if header.raw_value.is_empty() { header.value.as_bytes() } else { &header.raw_value }
}

/// A prompt as the classifier reads it.
#[derive(Debug, PartialEq)]
pub(super) struct PromptText {
    text: String,
    context: Vec<String>,
}

impl From<&request::Prompt> for PromptText {
    fn from(prompt: &request::Prompt) -> Self {
        Self { text: prompt.text(), context: prompt.context().collect() }
    }
}

impl PromptText {
    /// The record for captures, with the predictions of the heads.
    pub(super) fn captured(self, scores: Vec<HeadOutput>) -> Record {
        Record { text: self.text, context: self.context, scores, ..Record::default() }
    }

    /// For the classifier.
    pub(super) fn as_prompt(&self) -> Prompt<'_> {
        Prompt { text: &self.text, context: &self.context }
    }

    /// The text, and its context.
    pub(super) fn into_parts(self) -> (String, Vec<String>) {
        (self.text, self.context)
    }
}

/// The prompt of a request's body: the last user message, or else the available text,
/// and up to two earlier user messages as context. None if the body has no text.
///
/// The system prompt is left out, since it says little about the current request. In measurements, a system
/// prompt of 50 words after each message costs 30 points of accuracy, or 8 points if only the message's own
/// tokens are pooled.
pub(super) fn text(endpoint: Endpoint, body: &[u8], settings: &PromptSettings) -> Option<PromptText> {
    let request = Request::parse(endpoint, body).ok()?;
    let prompt = request.prompt(settings);
    (!prompt.is_empty()).then(|| PromptText::from(&prompt))
}

/// How to read the prompt of a body from our filter, which has already removed what coding agents add.
pub(super) fn as_sent() -> PromptSettings {
    PromptSettings::as_sent(LONGEST)
}

/// How to read the prompt of a client's body.
pub(super) fn as_written() -> PromptSettings {
    PromptSettings::of_known_agents(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use llm_router_proto::envoy::config::core::v3::HeaderMap;

    fn scores(head: &str) -> HeadOutput {
        HeadOutput { head: head.into(), labels: [].into(), confidences: Vec::new(), score: None }
    }

    fn named(names: &[&str]) -> Classifiers {
        Classifiers::Named(names.iter().map(|&name| name.to_owned()).collect())
    }

    fn path(header: HeaderValue) -> HttpHeaders {
        let headers = vec![HeaderValue { key: ":path".to_owned(), ..header }];
        HttpHeaders { headers: Some(HeaderMap { headers }), end_of_stream: false }
    }

    #[test]
    fn without_names_every_head_is_selected() {
        assert_eq!(select(&Classifiers::All, vec![scores("a"), scores("b")]).unwrap().len(), 2);
    }

    #[test]
    fn named_classifiers_are_selected() {
        assert_eq!(select(&named(&["b"]), vec![scores("a"), scores("b")]), Ok(vec![scores("b")]));
    }

    #[test]
    fn a_name_can_be_taken_from_those_that_are_named() {
        let mut classifiers = named(&["examples"]);
        assert!(take(&mut classifiers, "examples") && is_empty(&classifiers));
        assert!(!take(&mut classifiers, "examples"));
        assert!(!take(&mut Classifiers::All, "examples") && !is_empty(&Classifiers::All));
    }

    #[test]
    fn a_request_of_unknown_classifiers_alone_is_rejected() {
        let unknown = UnknownClassifier("nope".to_owned());
        assert_eq!(select(&named(&["nope"]), vec![scores("a")]), Err(unknown));
        assert_eq!(select(&named(&["a", "nope"]), vec![scores("a")]), Ok(vec![scores("a")]));
    }

    #[test]
    fn the_endpoint_is_read_from_either_kind_of_value() {
        let completions = HeaderValue { raw_value: b"/v1/completions".to_vec(), ..HeaderValue::default() };
        assert_eq!(endpoint(&path(completions)), Some(Endpoint::Completions));
        let chat = HeaderValue { value: "/v1/chat/completions".to_owned(), ..HeaderValue::default() };
        assert_eq!(endpoint(&path(chat)), Some(Endpoint::ChatCompletions));
        assert_eq!(endpoint(&HttpHeaders::default()), None);
    }

    #[test]
    fn the_last_user_message_is_classified() {
        let body =
            br#"{"messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"Hi"}]}"#;
        assert_eq!(text(Endpoint::ChatCompletions, body, &as_written()).unwrap().text, "Hi");
    }

    #[test]
    fn earlier_user_messages_are_the_context() {
        let body = br#"{"messages": [{"role": "user", "content": "A haiku."}, {"role": "assistant", "content": "..."},
            {"role": "user", "content": "Shorter"}]}"#;
        let prompt = text(Endpoint::ChatCompletions, body, &as_written()).unwrap();
        assert_eq!(prompt.as_prompt(), Prompt { text: "Shorter", context: &["A haiku.".to_owned()] });
    }

    #[test]
    fn what_coding_agents_add_is_left_out_of_a_clients_body_only() {
        let body = br#"{"messages":[{"role":"user","content":"<system-reminder>x</system-reminder>\nHi"}]}"#;
        assert_eq!(text(Endpoint::ChatCompletions, body, &as_written()).unwrap().text, "Hi");
        assert!(text(Endpoint::ChatCompletions, body, &as_sent()).unwrap().text.starts_with("<system"));
    }

    #[test]
    fn a_body_without_text_has_no_prompt() {
        for body in
            ["", "not json", "{}", r#"{"messages":[]}"#, r#"{"messages":[{"role":"user","content":" "}]}"#]
        {
            assert_eq!(text(Endpoint::ChatCompletions, body.as_bytes(), &as_written()), None, "{body}");
        }
    }
}
