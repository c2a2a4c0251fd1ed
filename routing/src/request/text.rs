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
    /// it again, and selecting with twice the limit, gives the same text.
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

pub(super) fn select(turns: &[Turn<'_>], limit: usize) -> TextToClassify {
    let mut excerpts = Vec::new();
    let mut left = limit;
    for (index, turn) in by_importance(turns) {
        if left <= CUT.len() {
            break;
        }
        let texts = turn.content.texts();
        let written = texts.iter().map(|text| text.written()).sum();
        let text = excerpt(texts, written, left);
        if text.trim().is_empty() {
            continue;
        }
        left = left.saturating_sub(written);
        excerpts.push(Excerpt { role: turn.role, text, turn: index });
    }
    TextToClassify { excerpts }
}

/// The last user message first, then system prompts in order, then the other turns from the last to the first.
fn by_importance<'t, 'a>(turns: &'t [Turn<'a>]) -> impl Iterator<Item = (usize, &'t Turn<'a>)> {
    let last_user = turns.iter().rposition(|turn| turn.role == Role::User);
    let numbered = || turns.iter().enumerate();
    let first = numbered().filter(move |(index, _)| Some(*index) == last_user);
    let system = numbered().filter(|(_, turn)| turn.role == Role::System);
    let others =
        numbered().rev().filter(move |(index, turn)| Some(*index) != last_user && turn.role != Role::System);
    first.chain(system).chain(others)
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
