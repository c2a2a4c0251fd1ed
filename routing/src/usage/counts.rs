//! A usage object, by any provider's names.

use serde::Deserialize;

use super::Usage;

/// The members of a usage object that are read.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub(super) struct Counts {
    /// Of OpenAI's chats, completions and embeddings.
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    prompt_tokens_details: Option<Details>,
    /// Of OpenAI's responses, and of Anthropic's messages.
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    /// Of OpenAI's responses.
    input_tokens_details: Option<Details>,
    /// Of Anthropic's messages.
    cache_read_input_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
struct Details {
    cached_tokens: Option<u64>,
}

impl Counts {
    /// Takes what a later report says. It is about the whole answer so far, but may leave out what did not change:
    /// Anthropic's stream tells the input at its start, and may tell only the output at its end.
    pub(super) fn update(&mut self, later: Self) {
        *self = Self {
            prompt_tokens: later.prompt_tokens.or(self.prompt_tokens),
            completion_tokens: later.completion_tokens.or(self.completion_tokens),
            prompt_tokens_details: later.prompt_tokens_details.or(self.prompt_tokens_details),
            input_tokens: later.input_tokens.or(self.input_tokens),
            output_tokens: later.output_tokens.or(self.output_tokens),
            input_tokens_details: later.input_tokens_details.or(self.input_tokens_details),
            cache_read_input_tokens: later.cache_read_input_tokens.or(self.cache_read_input_tokens),
            cache_creation_input_tokens: later
                .cache_creation_input_tokens
                .or(self.cache_creation_input_tokens),
        };
    }

    /// The usage, if the counts have any.
    pub(super) fn usage(&self) -> Option<Usage> {
        let input = self.input();
        let output = self.completion_tokens.or(self.output_tokens);
        (input.is_some() || output.is_some()).then(|| Usage {
            input_tokens: input.unwrap_or(0),
            output_tokens: output.unwrap_or(0),
            cached_input_tokens: self
                .details()
                .and_then(|details| details.cached_tokens)
                .or(self.cache_read_input_tokens),
        })
    }

    fn input(&self) -> Option<u64> {
        let input = self.prompt_tokens.or(self.input_tokens)?;
        if self.prompt_tokens.is_some() || self.details().is_some() {
            return Some(input);
        }
        // Anthropic's counts the cache's tokens apart. Gateways that speak OpenAI's may add Anthropic's members to a
        // total that has them already, hence the return above.
        let cached = [self.cache_read_input_tokens, self.cache_creation_input_tokens];
        Some(cached.into_iter().flatten().fold(input, u64::saturating_add))
    }

    fn details(&self) -> Option<Details> {
        self.prompt_tokens_details.or(self.input_tokens_details)
    }
}
