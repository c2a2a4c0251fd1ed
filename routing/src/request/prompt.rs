//! The text of a request to classify: the user's last message, with up to two earlier ones as context.

use super::harness::{self, Harness};
use super::turn::{Role, Turn};
use crate::digest::Digest;
use crate::json::RawString;

/// Marks where the middle of a long text was left out.
const CUT: &[u8] = r"\n…\n".as_bytes();

/// Separates the parts of a content.
const LINE_END: &[u8] = br"\n";

/// The maximum bytes of one message of context: enough to know its topic.
const CONTEXT_BYTES: usize = 2 << 10;

/// How prompts are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PromptSettings {
    /// The maximum bytes of a prompt with its context.
    pub limit: usize,
    /// The number of earlier user messages in its context, 0 to [`PromptSettings::MAX_CONTEXT`].
    pub context: usize,
    /// How the user's words are found.
    pub harness: Harness,
}

impl PromptSettings {
    /// The maximum number of earlier messages in the context.
    pub const MAX_CONTEXT: usize = 2;

    /// The settings for clients' requests without a policy.
    pub fn of_known_agents(limit: usize) -> Self {
        Self { limit, context: Self::MAX_CONTEXT, harness: Harness::of_known_agents() }
    }

    /// The settings for requests of the filter, which has already removed the text of harnesses.
    pub fn as_sent(limit: usize) -> Self {
        Self { limit, context: Self::MAX_CONTEXT, harness: Harness::default() }
    }
}

/// The text to classify, bounded in bytes. Its texts keep their JSON encoding, and are unescaped only when they are read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prompt {
    /// Head and tail, if the whole was too long.
    text: Vec<u8>,
    /// Earlier user messages, oldest first.
    context: Vec<Vec<u8>>,
}

impl Prompt {
    /// Whether there is nothing to classify: no text, or only white space.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// The user's last message. Invalid text becomes replacement characters.
    pub fn text(&self) -> String {
        RawString::new(&self.text).text()
    }

    /// Up to two user messages before it, oldest first.
    pub fn context(&self) -> impl Iterator<Item = String> {
        self.context.iter().map(|text| RawString::new(text).text())
    }

    /// The digest of its JSON encoding: the same text can have several encodings.
    pub fn digest(&self) -> Digest {
        let texts: Vec<_> = self.context.iter().chain([&self.text]).map(Vec::as_slice).collect();
        Digest::of(&texts)
    }

    /// The prompt as a small chat completions body with user messages only, the prompt's last, for the sidecar. Its
    /// strings are as well formed as the client's.
    pub fn to_body(&self) -> Vec<u8> {
        let mut parts: Vec<&[u8]> = vec![br#"{"messages":["#];
        for (index, text) in self.context.iter().chain([&self.text]).enumerate() {
            let start: &[u8] =
                if index == 0 { br#"{"role":"user","content":""# } else { br#",{"role":"user","content":""# };
            parts.extend([start, text, br#""}"#]);
        }
        parts.push(b"]}");
        parts.concat()
    }
}

/// The messages of a conversation with text of the user.
#[derive(Debug)]
pub struct HumanTurns<'r, 'a> {
    settings: &'r PromptSettings,
    /// Oldest first, each with its position among all turns.
    turns: Vec<(usize, Vec<RawString<'a>>)>,
}

impl<'r, 'a> HumanTurns<'r, 'a> {
    /// All of them.
    pub(super) fn all(turns: &'r [Turn<'a>], settings: &'r PromptSettings) -> Self {
        let mut found: Vec<_> = human(turns, settings).collect();
        found.reverse();
        Self::or_other(found, turns, settings)
    }

    /// The last of them, with its context.
    pub(super) fn last(turns: &'r [Turn<'a>], settings: &'r PromptSettings) -> Self {
        let mut found: Vec<_> = human(turns, settings).take(1 + settings.context).collect();
        found.reverse();
        Self::or_other(found, turns, settings)
    }

    /// Where no message is clearly the user's, the last user message is used unchanged, else the system prompt, else the
    /// last message of any role: a client must not escape classification by imitating a harness, or by a role that only
    /// its LLM knows.
    fn or_other(
        mut found: Vec<(usize, Vec<RawString<'a>>)>,
        turns: &[Turn<'a>],
        settings: &'r PromptSettings,
    ) -> Self {
        for role in [Role::User, Role::System, Role::Other] {
            if found.is_empty() {
                found.extend(said_by(role, turns).next());
            }
        }
        Self { settings, turns: found }
    }

    /// Their number.
    pub fn len(&self) -> usize {
        self.turns.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.turns.is_empty()
    }

    /// The number of them before this position among all turns.
    pub fn before(&self, position: usize) -> usize {
        self.turns.iter().take_while(|(turn, _)| *turn < position).count()
    }

    /// The prompt with one of them, by its index, as the message to classify.
    pub fn prompt(&self, index: usize) -> Prompt {
        let limit = self.settings.limit;
        let Some((_, texts)) = self.turns.get(index) else { return Prompt::default() };
        let text = excerpt(texts, limit);
        let mut left = limit.saturating_sub(text.len());
        let earlier = index.saturating_sub(self.settings.context)..index;
        let mut context = Vec::new();
        for (_, texts) in self.turns.get(earlier).unwrap_or_default().iter().rev() {
            let room = left.min(CONTEXT_BYTES);
            if room <= CUT.len() {
                break;
            }
            let text = excerpt(texts, room);
            left = left.saturating_sub(text.len());
            context.push(text);
        }
        context.reverse();
        Prompt { text, context }
    }
}

/// The user's messages, from the last to the first.
fn human<'t, 'a>(
    turns: &'t [Turn<'a>],
    settings: &'t PromptSettings,
) -> impl Iterator<Item = (usize, Vec<RawString<'a>>)> + use<'t, 'a> {
    let users = turns.iter().enumerate().rev().filter(|(_, turn)| turn.role == Role::User);
    let reader = harness::Reader::new(&settings.harness);
    let texts = users.map(move |(index, turn)| (index, reader.human_texts(turn.content.texts())));
    texts.filter(|(_, texts)| !texts.is_empty())
}

/// The messages of a role that have text, from the last to the first.
fn said_by<'t, 'a>(
    role: Role,
    turns: &'t [Turn<'a>],
) -> impl Iterator<Item = (usize, Vec<RawString<'a>>)> + use<'t, 'a> {
    let turns = turns.iter().enumerate().rev().filter(move |(_, turn)| turn.role == role);
    turns
        .map(|(index, turn)| (index, harness::said(turn.content.texts())))
        .filter(|(_, texts)| !texts.is_empty())
}

/// The texts joined by line ends if their JSON encoding fits into `limit` bytes, else their head and tail.
fn excerpt(texts: &[RawString<'_>], limit: usize) -> Vec<u8> {
    let written: usize = texts.iter().map(|text| text.written()).sum();
    if written <= limit {
        return join(texts.iter().copied());
    }
    let limit = limit.saturating_sub(CUT.len());
    let head = take(texts.iter(), limit / 2, RawString::head);
    let tail = take(texts.iter().rev(), limit - limit / 2, RawString::tail);
    let excerpt = [&join(head.into_iter()), CUT, &join(tail.into_iter().rev())].concat();
    // A window can be all white space. Readers of the excerpt expect it to be trimmed.
    RawString::new(&excerpt).trim().inner().to_vec()
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
