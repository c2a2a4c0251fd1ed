//! The messages of a conversation.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

/// Roles that a message may have.
const ROLES: [&str; 5] = ["system", "developer", "user", "assistant", "tool"];

/// The user's messages as a conversation.
pub(super) fn from_user(context: &[String], text: &str) -> Vec<Value> {
    let texts = context.iter().map(String::as_str).chain([text]);
    texts.map(|text| json!({ "role": "user", "content": text })).collect()
}

/// Checks a conversation that is sent unchanged.
///
/// # Errors
/// If it is not a list of messages with texts, or nothing is left to complete.
pub(super) fn check(messages: &[Value]) -> Result<()> {
    for (index, message) in messages.iter().enumerate() {
        let role = message["role"].as_str().unwrap_or_default();
        ensure!(ROLES.contains(&role), "messages[{index}].role must be one of {}", ROLES.join(", "));
        let is_call = role == "assistant" && message["tool_calls"].is_array();
        ensure!(
            is_call || text(message).is_some(),
            "messages[{index}].content must be a string or a list of parts of the type \"text\"; images, audio and files \
             are not graded, so leave the row out"
        );
    }
    let last = messages.last().and_then(|message| message["role"].as_str());
    ensure!(
        matches!(last, Some("user" | "tool")),
        "the last message must be from the user or a tool, so that there is something to complete"
    );
    Ok(())
}

/// The texts of the user's messages, oldest first.
pub(super) fn user_texts(messages: &[Value]) -> Vec<String> {
    messages.iter().filter(|message| message["role"] == "user").filter_map(text).collect()
}

/// The text of a message; None if it has no text, or not only text.
pub(crate) fn text(message: &Value) -> Option<String> {
    match &message["content"] {
        Value::String(text) => Some(text.clone()),
        Value::Array(parts) => {
            let text = |part: &Value| match part["type"].as_str() {
                Some("text") => part["text"].as_str().map(str::to_owned),
                _ => None,
            };
            parts.iter().map(text).collect::<Option<Vec<_>>>().map(|texts| texts.join("\n"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conversation_has_texts_and_ends_with_something_to_complete() {
        let call = json!({ "role": "assistant", "content": null, "tool_calls": [{ "id": "1" }] });
        let good = [
            json!([{ "role": "user", "content": "Hi" }]),
            json!([{ "role": "system", "content": "Be brief." }, { "role": "user", "content": [{ "type": "text", "text": "Hi" }] }]),
            json!([{ "role": "user", "content": "Hi" }, call, { "role": "tool", "content": "4", "tool_call_id": "1" }]),
        ];
        for messages in good {
            check(messages.as_array().unwrap()).unwrap();
        }
        for (messages, wrong) in [
            (json!([]), "the last message must be from the user"),
            (
                json!([{ "role": "user", "content": "Hi" }, { "role": "assistant", "content": "Yes?" }]),
                "the last message",
            ),
            (json!([{ "role": "bot", "content": "Hi" }]), "messages[0].role must be one of system"),
            (json!([{ "role": "user", "content": null }]), "messages[0].content must be"),
            (json!(["Hi"]), "messages[0].role"),
            (
                json!([{ "role": "user", "content": [{ "type": "image_url", "image_url": { "url": "u" } }] }]),
                "images, audio and files are not graded",
            ),
        ] {
            let error = check(messages.as_array().unwrap()).unwrap_err().to_string();
            assert!(error.contains(wrong), "{messages}: {error}");
        }
    }

    #[test]
    fn the_users_texts_are_those_that_the_classifier_reads() {
        let messages = json!([
            { "role": "system", "content": "Be brief." }, { "role": "user", "content": "One" },
            { "role": "assistant", "content": "Two" },
            { "role": "user", "content": [{ "type": "text", "text": "Three" }, { "type": "text", "text": "Four" }] },
        ]);
        assert_eq!(user_texts(messages.as_array().unwrap()), ["One", "Three\nFour"]);
    }
}
