//! What routing needs of a request's body, found in one pass and without building a JSON tree.

mod body;
mod endpoint;
mod error;
mod head;
mod metadata;
mod options;
mod path;
mod target;
mod text;
mod turn;

use std::hash::{DefaultHasher, Hasher};

pub use endpoint::Endpoint;
pub use head::RequestHead;
pub use metadata::{Directives, METADATA_FIELD, ModelChoice};
pub use target::{Resource, Target};
pub use text::{Excerpt, TextToClassify};
pub use turn::Role;
use turn::Turn;

use crate::rejection::Rejection;
use crate::requirements::Requirements;
use crate::rewrite::Rewrite;

/// A request's body, as far as routing reads it; borrows from the bytes.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// The API that it speaks.
    pub endpoint: Endpoint,
    /// The body's `model`; none if it is missing or empty. Of several, the last, as most JSON parsers have it.
    pub model: Option<String>,
    /// The routing metadata of NVIDIA's blueprint, if it is there.
    pub directives: Option<Directives>,
    /// What the model that answers must be able to do.
    pub needs: Requirements,
    /// Estimated tokens of the prompt.
    pub prompt_tokens: u64,
    turns: Vec<Turn<'a>>,
    rewrite: Rewrite,
}

impl<'a> Request<'a> {
    /// Finds in the body what routing needs.
    ///
    /// # Errors
    /// A 400 that names the field at fault: the body is not a JSON object, or a field that routing reads is missing or
    /// of the wrong type. All other fields are the LLM's business.
    pub fn parse(endpoint: Endpoint, body: &'a [u8]) -> Result<Self, Rejection> {
        body::parse(endpoint, body)
    }

    /// What of the prompt a classifier should read, at most `limit` bytes of it.
    pub fn text_to_classify(&self, limit: usize) -> TextToClassify {
        text::select(&self.turns, limit)
    }

    /// Tells conversations apart by how they begin: the system prompt and the first user message, as written. Of long
    /// texts the start and the length are enough.
    pub fn conversation(&self) -> u64 {
        const START: usize = 4 << 10;
        let mut hasher = DefaultHasher::new();
        let first_user = self.turns.iter().find(|turn| turn.role == Role::User);
        let system = self.turns.iter().filter(|turn| turn.role == Role::System);
        for text in system.chain(first_user).flat_map(|turn| turn.content.texts()) {
            hasher.write_usize(text.written());
            hasher.write(text.head(START).inner());
        }
        hasher.finish()
    }

    /// The places to change once a model is chosen. Owned, so that the body need not be kept until then.
    pub fn into_rewrite(self) -> Rewrite {
        self.rewrite
    }
}

#[cfg(test)]
mod tests;
