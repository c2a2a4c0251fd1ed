//! Codex: OpenAI's responses without stored state, with encrypted reasoning.

use llm_router_test_support::mock_llm::sealed;
use serde_json::{Value, json};

use super::{Agent, Conversation, current_time};

pub(super) const AGENT: Agent = Agent {
    name: "Codex",
    speaks_anthropic: false,
    names_conversation: true,
    keeps_reasoning: true,
    path: "/v1/responses",
    headers: |conversation| {
        vec![("session-id", conversation.id.clone()), ("thread-id", conversation.id.clone())]
    },
    body: |conversation| body(conversation, context_in_one_message()),
};

pub(super) const OLDER_AGENT: Agent = Agent {
    name: "Codex, older",
    headers: |conversation| vec![("session_id", conversation.id.clone())],
    body: |conversation| body(conversation, context_in_messages()),
    ..AGENT
};

fn body(conversation: &Conversation, context: Vec<Value>) -> Value {
    let permissions = "<permissions instructions>\nAsk before you write.\n</permissions instructions>";
    let developer = message("developer", &[permissions]);
    let input: Vec<_> = [developer].into_iter().chain(context).chain(items(conversation)).collect();
    let now = current_time(conversation.request_number());
    json!({
        "model": "auto",
        "instructions": format!("You are a coding agent.\nIt is {now}."),
        "input": input,
        "tools": [
            {
                "type": "function", "name": "shell", "strict": false,
                "parameters": { "type": "object", "properties": { "command": { "type": "string" } } },
            },
            { "type": "custom", "name": "apply_patch", "description": "Edits files." },
        ],
        "tool_choice": "auto",
        "parallel_tool_calls": false,
        "reasoning": { "effort": "medium", "summary": "auto" },
        "store": false,
        "stream": true,
        "include": ["reasoning.encrypted_content"],
        "prompt_cache_key": conversation.id,
    })
}

const INSTRUCTIONS: &str =
    "# AGENTS.md instructions for /repo\n\n<INSTRUCTIONS>\nWrite tests.\n</INSTRUCTIONS>";

fn environment(number: usize) -> String {
    let date = current_time(number);
    format!(
        "<environment_context>\n  <cwd>/repo</cwd>\n  <shell>bash</shell>\n  <current_date>{date}</current_date>\n\
         </environment_context>"
    )
}

fn context_in_one_message() -> Vec<Value> {
    vec![message("user", &[INSTRUCTIONS, &environment(0)])]
}

fn context_in_messages() -> Vec<Value> {
    vec![message("user", &[INSTRUCTIONS]), message("user", &[&environment(0)])]
}

fn items(conversation: &Conversation) -> Vec<Value> {
    let mut items = Vec::new();
    for (turn, _) in conversation.turns() {
        items.push(message("user", &[&turn.prompt]));
        for step in turn.steps() {
            let id = format!("call_{step}");
            items.push(json!({
                "type": "reasoning", "summary": [], "encrypted_content": sealed(&conversation.cluster),
            }));
            let output = json!({ "output": format!("line {step}\n"), "metadata": { "exit_code": 0 } });
            // Every third step edits a file.
            let (call, result) = if step % 3 == 2 {
                (
                    json!({ "type": "custom_tool_call", "name": "apply_patch", "input": "*** Begin Patch" }),
                    "custom_tool_call_output",
                )
            } else {
                (
                    json!({ "type": "function_call", "name": "shell", "arguments": "{\"command\":\"ls\"}" }),
                    "function_call_output",
                )
            };
            let mut call = call;
            call["call_id"] = json!(id);
            items.push(call);
            items.push(json!({ "type": result, "call_id": id, "output": output.to_string() }));
        }
        if turn.steps > 0 {
            // The harness mentions when the environment changes, in the middle of a turn too.
            items.push(message("user", &[&environment(turn.steps)]));
        }
    }
    items
}

fn message(role: &str, texts: &[&str]) -> Value {
    let parts: Vec<_> = texts.iter().map(|text| json!({ "type": "input_text", "text": text })).collect();
    json!({ "type": "message", "role": role, "content": parts })
}
