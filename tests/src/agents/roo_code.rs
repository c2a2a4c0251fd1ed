//! Roo Code and its relatives: chat completions with the API's tools, and the environment in user messages.

use serde_json::{Value, json};

use super::cline::{native_step, read_file, user};
use super::{Agent, Conversation, current_time};

pub(super) const AGENT: Agent = Agent {
    name: "Roo Code",
    speaks_anthropic: false,
    names_conversation: false,
    keeps_reasoning: false,
    path: "/v1/chat/completions",
    headers: |_| vec![("user-agent", "RooCode/4.0.0".to_owned())],
    body,
};

fn body(conversation: &Conversation) -> Value {
    let now = current_time(conversation.request_number());
    let mut messages =
        vec![json!({ "role": "system", "content": format!("You are Roo.\nSystem time: {now}") })];
    for (turn, is_first) in conversation.turns() {
        let words = format!("<user_message>\n{}\n</user_message>", turn.prompt);
        messages.push(if is_first {
            user(&[&words, &environment(0)])
        } else {
            // The human responds to the last result, as the harness sees it.
            user(&[&format!("The user has provided feedback:\n{words}"), &environment(0)])
        });
        for step in turn.steps() {
            messages.extend(native_step(step));
            messages.push(user(&[&environment(step)]));
        }
    }
    json!({ "model": "auto", "stream": true, "messages": messages, "tools": [read_file()], "tool_choice": "auto" })
}

fn environment(step: usize) -> String {
    let now = current_time(step);
    format!(
        "<environment_details>\n# VSCode Open Tabs\nsrc/{step}.rs\n\n# Current Time\nCurrent time in ISO 8601 UTC \
         format: {now}\n\n# Current Cost\n$0.{step:02}\n\n# Current Mode\n<slug>code</slug>\n</environment_details>"
    )
}
