//! Claude Code: Anthropic's messages, with signed thinking.

use llm_router_test_support::mock_llm::sealed;
use serde_json::{Value, json};

use super::{Agent, Conversation, current_time};

/// It names the session in a header.
pub(super) const AGENT: Agent = Agent {
    name: "Claude Code",
    speaks_anthropic: true,
    names_conversation: true,
    keeps_reasoning: true,
    path: "/v1/messages?beta=true",
    headers: |conversation| {
        let session = ("x-claude-code-session-id", conversation.id.clone());
        headers("claude-cli/2.1.148 (external, cli)").into_iter().chain([session]).collect()
    },
    body: |conversation| {
        let user = json!({ "device_id": "d0", "account_uuid": "", "session_id": conversation.id });
        body(conversation, &user.to_string())
    },
};

/// It names the session in the body only.
pub(super) const OLDER_AGENT: Agent = Agent {
    name: "Claude Code, older",
    headers: |_| headers("claude-cli/2.0.36 (external, cli)"),
    body: |conversation| body(conversation, &format!("user_0f3a_account__session_{}", conversation.id)),
    ..AGENT
};

fn headers(user_agent: &str) -> Vec<(&'static str, String)> {
    let headers = [
        ("anthropic-version", "2023-06-01"),
        ("anthropic-beta", "claude-code-20250219,interleaved-thinking-2025-05-14"),
        ("x-api-key", "a-key"),
        ("x-app", "cli"),
        ("user-agent", user_agent),
    ];
    headers.map(|(name, value)| (name, value.to_owned())).into()
}

fn body(conversation: &Conversation, user: &str) -> Value {
    let number = conversation.request_number();
    let billing =
        format!("x-anthropic-billing-header: cc_version=2.1.148.0d9; cc_entrypoint=cli; cch={number:05x};");
    let environment =
        format!("<env>\nWorking directory: /repo\nToday's date: {}\n</env>", current_time(number));
    let cached = json!({ "type": "ephemeral" });
    json!({
        "model": "auto",
        "max_tokens": 32000,
        "stream": true,
        "thinking": { "type": "adaptive" },
        "output_config": { "effort": "medium" },
        "metadata": { "user_id": user },
        "system": [
            { "type": "text", "text": billing },
            { "type": "text", "text": "You are a coding agent in a terminal.", "cache_control": cached },
            { "type": "text", "text": format!("Use the tools.\n{environment}"), "cache_control": cached },
        ],
        "tools": [{
            "name": "Read", "description": "Reads a file.",
            "input_schema": { "type": "object", "properties": { "file_path": { "type": "string" } } },
        }],
        "messages": messages(conversation),
    })
}

fn messages(conversation: &Conversation) -> Vec<Value> {
    let mut messages =
        vec![user(&[text("<available-deferred-tools>\nWebSearch\n</available-deferred-tools>")])];
    for (turn, is_first) in conversation.turns() {
        let mut parts = Vec::new();
        if is_first {
            parts.push(text(&reminder(&format!("# claudeMd\nToday's date is {}.", current_time(0)))));
        }
        parts.push(text(&turn.prompt));
        messages.push(user(&parts));
        for step in turn.steps() {
            let id = format!("toolu_{step}");
            let signature = sealed(&conversation.cluster);
            messages.push(json!({ "role": "assistant", "content": [
                { "type": "thinking", "thinking": "I read the next file.", "signature": signature },
                { "type": "text", "text": format!("I read file {step}.") },
                { "type": "tool_use", "id": id, "name": "Read", "input": { "file_path": format!("/repo/{step}.rs") } },
            ] }));
            let lines = json!([{ "type": "text", "text": format!("1\tfn number_{step}() {{}}") }]);
            messages.push(user(&[
                json!({ "type": "tool_result", "tool_use_id": id, "content": lines }),
                text(&reminder(&format!("The todo list is empty. It is {}.", current_time(step)))),
            ]));
        }
        if turn.steps > 0 && conversation.turns.len() > 1 {
            messages.push(json!({ "role": "assistant", "content": [text("Done.")] }));
        }
    }
    // The last message is where the provider's prompt cache ends.
    if let Some(part) = messages.last_mut().and_then(|last| last["content"].as_array_mut()?.last_mut()) {
        part["cache_control"] = json!({ "type": "ephemeral" });
    }
    messages
}

fn user(parts: &[Value]) -> Value {
    json!({ "role": "user", "content": parts })
}

fn text(text: &str) -> Value {
    json!({ "type": "text", "text": text })
}

fn reminder(text: &str) -> String {
    format!("<system-reminder>\n{text}\n</system-reminder>\n")
}
