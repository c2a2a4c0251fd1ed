//! GitHub Copilot in an editor, with a model of its user: chat completions.

use serde_json::{Value, json};

use super::cline::{native_step, read_file};
use super::{Agent, Conversation, current_time};

pub(super) const AGENT: Agent = Agent {
    name: "GitHub Copilot",
    speaks_anthropic: false,
    names_conversation: false,
    keeps_reasoning: false,
    path: "/v1/chat/completions",
    headers: |_| vec![("user-agent", "GitHubCopilotChat/0.41.0".to_owned())],
    body,
};

fn body(conversation: &Conversation) -> Value {
    let now = current_time(conversation.request_number());
    let environment = "<environment_info>\nThe user's current OS is: Linux\n</environment_info>\n<workspace_info>\n\
                       - /repo\n</workspace_info>";
    let mut messages = vec![
        json!({ "role": "system", "content": format!("You are a programming assistant.\nIt is {now}.") }),
        json!({ "role": "user", "content": environment }),
    ];
    for (turn, _) in conversation.turns() {
        let content = format!(
            "<context>\nThe current date is {}.\n</context>\n<editorContext>\nThe current file is /repo/0.rs.\n\
             </editorContext>\n<reminderInstructions>\nDo not write summaries.\n</reminderInstructions>\n\
             <userRequest>\n{}\n</userRequest>",
            current_time(0),
            turn.prompt,
        );
        messages.push(json!({ "role": "user", "content": content }));
        for step in turn.steps() {
            messages.extend(native_step(step));
        }
    }
    json!({ "model": "auto", "stream": true, "messages": messages, "tools": [read_file()], "n": 1 })
}
