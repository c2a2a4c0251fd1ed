//! Cline: chat completions. Tools are called in the text, with results in user messages, or as the API has them.

use serde_json::{Value, json};

use super::{Agent, Conversation, current_time};

pub(super) const AGENT: Agent = Agent {
    name: "Cline",
    speaks_anthropic: false,
    names_conversation: false,
    keeps_reasoning: false,
    path: "/v1/chat/completions",
    headers: |_| vec![("user-agent", "Cline/4.2.0".to_owned())],
    body: |conversation| {
        let mut body = body(conversation, native_turns(conversation));
        body["tools"] = json!([read_file()]);
        body
    },
};

pub(super) const XML_AGENT: Agent = Agent {
    name: "Cline, tools in the text",
    body: |conversation| body(conversation, xml_turns(conversation)),
    ..AGENT
};

fn body(conversation: &Conversation, turns: Vec<Value>) -> Value {
    let now = current_time(conversation.request_number());
    let system =
        json!({ "role": "system", "content": format!("You are a software engineer.\nSystem time: {now}") });
    let messages: Vec<_> = [system].into_iter().chain(turns).collect();
    json!({
        "model": "auto", "temperature": 0, "stream": true, "stream_options": { "include_usage": true },
        "messages": messages,
    })
}

fn xml_turns(conversation: &Conversation) -> Vec<Value> {
    let mut messages = Vec::new();
    for (turn, is_first) in conversation.turns() {
        messages.push(if is_first { task(&turn.prompt) } else { feedback(&turn.prompt) });
        for step in turn.steps() {
            let call = format!("<read_file>\n<path>src/{step}.rs</path>\n</read_file>");
            messages.push(json!({ "role": "assistant", "content": format!("I read it.\n{call}") }));
            messages.push(user(&[
                &format!("[read_file for 'src/{step}.rs'] Result:"),
                &format!("fn number_{step}() {{}}"),
                &environment(step),
            ]));
        }
        if turn.steps > 0 && conversation.turns.len() > 1 {
            let done = "<attempt_completion>\n<result>\nDone.\n</result>\n</attempt_completion>";
            messages.push(json!({ "role": "assistant", "content": done }));
        }
    }
    messages
}

fn native_turns(conversation: &Conversation) -> Vec<Value> {
    let mut messages = Vec::new();
    for (turn, is_first) in conversation.turns() {
        messages.push(if is_first { task(&turn.prompt) } else { feedback(&turn.prompt) });
        for step in turn.steps() {
            messages.extend(native_step(step));
            messages.push(user(&[&environment(step)]));
        }
    }
    messages
}

/// A call of [`read_file`] and its result.
pub(super) fn native_step(step: usize) -> [Value; 2] {
    let id = format!("call_{step}");
    let arguments = json!({ "path": format!("src/{step}.rs") }).to_string();
    let function = json!({ "name": "read_file", "arguments": arguments });
    [
        json!({
            "role": "assistant", "content": null,
            "tool_calls": [{ "id": id, "type": "function", "function": function }],
        }),
        json!({ "role": "tool", "tool_call_id": id, "content": format!("fn number_{step}() {{}}") }),
    ]
}

pub(super) fn read_file() -> Value {
    let parameters =
        json!({ "type": "object", "properties": { "path": { "type": "string" } }, "required": ["path"] });
    json!({ "type": "function", "function": { "name": "read_file", "parameters": parameters } })
}

fn task(prompt: &str) -> Value {
    user(&[
        &format!("<task>\n{prompt}\n</task>"),
        "# task_progress RECOMMENDED\n\nKeep a list.",
        &environment(0),
    ])
}

fn feedback(prompt: &str) -> Value {
    user(&[
        &format!(
            "[attempt_completion] Result:\nThe user has provided feedback on the results. Continue the task.\n\
             <feedback>\n{prompt}\n</feedback>"
        ),
        &environment(0),
    ])
}

/// A message of the user, of these parts.
pub(super) fn user(texts: &[&str]) -> Value {
    let parts: Vec<_> = texts.iter().map(|text| json!({ "type": "text", "text": text })).collect();
    json!({ "role": "user", "content": parts })
}

fn environment(step: usize) -> String {
    let now = current_time(step);
    format!(
        "<environment_details>\n# Visible Files\nsrc/{step}.rs\n\n# Current Time\n{now}\n\n# Context Window Usage\n\
         {step}% used\n</environment_details>"
    )
}
