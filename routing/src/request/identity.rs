//! What a body says about the conversation that it belongs to.

use crate::json::{Scanner, SyntaxError};

/// The members of a body that identify its conversation, or the state that a provider keeps for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Identity {
    /// OpenAI's `prompt_cache_key`, which coding agents set to their session's id.
    pub(super) prompt_cache_key: Option<String>,
    /// The id of a conversation that the provider keeps (`conversation` of the Responses API).
    pub(super) conversation: Option<String>,
    /// `metadata`, as written: its `user_id` can hold a session's id, and operators can name other members.
    pub(super) metadata: Option<String>,
    /// The id of the response that this request continues (`previous_response_id` of the Responses API).
    pub(super) previous_response: Option<String>,
}

/// The names of these members.
pub(super) const NAMES: [&str; 4] = ["prompt_cache_key", "conversation", "metadata", "previous_response_id"];

/// Longer values, in bytes, are ignored: ids have less than a hundred bytes.
const LONGEST: usize = 1 << 10;

impl Identity {
    /// Reads the member with one of the [`NAMES`].
    pub(super) fn read(&mut self, name: &str, scanner: &mut Scanner<'_>) -> Result<(), SyntaxError> {
        let raw = scanner.raw()?;
        let place = match name {
            "prompt_cache_key" => &mut self.prompt_cache_key,
            "conversation" => &mut self.conversation,
            "metadata" => &mut self.metadata,
            "previous_response_id" => &mut self.previous_response,
            _ => return Ok(()),
        };
        *place = match name {
            _ if raw.len() > LONGEST => None,
            "metadata" => std::str::from_utf8(raw).ok().map(str::to_owned),
            _ => id(raw),
        };
        Ok(())
    }

    /// The session in `metadata.user_id`, as Claude Code sends it: at the end of a text, or as a member of an object in a
    /// text.
    pub(super) fn session_of_user_id(&self) -> Option<String> {
        const MARK: &str = "_session_";
        let user_id = self.metadata_member("user_id")?;
        if let Some((_, session)) = user_id.rsplit_once(MARK) {
            return Some(session.to_owned()).filter(|session| !session.is_empty());
        }
        let inner: serde_json::Value = serde_json::from_str(&user_id).ok()?;
        inner.get("session_id")?.as_str().map(str::to_owned).filter(|session| !session.is_empty())
    }

    /// A text or a number among the members of `metadata`.
    pub(super) fn metadata_member(&self, name: &str) -> Option<String> {
        let metadata: serde_json::Value = serde_json::from_str(self.metadata.as_deref()?).ok()?;
        match metadata.get(name)? {
            serde_json::Value::String(text) if !text.is_empty() => Some(text.clone()),
            serde_json::Value::Number(number) => Some(number.to_string()),
            _ => None,
        }
    }
}

/// An id: a text, or the `id` of an object.
fn id(raw: &[u8]) -> Option<String> {
    let value: serde_json::Value = serde_json::from_slice(raw).ok()?;
    let id = value.get("id").unwrap_or(&value);
    id.as_str().filter(|id| !id.is_empty()).map(str::to_owned)
}
