//! Chooses what of a conversation a classifier reads: the last user message, then the system prompt, then the rest.

use serde::Serialize;

use super::turn::{Role, Turn};
use crate::json::{self, RawString};

/// Stands where the middle of a long text was left out.
const CUT: &str = "\n…\n";

/// The text to classify, bounded in bytes, most important first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TextToClassify {
    excerpts: Vec<Excerpt>,
}

/// What is read of one turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excerpt {
    /// Who speaks.
    pub role: Role,
    /// Its text; head and tail, if the whole was too long.
    pub text: String,
    /// The turn's place in the conversation.
    turn: usize,
}

impl TextToClassify {
    /// Whether there is nothing to classify: no text, or only white space.
    pub fn is_empty(&self) -> bool {
        self.excerpts.is_empty()
    }

    /// The excerpts, most important first.
    pub fn excerpts(&self) -> &[Excerpt] {
        &self.excerpts
    }

    /// The excerpts as one text, most important first: what a classifier tokenizes.
    pub fn to_prompt(&self) -> String {
        let texts: Vec<_> = self.excerpts.iter().map(|excerpt| excerpt.text.as_str()).collect();
        texts.join("\n\n")
    }

    /// The excerpts as a small chat completions body, in the conversation's order: what the sidecar is sent. Parsing
    /// it again, and selecting of it with a limit that it fits into, gives the same text.
    pub fn to_body(&self) -> Vec<u8> {
        let mut excerpts: Vec<_> = self.excerpts.iter().collect();
        excerpts.sort_unstable_by_key(|excerpt| excerpt.turn);
        let messages = excerpts
            .into_iter()
            .map(|excerpt| Message { role: excerpt.role.as_str(), content: &excerpt.text })
            .collect();
        // Strings always serialize; an empty body would be an answer without scores.
        serde_json::to_vec(&Body { messages }).unwrap_or_default()
    }
}

#[derive(Serialize)]
struct Body<'a> {
    messages: Vec<Message<'a>>,
}

#[derive(Serialize)]
struct Message<'a> {
    role: &'a str,
    content: &'a str,
}

/// The last user message that says something first, then system prompts in order, then the other turns from the last to
/// the first.
pub(super) fn select(turns: &[Turn<'_>], limit: usize) -> TextToClassify {
    let mut selection = Selection { left: limit, excerpts: Vec::new() };
    let numbered = || turns.iter().enumerate();
    let users = numbered().rev().filter(|(_, turn)| turn.role == Role::User);
    let last_user = users.map(|(index, turn)| (index, selection.take(index, turn))).find(|(_, taken)| *taken);
    for (index, turn) in numbered().filter(|(_, turn)| turn.role == Role::System) {
        selection.take(index, turn);
    }
    let last_user = last_user.map(|(index, _)| index);
    for (index, turn) in numbered().rev().filter(|(_, turn)| turn.role != Role::System) {
        if selection.is_full() {
            break;
        }
        if Some(index) != last_user {
            selection.take(index, turn);
        }
    }
    TextToClassify { excerpts: selection.excerpts }
}

/// What is selected so far, and how many bytes may follow.
struct Selection {
    left: usize,
    excerpts: Vec<Excerpt>,
}

impl Selection {
    fn is_full(&self) -> bool {
        self.left <= CUT.len()
    }

    /// Takes what fits of a turn, if that says something.
    fn take(&mut self, index: usize, turn: &Turn<'_>) -> bool {
        let texts = turn.content.texts();
        if self.is_full() || texts.iter().all(|text| text.is_blank()) {
            return false;
        }
        let written = texts.iter().map(|text| text.written()).sum();
        let text = excerpt(texts, written, self.left);
        self.left = self.left.saturating_sub(written);
        self.excerpts.push(Excerpt { role: turn.role, text, turn: index });
        true
    }
}

/// The texts joined by line ends if what is written of them fits into `limit` bytes, else their head and tail.
fn excerpt(texts: &[RawString<'_>], written: usize, limit: usize) -> String {
    if written <= limit {
        let texts: Vec<_> = texts.iter().map(|text| text.text()).collect();
        return texts.join("\n");
    }
    let limit = limit.saturating_sub(CUT.len());
    let head = take(texts.iter(), limit / 2, json::head);
    let mut tail = take(texts.iter().rev(), limit - limit / 2, json::tail);
    tail.reverse();
    format!("{}{CUT}{}", head.join("\n"), tail.join("\n"))
}

/// Windows of the texts in turn, until about `limit` bytes are taken.
fn take<'t, 'a: 't>(
    texts: impl Iterator<Item = &'t RawString<'a>>,
    limit: usize,
    window: fn(RawString<'_>, usize) -> String,
) -> Vec<String> {
    let mut left = limit;
    let mut taken = Vec::new();
    for text in texts {
        if left == 0 {
            break;
        }
        taken.push(window(*text, left));
        left = left.saturating_sub(text.written());
    }
    taken
}
