//! Chooses what of a conversation a classifier reads: the last user message, then the system prompt, then the rest.

use super::turn::{Role, Turn};
use crate::json::RawString;

/// Stands where the middle of a long text was left out, as it is written.
const CUT: &[u8] = r"\n…\n".as_bytes();

/// Stands between the parts of a content, as it is written.
const LINE_END: &[u8] = br"\n";

/// The text to classify, bounded in bytes, most important first. It is kept as it is written in the body: only who
/// reads it unescapes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TextToClassify {
    excerpts: Vec<Excerpt>,
}

/// What is read of one turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excerpt {
    /// Who speaks.
    pub role: Role,
    /// Head and tail, if the whole was too long.
    written: Vec<u8>,
    /// The turn's place in the conversation.
    turn: usize,
}

impl Excerpt {
    /// Its text. What no text can hold becomes replacement characters.
    pub fn text(&self) -> String {
        RawString::new(&self.written).text()
    }

    /// Its text as it is written: the same text can be written otherwise.
    pub(crate) fn written(&self) -> &[u8] {
        &self.written
    }
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

    /// What a classifier reads: the most important excerpt.
    pub fn prompt(&self) -> Option<String> {
        self.excerpts.first().map(Excerpt::text)
    }

    /// The excerpts as one text, most important first.
    pub fn to_prompt(&self) -> String {
        let texts: Vec<_> = self.excerpts.iter().map(Excerpt::text).collect();
        texts.join("\n\n")
    }

    /// The excerpts as a small chat completions body, in the conversation's order: what the sidecar is sent. Parsing
    /// it again, and selecting of it with a limit that it fits into, gives the same text. Its strings are as well
    /// formed as the client's.
    pub fn to_body(&self) -> Vec<u8> {
        let mut excerpts: Vec<_> = self.excerpts.iter().collect();
        excerpts.sort_unstable_by_key(|excerpt| excerpt.turn);
        let mut parts: Vec<&[u8]> = vec![br#"{"messages":["#];
        for (index, Excerpt { role, written, .. }) in excerpts.into_iter().enumerate() {
            let start: &[u8] = if index == 0 { br#"{"role":""# } else { br#",{"role":""# };
            parts.extend([start, role.as_str().as_bytes(), br#"","content":""#, written, br#""}"#]);
        }
        parts.push(b"]}");
        parts.concat()
    }
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
        let excerpt = excerpt(texts, written, self.left);
        self.left = self.left.saturating_sub(written);
        self.excerpts.push(Excerpt { role: turn.role, written: excerpt, turn: index });
        true
    }
}

/// The texts joined by line ends if what is written of them fits into `limit` bytes, else their head and tail.
fn excerpt(texts: &[RawString<'_>], written: usize, limit: usize) -> Vec<u8> {
    if written <= limit {
        return join(texts.iter().copied());
    }
    let limit = limit.saturating_sub(CUT.len());
    let head = take(texts.iter(), limit / 2, RawString::head);
    let tail = take(texts.iter().rev(), limit - limit / 2, RawString::tail);
    [&join(head.into_iter()), CUT, &join(tail.into_iter().rev())].concat()
}

fn join<'a>(texts: impl Iterator<Item = RawString<'a>>) -> Vec<u8> {
    let texts: Vec<_> = texts.map(RawString::inner).collect();
    texts.join(LINE_END)
}

/// Windows of the texts in turn, until about `limit` bytes are taken.
fn take<'t, 'a: 't>(
    texts: impl Iterator<Item = &'t RawString<'a>>,
    limit: usize,
    window: fn(RawString<'a>, usize) -> RawString<'a>,
) -> Vec<RawString<'a>> {
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
