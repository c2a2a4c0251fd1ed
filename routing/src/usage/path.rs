//! The position of the scanner in a response's JSON, and the meaning of the value there.

/// The path from the top of the JSON to the current position.
#[derive(Debug)]
pub(super) struct Path {
    steps: [Step; TRACKED],
    /// Objects and arrays that are open.
    depth: usize,
}

/// The depth of the deepest value of interest. Below it, only the depth is counted.
const TRACKED: usize = 4;

/// A place in one object or array.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// An array's item.
    Item,
    /// In an object, before a key.
    Key,
    /// An object's member.
    Member(Name),
}

/// A member's key, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name {
    Choices,
    Delta,
    Id,
    Message,
    Response,
    Text,
    Timings,
    Usage,
    XGroq,
    /// In a delta: the server's information about the text, not the model's output.
    About,
    Other,
}

use Name::{About, Choices, Delta, Id, Message, Response, Text, Timings, Usage, XGroq};
use Step::{Item, Member};

impl Name {
    pub(super) const LONGEST: usize = "stop_sequence".len();

    /// Reads a key in its JSON encoding: no server escapes the letters of these.
    pub(super) fn of(key: &[u8]) -> Self {
        match key {
            b"choices" => Choices,
            b"delta" => Delta,
            b"id" => Id,
            b"message" => Message,
            b"response" => Response,
            b"text" => Text,
            b"timings" => Timings,
            b"usage" => Usage,
            b"x_groq" => XGroq,
            b"role" | b"type" | b"stop_reason" | b"stop_sequence" => About,
            _ => Self::Other,
        }
    }
}

impl Path {
    /// The way to the top: none.
    pub(super) const fn top() -> Self {
        Self { steps: [Item; TRACKED], depth: 0 }
    }

    pub(super) fn open_object(&mut self) {
        self.open(Step::Key);
    }

    pub(super) fn open_array(&mut self) {
        self.open(Item);
    }

    fn open(&mut self, step: Step) {
        self.depth = self.depth.saturating_add(1);
        self.set(step);
    }

    pub(super) fn close(&mut self) {
        self.depth = self.depth.saturating_sub(1);
    }

    pub(super) fn enter(&mut self, name: Name) {
        self.set(Member(name));
    }

    /// Goes on after a comma.
    pub(super) fn next(&mut self) {
        if self.is_in_object() {
            self.set(Step::Key);
        }
    }

    pub(super) fn is_before_key(&self) -> bool {
        matches!(self.last(), Some(Step::Key))
    }

    /// Whether this is between an object's braces, in one that is near enough to the top to matter.
    pub(super) fn is_in_object(&self) -> bool {
        matches!(self.last(), Some(Member(_) | Step::Key))
    }

    /// Whether this is the usage of a body.
    pub(super) fn is_usage_of_body(&self) -> bool {
        matches!(self.steps(), [Member(Usage)])
    }

    /// Whether this is the usage of an event: of OpenAI's chunks and Anthropic's `message_delta`; of OpenAI's
    /// `response.completed` and similar ones; of Anthropic's `message_start`.
    pub(super) fn is_usage_of_event(&self) -> bool {
        matches!(self.steps(), [Member(Usage)] | [Member(Response | Message), Member(Usage)])
    }

    /// Whether this is a usage that counts only without OpenAI's own: of Moonshot's choices, of Groq's last chunk, or
    /// llama.cpp's timings.
    pub(super) fn is_other_usage(&self) -> bool {
        matches!(
            self.steps(),
            [Member(Choices), Item, Member(Usage)] | [Member(XGroq), Member(Usage)] | [Member(Timings)]
        )
    }

    /// Whether this is the id of a body.
    pub(super) fn is_id_of_body(&self) -> bool {
        matches!(self.steps(), [Member(Id)])
    }

    /// Whether this is the id of an event's response: of OpenAI's `response.created` and similar ones.
    pub(super) fn is_id_of_event(&self) -> bool {
        matches!(self.steps(), [Member(Response), Member(Id)])
    }

    /// Whether a string here is part of the model's output: OpenAI's `response.*.delta` events, Anthropic's
    /// `content_block_delta`, OpenAI's completions, and OpenAI's chats with their `content`, `tool_calls`, and
    /// what servers call the reasoning.
    pub(super) fn is_content(&self) -> bool {
        match self.steps() {
            [Member(Delta)] | [Member(Choices), Item, Member(Text)] => true,
            [Member(Delta), Member(name), ..] | [Member(Choices), Item, Member(Delta), Member(name)] => {
                *name != About
            }
            _ => false,
        }
    }

    fn steps(&self) -> &[Step] {
        self.steps.get(..self.depth).unwrap_or(&self.steps)
    }

    fn last(&self) -> Option<Step> {
        self.steps.get(self.depth.checked_sub(1)?).copied()
    }

    fn set(&mut self, step: Step) {
        if let Some(place) = self.depth.checked_sub(1).and_then(|at| self.steps.get_mut(at)) {
            *place = step;
        }
    }
}
