//! Cursor, with a base URL of its user: chat completions.

use serde_json::{Value, json};

use super::cline::{native_step, read_file};
use super::{Agent, Conversation, current_time};

pub(super) const AGENT: Agent = Agent {
    name: "Cursor",
    speaks_anthropic: false,
    names_conversation: false,
    keeps_reasoning: false,
    path: "/v1/chat/completions",
    headers: |_| Vec::new(),
    body,
};

fn body(conversation: &Conversation) -> Value {
    let now = current_time(conversation.request_number());
    let mut messages =
        vec![json!({ "role": "system", "content": format!("You pair with the user.\nIt is {now}.") })];
    for (turn, is_first) in conversation.turns() {
        if is_first {
            let info =
                "<user_info>\nOS: linux\n</user_info>\n\n<project_layout>\n/repo/0.rs\n</project_layout>";
            messages.push(json!({ "role": "user", "content": info }));
        }
        let content = format!(
            "<additional_data>\n<open_and_recently_viewed_files>\n0.rs\n</open_and_recently_viewed_files>\n\
             </additional_data>\n\n<system_reminder>\nStay brief.\n</system_reminder>\n<timestamp>{}</timestamp>\n\
             <user_query>\n{}\n</user_query>",
            current_time(0),
            turn.prompt,
        );
        messages.push(json!({ "role": "user", "content": content }));
        for step in turn.steps() {
            messages.extend(native_step(step));
        }
    }
    json!({ "model": "auto", "stream": true, "messages": messages, "tools": [read_file()] })
}
