//! The mock model's output. It depends on the request alone, so that a test can predict it.
//!
//! - A tool that `tool_choice` names or requires is called.
//! - Asked by the user to "Call NAME", or to "Call NAME 3 times", the model calls this tool until it has this number of results.
//! - Asked for JSON by a schema, it writes the smallest instance.
//! - Otherwise it says which cluster it is.

use serde_json::Value;

use super::schema;

/// What the model writes.
#[derive(Debug)]
pub(super) enum Output {
    /// Text, in the pieces of a stream.
    Text(Vec<String>),
    /// A call of one of the request's tools.
    Call(Call),
}

/// A call of a tool.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) id: String,
    pub(super) name: String,
    /// Valid for the tool's schema.
    pub(super) arguments: Value,
}

impl Call {
    /// The arguments in the pieces of a stream.
    pub(super) fn pieces(&self) -> [String; 2] {
        halves(&self.arguments.to_string())
    }
}

impl Output {
    pub(super) fn from_request(request: &Value, cluster: &str) -> Self {
        let (tools, history) = (tools(request), History::from_request(request));
        let forced = forced_tool(request, &tools);
        if let Some(tool) = forced.or_else(|| tools.iter().find(|tool| history.wants(&tool.name))) {
            return Self::Call(Call {
                id: format!("call_{cluster}_{}", history.results),
                name: tool.name.clone(),
                arguments: schema::instance(tool.schema),
            });
        }
        match wanted_schema(request) {
            Some(schema) => Self::Text(halves(&schema::instance(schema).to_string()).into()),
            None => Self::Text(["This ", "is ", cluster, "."].map(str::to_owned).into()),
        }
    }
}

struct Tool<'a> {
    name: String,
    schema: &'a Value,
}

fn tools(request: &Value) -> Vec<Tool<'_>> {
    let tool = |tool: &'_ Value| -> Option<(String, &'_ str)> {
        let name = [&tool["function"]["name"], &tool["name"]].into_iter().find_map(Value::as_str)?;
        let schema = ["/function/parameters", "/parameters", "/input_schema"];
        Some((name.to_owned(), schema.into_iter().find(|path| tool.pointer(path).is_some())?))
    };
    let all = request["tools"].as_array().map(Vec::as_slice).unwrap_or_default();
    all.iter()
        .filter_map(|it| {
            let (name, schema) = tool(it)?;
            Some(Tool { name, schema: it.pointer(schema)? })
        })
        .collect()
}

fn forced_tool<'a, 'b>(request: &Value, tools: &'a [Tool<'b>]) -> Option<&'a Tool<'b>> {
    let choice = &request["tool_choice"];
    if choice == "required" || choice["type"] == "any" {
        return tools.first();
    }
    let name = [&choice["function"]["name"], &choice["name"]].into_iter().find_map(Value::as_str)?;
    tools.iter().find(|tool| tool.name == name)
}

/// The schema that the text must have, wherever the APIs put it.
fn wanted_schema(request: &Value) -> Option<&Value> {
    let formats = [
        "/response_format/json_schema/schema",
        "/text/format/schema",
        "/output_config/format/schema",
        "/output_format/schema",
    ];
    formats.into_iter().find_map(|path| request.pointer(path))
}

/// The tool calls that the conversation requests, and the results so far.
#[derive(Debug, Default)]
struct History {
    /// The tool that the user wants called last, and how often.
    wanted: Option<(String, usize)>,
    /// Results of tools since then.
    done: usize,
    /// Results of tools in all.
    results: usize,
}

impl History {
    fn from_request(request: &Value) -> Self {
        let mut history = Self::default();
        for field in ["messages", "input"] {
            match &request[field] {
                Value::String(text) => history.add_text(text),
                Value::Array(items) => items.iter().for_each(|item| history.add_item(item)),
                _ => {}
            }
        }
        history
    }

    fn add_item(&mut self, item: &Value) {
        let is_output = item["type"].as_str().is_some_and(|kind| kind.ends_with("_call_output"));
        if item["role"] == "tool" || is_output {
            self.add_result();
        } else if item["role"] == "user" {
            match &item["content"] {
                Value::String(text) => self.add_text(text),
                Value::Array(parts) => parts.iter().for_each(|part| self.add_part(part)),
                _ => {}
            }
        }
    }

    fn add_part(&mut self, part: &Value) {
        match part["text"].as_str() {
            Some(text) => self.add_text(text),
            None if part["type"] == "tool_result" => self.add_result(),
            None => {}
        }
    }

    fn add_result(&mut self) {
        self.done += 1;
        self.results += 1;
    }

    fn add_text(&mut self, text: &str) {
        let Some((_, order)) = text.split_once("Call ") else { return };
        let mut words = order.split_whitespace().map(|word| word.trim_end_matches(['.', ',']));
        let Some(name) = words.next() else { return };
        let times =
            words.next().and_then(|number| number.parse().ok()).filter(|_| words.next() == Some("times"));
        (self.wanted, self.done) = (Some((name.to_owned(), times.unwrap_or(1))), 0);
    }

    fn wants(&self, tool: &str) -> bool {
        self.wanted.as_ref().is_some_and(|(name, times)| name == tool && self.done < *times)
    }
}

fn halves(text: &str) -> [String; 2] {
    let mut characters = text.chars();
    let first = characters.by_ref().take(text.chars().count() / 2).collect();
    [first, characters.collect()]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn text(request: &Value) -> Option<String> {
        match Output::from_request(request, "llm") {
            Output::Text(pieces) => Some(pieces.concat()),
            Output::Call(_) => None,
        }
    }

    fn call(request: &Value) -> Option<(String, Value)> {
        match Output::from_request(request, "llm") {
            Output::Text(_) => None,
            Output::Call(call) => Some((call.name, call.arguments)),
        }
    }

    #[test]
    fn a_tool_is_called_as_often_as_the_user_wants() {
        let parameters = json!({ "type": "object", "properties": { "path": { "type": "string" } } });
        let tools = json!([{ "type": "function", "function": { "name": "read", "parameters": parameters } }]);
        let mut messages = vec![json!({ "role": "user", "content": "Call read 2 times. Then stop." })];
        for _ in 0..2 {
            let request = json!({ "messages": messages, "tools": tools });
            assert_eq!(call(&request), Some(("read".to_owned(), json!({ "path": "text" }))));
            messages.push(json!({ "role": "tool", "content": "done" }));
        }
        assert_eq!(text(&json!({ "messages": messages, "tools": tools })).as_deref(), Some("This is llm."));
        messages.push(json!({ "role": "user", "content": "Call read, please" }));
        assert!(call(&json!({ "messages": messages, "tools": tools })).is_some());
        assert_eq!(call(&json!({ "messages": messages })), None);
    }

    #[test]
    fn results_count_in_every_api() {
        let anthropic = json!({
            "tools": [{ "name": "read", "input_schema": { "type": "object" } }],
            "messages": [
                { "role": "user", "content": [{ "type": "text", "text": "Call read" }] },
                { "role": "user", "content": [{ "type": "tool_result", "content": "x" }] },
            ],
        });
        let responses = json!({
            "tools": [{ "type": "function", "name": "read", "parameters": {} }],
            "input": [{ "role": "user", "content": "Call read" }, { "type": "function_call_output" }],
        });
        for mut request in [anthropic, responses] {
            assert!(text(&request).is_some(), "{request}");
            let field = if request["input"].is_array() { "input" } else { "messages" };
            request[field].as_array_mut().unwrap().pop();
            assert!(call(&request).is_some(), "{request}");
        }
    }

    #[test]
    fn a_tool_that_the_request_forces_is_called() {
        let tools = json!([
            { "type": "function", "name": "read", "parameters": {} },
            { "type": "function", "name": "write", "parameters": {} },
        ]);
        for (choice, name) in [
            (json!("required"), "read"),
            (json!({ "type": "any" }), "read"),
            (json!({ "type": "function", "name": "write" }), "write"),
            (json!({ "type": "function", "function": { "name": "write" } }), "write"),
        ] {
            let request = json!({ "input": "Hi", "tools": tools, "tool_choice": choice });
            assert_eq!(call(&request).map(|(name, _)| name).as_deref(), Some(name), "{choice}");
        }
    }

    #[test]
    fn text_is_of_the_schema_that_the_request_has() {
        let schema = json!({ "type": "object", "properties": { "city": { "type": "string" } } });
        for request in [
            json!({ "response_format": { "type": "json_schema", "json_schema": { "schema": schema } } }),
            json!({ "text": { "format": { "type": "json_schema", "schema": schema } } }),
            json!({ "output_config": { "format": { "type": "json_schema", "schema": schema } } }),
        ] {
            assert_eq!(text(&request).as_deref(), Some("{\"city\":\"text\"}"), "{request}");
        }
    }
}
