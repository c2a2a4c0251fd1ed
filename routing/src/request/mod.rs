//! The parts of a request's body that routing needs, found in one pass without building a JSON tree.

mod body;
mod content;
mod endpoint;
mod error;
mod harness;
mod head;
mod identity;
mod key;
mod members;
mod metadata;
mod options;
mod path;
mod prompt;
mod target;
mod turn;

use content::Content;
pub use endpoint::Endpoint;
pub use harness::Harness;
pub use head::RequestHead;
use identity::Identity;
pub use metadata::{Directives, METADATA_FIELD, ModelChoice};
pub use prompt::{HumanTurns, Prompt, PromptSettings};
pub use target::{Resource, Target};
pub use turn::Role;
use turn::Turn;

use crate::digest::Digest;

use crate::rejection::Rejection;
use crate::requirements::Requirements;
use crate::rewrite::Rewrite;

/// The parts of a request's body that routing reads; borrows from the bytes.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// The API that it speaks.
    pub endpoint: Endpoint,
    /// The body's `model`; none if it is missing or empty. Of several, the last, as most JSON parsers have it.
    pub model: Option<String>,
    /// The routing metadata of NVIDIA's blueprint, if it is there.
    pub directives: Option<Directives>,
    /// What the model must support.
    pub needs: Requirements,
    /// Estimated tokens of the prompt.
    pub prompt_tokens: u64,
    /// Estimated maximum tokens of the prompt and of all its completions.
    pub estimated_tokens: u64,
    /// The error in the prompt's field. It matters only if the prompt is read.
    pub prompt_error: Option<Rejection>,
    identity: Identity,
    turns: Vec<Turn<'a>>,
    rewrite: Rewrite,
}

impl<'a> Request<'a> {
    /// Parses a body.
    ///
    /// # Errors
    /// A 400 that names the invalid field: the body is not a JSON object, or the model or the metadata is of the wrong type.
    /// All other fields are left to the LLM, except for [`Request::prompt_error`].
    pub fn parse(endpoint: Endpoint, body: &'a [u8]) -> Result<Self, Rejection> {
        body::parse(endpoint, body)
    }

    /// The names of the members that routing reads at an endpoint. An LLM gets at most one member of each name, and none with a
    /// name that differs from these in case only.
    pub fn known_members(endpoint: Endpoint) -> impl Iterator<Item = &'static str> {
        body::known_members(endpoint)
    }

    /// Whether an LLM may read the user's last message, but routing cannot: it has only token numbers, embeddings, images, files or
    /// parts of unknown types.
    pub fn is_unreadable(&self) -> bool {
        let users = self.turns.iter().rev().filter(|turn| turn.role == Role::User);
        let mut decisive = users.map(|turn| &turn.content).filter(|it| it.has_text() || it.has_unread);
        if let Some(last) = decisive.next() {
            return !last.has_text();
        }
        // A request that continues another one can consist of tool results only.
        let continues = self.previous_response().or(self.provider_conversation()).is_some();
        let is_unread =
            |content: &Content<'_>| content.has_unread || content.has_images || content.other_bytes > 0;
        let mut contents = self.turns.iter().map(|turn| &turn.content);
        !continues && !contents.clone().any(Content::has_text) && contents.any(is_unread)
    }

    /// The text to classify: the user's last message.
    pub fn prompt(&self, settings: &PromptSettings) -> Prompt {
        let last = HumanTurns::last(&self.turns, settings);
        last.prompt(last.len().saturating_sub(1))
    }

    /// All messages with text of the user.
    pub fn human_turns<'r>(&'r self, settings: &'r PromptSettings) -> HumanTurns<'r, 'a> {
        HumanTurns::all(&self.turns, settings)
    }

    /// The position, among all turns, of the first reasoning that only the model that wrote it accepts.
    pub fn sealed_reasoning(&self) -> Option<usize> {
        self.turns.iter().position(|turn| turn.content.has_sealed_reasoning)
    }

    /// The id of the response that this request continues: its provider stores the earlier messages.
    pub fn previous_response(&self) -> Option<&str> {
        self.identity.previous_response.as_deref()
    }

    /// The id of the conversation that a provider stores.
    pub fn provider_conversation(&self) -> Option<&str> {
        self.identity.conversation.as_deref()
    }

    /// The value of a body's member that can identify a conversation: `prompt_cache_key`, `conversation`, `user_id`'s session
    /// as `metadata.user_id`, or another member of `metadata`.
    pub fn conversation_field(&self, name: &str) -> Option<String> {
        match name {
            "prompt_cache_key" => self.identity.prompt_cache_key.clone(),
            "conversation" => self.identity.conversation.clone(),
            "metadata.user_id" => self.identity.session_of_user_id(),
            _ => self.identity.metadata_member(name.strip_prefix("metadata.")?),
        }
    }

    /// Distinguishes conversations by how they begin: the user's first message, and the system prompt. Agents put dates, counters
    /// and checksums into system prompts, so lines with digits are left out. Of long texts the start is enough.
    pub fn fingerprint(&self, settings: &PromptSettings) -> Digest {
        const START: usize = 4 << 10;
        let first = HumanTurns::all(&self.turns, settings).prompt(0).text();
        let system = self.turns.iter().filter(|turn| turn.role == Role::System);
        let system = system.flat_map(|turn| turn.content.texts()).map(|text| text.head(START).text());
        let system: Vec<String> = system.map(|text| without_volatile_lines(&text)).collect();
        let first = first.get(..first.floor_char_boundary(START)).unwrap_or(&first);
        Digest::of(&[first, &system.concat()])
    }

    /// The positions to change once a model is chosen. Owned, so that the body need not be kept until then.
    pub fn into_rewrite(self) -> Rewrite {
        self.rewrite
    }
}

fn without_volatile_lines(text: &str) -> String {
    let stable = text.lines().filter(|line| !line.bytes().any(|byte| byte.is_ascii_digit()));
    stable.map(str::trim).collect()
}

#[cfg(test)]
mod tests;
