//! What a stand-in answers, as OpenAI's API shapes it.
//!
//! <https://platform.openai.com/docs/api-reference/chat> and `/completions`.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

/// Which of OpenAI's two endpoints was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Endpoint {
    Chat,
    Completions,
}

impl Endpoint {
    pub(super) fn of(path: &str) -> Option<Self> {
        if path.ends_with("/chat/completions") {
            Some(Self::Chat)
        } else if path.ends_with("/completions") {
            Some(Self::Completions)
        } else {
            None
        }
    }
}

/// What shapes the answer to one request.
#[derive(Debug)]
pub(super) struct Answer<'a> {
    pub(super) endpoint: Endpoint,
    pub(super) cluster: &'a str,
    pub(super) request: &'a Value,
}

impl Answer<'_> {
    pub(super) fn is_stream(&self) -> bool {
        self.request["stream"] == true
    }

    /// The whole answer in one object.
    pub(super) fn object(&self) -> Value {
        let text = self.words().concat();
        let (object, choice) = match self.endpoint {
            Endpoint::Chat => {
                ("chat.completion", json!({ "message": { "role": "assistant", "content": text } }))
            }
            Endpoint::Completions => ("text_completion", json!({ "text": text })),
        };
        let mut answer = self.envelope(object, choice, Some("stop"));
        answer["usage"] = self.usage();
        answer
    }

    /// The answer as the payloads of server-sent events, the closing `[DONE]` among them.
    pub(super) fn events(&self) -> Vec<String> {
        let mut events: Vec<_> = self.words().iter().map(|word| self.chunk(Some(word)).to_string()).collect();
        events.push(self.chunk(None).to_string());
        if self.request["stream_options"]["include_usage"] == true {
            let mut last = self.chunk(None);
            last["choices"] = json!([]);
            last["usage"] = self.usage();
            events.push(last.to_string());
        }
        events.push("[DONE]".to_owned());
        events
    }

    /// One piece of a stream: a word, or the end.
    fn chunk(&self, word: Option<&str>) -> Value {
        let finish = if word.is_none() { Some("stop") } else { None };
        match self.endpoint {
            Endpoint::Chat => {
                let delta =
                    word.map_or_else(|| json!({}), |it| json!({ "role": "assistant", "content": it }));
                self.envelope("chat.completion.chunk", json!({ "delta": delta }), finish)
            }
            Endpoint::Completions => {
                self.envelope("text_completion", json!({ "text": word.unwrap_or("") }), finish)
            }
        }
    }

    fn envelope(&self, object: &str, mut choice: Value, finish: Option<&str>) -> Value {
        let created = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        choice["index"] = json!(0);
        choice["finish_reason"] = json!(finish);
        json!({
            "id": format!("stand-in-{created}"),
            "object": object,
            "created": created,
            "model": self.request["model"],
            "system_fingerprint": self.cluster,
            "choices": [choice],
        })
    }

    fn words(&self) -> [&str; 4] {
        ["This ", "is ", self.cluster, "."]
    }

    /// Words stand in for tokens.
    fn usage(&self) -> Value {
        let prompt = self.request["messages"].to_string() + &self.request["prompt"].to_string();
        let (prompt, completion) = (prompt.split_whitespace().count(), self.words().len());
        let total = prompt + completion;
        json!({ "prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": total })
    }
}
