//! The chat completions to request.

use std::path::Path;

use anyhow::{Context, Result, bail};
use fastrand::Rng;
use serde_json::{Map, Value, json};

use crate::bench::prompts;

/// The model of requests that name none.
const AUTO: &str = "auto";

/// The number of letters that make a prompt different from all others: there are 2 × 10¹¹ combinations.
const MARK_LETTERS: usize = 8;

/// The chats to request in turn, at least one.
#[derive(Debug)]
pub struct Chats {
    first: Chat,
    others: Vec<Chat>,
}

/// The body of a chat completion request.
#[derive(Debug, Clone, PartialEq)]
pub struct Chat {
    fields: Map<String, Value>,
}

impl Chats {
    /// Reads a file. If its name ends in `.jsonl`, each line is either a request body, with `messages`, or has the prompt as
    /// `text` or `prompt`, and as `context` the user's messages before it. Otherwise each line is a prompt. Empty lines are
    /// skipped.
    ///
    /// # Errors
    /// If the file cannot be read, has no prompts, or has an invalid line, which the error names.
    pub fn read(path: &Path) -> Result<Self> {
        let mut chats = prompts::lines(path)?.into_iter().map(|line| {
            let chat =
                if line.is_json { Chat::from_row(&line.text) } else { Ok(Chat::from_prompt(&line.text)) };
            chat.with_context(|| format!("{}: line {}", path.display(), line.number))
        });
        let first = chats.next().with_context(|| format!("{} has no prompts", path.display()))??;
        Ok(Self { first, others: chats.collect::<Result<_>>()? })
    }

    /// English prompts of mixed lengths.
    #[must_use]
    pub fn mixed() -> Self {
        let [first, others @ ..] = prompts::mixed_texts().map(|text| Chat::from_prompt(&text));
        Self { first, others: others.into() }
    }

    /// The chat of the request with this number.
    #[must_use]
    pub fn chat(&self, number: u64) -> &Chat {
        let turn = usize::try_from(number % self.count() as u64).ok();
        turn.and_then(|turn| self.others.get(turn.checked_sub(1)?)).unwrap_or(&self.first)
    }

    /// The number of chats.
    #[must_use]
    pub fn count(&self) -> usize {
        1 + self.others.len()
    }
}

impl Chat {
    fn from_prompt(text: &str) -> Self {
        Self { fields: Map::from_iter([("messages".to_owned(), json!([user_message(text)]))]) }
    }

    fn from_row(line: &str) -> Result<Self> {
        let fields: Map<String, Value> = serde_json::from_str(line)?;
        match (fields.get("messages"), fields.get("text").or_else(|| fields.get("prompt"))) {
            (Some(Value::Array(_)), _) => Ok(Self { fields }),
            (Some(_), _) => bail!("`messages` is not an array"),
            (None, Some(Value::String(text))) => {
                let context = context(fields.get("context"))?;
                let texts = context.into_iter().chain([text.as_str()]);
                let messages = texts.map(user_message).collect();
                Ok(Self { fields: Map::from_iter([("messages".to_owned(), Value::Array(messages))]) })
            }
            (None, Some(_)) => bail!("the prompt is not a string"),
            (None, None) => bail!("missing field `text`, `prompt` or `messages`"),
        }
    }

    /// Whether the body itself asks for a stream.
    #[must_use]
    pub fn wants_stream(&self) -> bool {
        self.fields.get("stream").and_then(Value::as_bool).unwrap_or_default()
    }

    /// The same chat with a unique last user message, so that no cached prediction is used.
    #[must_use]
    pub fn made_unique(&self, random: &mut Rng) -> Self {
        let mut unique = self.clone();
        let mark: String = (0..MARK_LETTERS).map(|_| random.lowercase()).collect();
        if let Some(text) = unique.last_user_text() {
            text.push_str(&format!(" ({mark})"));
        }
        unique
    }

    /// The text that is classified.
    fn last_user_text(&mut self) -> Option<&mut String> {
        let messages = self.fields.get_mut("messages")?.as_array_mut()?;
        let message = messages.iter_mut().rfind(|message| message.get("role") == Some(&json!("user")))?;
        match message.get_mut("content")? {
            Value::String(text) => Some(text),
            Value::Array(parts) => parts.iter_mut().rev().find_map(|part| match part.get_mut("text") {
                Some(Value::String(text)) => Some(text),
                _ => None,
            }),
            _ => None,
        }
    }

    /// The request's body. Its model is the given one, or else the body's own, or else `auto`.
    #[must_use]
    pub fn body(&self, model: Option<&str>, is_streamed: bool) -> Vec<u8> {
        let own = self.fields.get("model").and_then(Value::as_str);
        let mut body = Map::from_iter([("model".to_owned(), json!(model.or(own).unwrap_or(AUTO)))]);
        for (name, value) in &self.fields {
            // `stream_options` without a stream is an error for OpenAI.
            let is_kept = name != "model" && name != "stream" && (is_streamed || name != "stream_options");
            if is_kept {
                body.insert(name.clone(), value.clone());
            }
        }
        if is_streamed {
            body.insert("stream".to_owned(), Value::Bool(true));
        }
        Value::Object(body).to_string().into_bytes()
    }
}

fn user_message(text: &str) -> Value {
    json!({ "role": "user", "content": text })
}

fn context(value: Option<&Value>) -> Result<Vec<&str>> {
    let texts = match value {
        None | Some(Value::Null) => Some(Vec::new()),
        Some(Value::String(text)) => Some(vec![text.as_str()]),
        Some(Value::Array(texts)) => texts.iter().map(Value::as_str).collect(),
        Some(_) => None,
    };
    texts.context("`context` is not a string or an array of strings")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, text: &str) -> Result<Chats> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        Chats::read(&path)
    }

    fn body(chat: &Chat, model: Option<&str>, is_streamed: bool) -> Value {
        serde_json::from_slice(&chat.body(model, is_streamed)).unwrap()
    }

    #[test]
    fn a_file_has_prompts_with_context_or_whole_bodies() {
        let text = r#"{"text": "Shorter", "context": ["A poem", "About rain"]}
            {"prompt": "Hi", "context": "Hello", "label": "x"}

            {"messages": [{"role": "system", "content": "s"}], "model": "m", "temperature": 0}"#;
        let chats = read("prompts.jsonl", text).unwrap();
        let user = |text| json!({ "role": "user", "content": text });
        let expected = [
            json!({ "model": "auto", "messages": [user("A poem"), user("About rain"), user("Shorter")] }),
            json!({ "model": "auto", "messages": [user("Hello"), user("Hi")] }),
            json!({ "model": "m", "messages": [{ "role": "system", "content": "s" }], "temperature": 0 }),
        ];
        let bodies: Vec<_> = (0..3).map(|number| body(chats.chat(number), None, false)).collect();
        assert_eq!(bodies, expected);
        assert_eq!(chats.chat(3), chats.chat(0));
        let lines = read("prompts.txt", "one\n\n{two}\n").unwrap();
        assert_eq!(lines.chat(1), &Chat::from_prompt("{two}"));
        assert_eq!(lines.count(), 2);
    }

    #[test]
    fn an_error_names_the_line() {
        for (line, reason) in [
            ("{}", "missing field `text`, `prompt` or `messages`"),
            ("{\"text\": 1}", "the prompt is not a string"),
            ("{\"messages\": \"hi\"}", "`messages` is not an array"),
            ("{\"text\": \"a\", \"context\": [1]}", "`context` is not a string"),
            ("text", "expected"),
        ] {
            let error = read("prompts.jsonl", &format!("{{\"text\": \"one\"}}\n{line}\n")).unwrap_err();
            let error = format!("{error:#}");
            assert!(error.contains("line 2: ") && error.contains(reason), "{error}");
        }
        assert!(read("prompts.txt", "\n \n").unwrap_err().to_string().ends_with("has no prompts"));
    }

    #[test]
    fn options_replace_model_and_stream_of_a_body() {
        let row =
            r#"{"model": "m", "stream": true, "stream_options": {"include_usage": true}, "messages": []}"#;
        let chat = Chat::from_row(row).unwrap();
        assert!(chat.wants_stream());
        assert_eq!(body(&chat, Some("n"), false), json!({ "model": "n", "messages": [] }));
        let streamed = body(&chat, None, true);
        assert_eq!((&streamed["model"], &streamed["stream"]), (&json!("m"), &json!(true)));
        assert_eq!(streamed["stream_options"]["include_usage"], true);
    }

    #[test]
    fn a_unique_chat_differs_in_its_last_user_message_only() {
        let parts = json!([{ "type": "text", "text": "Look" }, { "type": "image_url", "image_url": {} }]);
        for content in [json!("Look"), parts] {
            let messages = json!([user_message("first"), { "role": "user", "content": content },
                { "role": "assistant", "content": "Yes" }]);
            let chat = Chat::from_row(&json!({ "messages": messages }).to_string()).unwrap();
            let mut random = Rng::with_seed(1);
            let (one, other) = (chat.made_unique(&mut random), chat.made_unique(&mut random));
            assert_ne!(one, other);
            let text = body(&one, None, false)["messages"].to_string();
            assert!(
                text.contains("\"Look (") && text.contains("\"first\"") && text.contains("\"Yes\""),
                "{text}"
            );
        }
    }
}
