//! Qwen Code, which speaks OpenAI's API in the manner of Gemini CLI: chat completions after a setup message.

use serde_json::{Value, json};

use super::cline::{native_step, read_file};
use super::{Agent, Conversation, current_time};

pub(super) const AGENT: Agent = Agent {
    name: "Qwen Code",
    speaks_anthropic: false,
    names_conversation: false,
    keeps_reasoning: false,
    path: "/v1/chat/completions",
    headers: |_| vec![("user-agent", "QwenCode/0.10.0 (linux; x64)".to_owned())],
    body,
};

fn body(conversation: &Conversation) -> Value {
    let now = current_time(conversation.request_number());
    let setup = format!(
        "<session_context>\nToday's date is {}.\nThe folder is /repo.\n</session_context>",
        current_time(0)
    );
    let mut messages = vec![
        json!({ "role": "system", "content": format!("You are a coding agent.\nIt is {now}.") }),
        json!({ "role": "user", "content": setup }),
        json!({ "role": "assistant", "content": "Thanks for the context." }),
    ];
    for (turn, _) in conversation.turns() {
        let reminder = "<system-reminder>\nThere are two subagents.\n</system-reminder>";
        let parts = json!([{ "type": "text", "text": reminder }, { "type": "text", "text": turn.prompt }]);
        messages.push(json!({ "role": "user", "content": parts }));
        for step in turn.steps() {
            messages.extend(native_step(step));
        }
    }
    json!({
        "model": "auto", "stream": true, "stream_options": { "include_usage": true }, "messages": messages,
        "tools": [read_file()],
    })
}
