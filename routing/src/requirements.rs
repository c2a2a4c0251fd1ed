//! What a request needs from its model.

use std::fmt;

use serde::Deserialize;

/// The format of an LLM's requests and responses. The router does not translate between APIs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Api {
    /// OpenAI's API: chat completions, completions, responses, embeddings.
    #[default]
    Openai,
    /// Anthropic's Messages API.
    Anthropic,
}

impl fmt::Display for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Openai => "OpenAI",
            Self::Anthropic => "Anthropic",
        })
    }
}

/// A capability that some models lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Capability {
    /// Calls tools or functions.
    Tools,
    /// Reads images and videos.
    Images,
    /// Writes JSON, with or without a schema.
    Json,
    /// Accepts a reasoning effort.
    Reasoning,
}

impl Capability {
    /// All capabilities.
    pub const ALL: [Self; 4] = [Self::Tools, Self::Images, Self::Json, Self::Reasoning];
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tools => "tools",
            Self::Images => "images",
            Self::Json => "json",
            Self::Reasoning => "reasoning",
        })
    }
}

/// A set of capabilities.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities(u8);

impl Capabilities {
    /// The set with this capability added.
    #[must_use]
    pub fn with(self, capability: Capability) -> Self {
        Self(self.0 | (1 << capability as u8))
    }

    /// Whether the capability is in the set.
    pub fn has(self, capability: Capability) -> bool {
        self.0 & (1 << capability as u8) != 0
    }

    /// The capabilities in the set.
    pub fn iter(self) -> impl Iterator<Item = Capability> {
        Capability::ALL.into_iter().filter(move |capability| self.has(*capability))
    }

    /// The first capability of this set that `those` lacks.
    pub fn first_missing_in(self, those: Self) -> Option<Capability> {
        self.iter().find(|capability| !those.has(*capability))
    }
}

impl FromIterator<Capability> for Capabilities {
    fn from_iter<I: IntoIterator<Item = Capability>>(all: I) -> Self {
        all.into_iter().fold(Self::default(), Self::with)
    }
}

/// What a request needs from its model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Requirements {
    /// The API that the client speaks.
    pub api: Api,
    /// The capabilities that the model must have.
    pub capabilities: Capabilities,
    /// The estimated tokens of the prompt plus the maximum that the client allows for one completion.
    pub tokens: u64,
}

/// Why a model does not support a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnmetRequirement {
    /// The model does not speak the client's API.
    Api(Api),
    /// The model lacks this capability.
    Capability(Capability),
    /// The model's context is too short.
    Context {
        /// The tokens needed.
        tokens: u64,
    },
}

impl fmt::Display for UnmetRequirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Api(api) => write!(f, "requests in {api}'s format"),
            Self::Capability(capability) => write!(f, "the capability {capability}"),
            Self::Context { tokens } => write!(f, "a context of about {tokens} tokens"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_missing_capability_is_found() {
        let needs: Capabilities = [Capability::Images, Capability::Json].into_iter().collect();
        assert_eq!(needs.first_missing_in(needs), None);
        assert_eq!(needs.first_missing_in(needs.with(Capability::Tools)), None);
        let has = Capabilities::default().with(Capability::Images);
        assert_eq!(needs.first_missing_in(has), Some(Capability::Json));
        assert_eq!(Capabilities::default().first_missing_in(has), None);
    }
}
