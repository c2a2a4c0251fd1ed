//! Requests of coding agents' loops, in the formats of their harnesses, with our own texts.
//!
//! Each step of a loop resends the conversation with one more call of a tool and its result, and with a system prompt that
//! differs from the last one. The harness adds text around the human's words: reminders, the environment, the date.

mod claude_code;
mod cline;
mod codex;
mod copilot;
mod cursor;
mod opencode;
mod qwen_code;
mod roo_code;

use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;

use crate::client::Request;

/// A conversation between a human and an agent.
#[derive(Debug, Clone)]
pub struct Conversation {
    /// Unique, as a UUID.
    id: String,
    /// The cluster of the model that responded last, and that made the reasoning that the client sends back.
    cluster: String,
    turns: Vec<Turn>,
}

/// The human's messages, and the agent's steps after each of them.
#[derive(Debug, Clone)]
struct Turn {
    prompt: String,
    /// Calls of tools that have their results.
    steps: usize,
}

impl Conversation {
    /// A new one.
    #[must_use]
    pub fn new(prompt: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let id = format!("0a1b2c3d-0000-4000-8000-{:012}", NUMBER.fetch_add(1, Ordering::Relaxed));
        Self { id, cluster: String::new(), turns: Vec::new() }.ask(prompt)
    }

    /// The human sends another message.
    #[must_use]
    pub fn ask(mut self, prompt: &str) -> Self {
        self.turns.push(Turn { prompt: prompt.to_owned(), steps: 0 });
        self
    }

    /// The model of this cluster makes the agent call a tool, which returns a result.
    #[must_use]
    pub fn step(mut self, cluster: &str) -> Self {
        cluster.clone_into(&mut self.cluster);
        if let Some(turn) = self.turns.last_mut() {
            turn.steps += 1;
        }
        self
    }

    /// Another number for each request of the conversation.
    fn request_number(&self) -> usize {
        self.turns.iter().map(|turn| turn.steps + 1).sum()
    }

    /// All turns, and whether it is the first.
    fn turns(&self) -> impl Iterator<Item = (&Turn, bool)> {
        self.turns.iter().enumerate().map(|(index, turn)| (turn, index == 0))
    }
}

impl Turn {
    /// Its steps, with the numbers of their calls within the conversation.
    fn steps(&self) -> impl Iterator<Item = usize> {
        0..self.steps
    }
}

/// A coding agent.
#[derive(Debug, Clone, Copy)]
pub struct Agent {
    /// Its name.
    pub name: &'static str,
    /// Whether it speaks Anthropic's API.
    pub speaks_anthropic: bool,
    /// Whether its requests name the conversation. The others are known by how they begin.
    pub names_conversation: bool,
    /// Whether it sends the model's reasoning back, which only this model can read.
    pub keeps_reasoning: bool,
    path: &'static str,
    headers: fn(&Conversation) -> Vec<(&'static str, String)>,
    body: fn(&Conversation) -> Value,
}

/// The agents whose shapes are known.
pub const AGENTS: [Agent; 11] = [
    claude_code::AGENT,
    claude_code::OLDER_AGENT,
    codex::AGENT,
    codex::OLDER_AGENT,
    cline::AGENT,
    cline::XML_AGENT,
    roo_code::AGENT,
    opencode::AGENT,
    copilot::AGENT,
    cursor::AGENT,
    qwen_code::AGENT,
];

impl Agent {
    /// The agent's next request in the conversation.
    pub fn request(&self, conversation: &Conversation) -> Request {
        let request = Request::post(self.path, (self.body)(conversation));
        let request = (self.headers)(conversation)
            .iter()
            .fold(request, |request, (name, value)| request.header(name, value));
        // All of them stream. The LLM need not take its time.
        request.hold().open();
        request
    }
}

/// What changes from request to request, as harnesses put it into their texts.
fn current_time(number: usize) -> String {
    format!("2026-03-02T10:{:02}:{:02}.000Z", number / 60 % 60, number % 60)
}
