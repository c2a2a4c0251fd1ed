//! OpenCode: chat completions, the session in headers.

use serde_json::{Value, json};

use super::cline::{native_step, read_file};
use super::{Agent, Conversation, current_time};

pub(super) const AGENT: Agent = Agent {
    name: "OpenCode",
    speaks_anthropic: false,
    names_conversation: true,
    keeps_reasoning: false,
    path: "/v1/chat/completions",
    headers: |conversation| {
        let session = format!("ses_{}", conversation.id);
        vec![
            ("x-session-affinity", session.clone()),
            ("x-session-id", session),
            ("user-agent", "opencode/1.14.39".to_owned()),
        ]
    },
    body,
};

fn body(conversation: &Conversation) -> Value {
    let now = current_time(conversation.request_number());
    let system =
        format!("You are a coding agent.\n<env>\n  Working directory: /repo\n  Today's date: {now}\n</env>");
    let mut messages = vec![json!({ "role": "system", "content": system })];
    for (turn, is_first) in conversation.turns() {
        let mut parts = vec![text(&turn.prompt)];
        if is_first {
            // A file that the human mentions is read at once.
            parts.push(text("Called the Read tool with the following input: {\"filePath\":\"/repo/0.rs\"}"));
            parts.push(text("<path>/repo/0.rs</path>\n<content>\n1: fn number_0() {}\n</content>"));
        }
        parts.push(text("<system-reminder>\nYour mode has changed from plan to build.\n</system-reminder>"));
        messages.push(json!({ "role": "user", "content": parts }));
        for step in turn.steps() {
            messages.extend(native_step(step));
        }
    }
    json!({
        "model": "auto", "max_tokens": 32000, "stream": true, "stream_options": { "include_usage": true },
        "messages": messages, "tools": [read_file()], "tool_choice": "auto",
    })
}

fn text(text: &str) -> Value {
    json!({ "type": "text", "text": text })
}
