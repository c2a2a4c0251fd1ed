//! Recognizes API keys in fields that should have none, because the output goes to repositories and logs.

use std::collections::BTreeSet;

use super::blueprint::Blueprint;

/// The keys of a configuration. Other keys are recognized by their form.
#[derive(Debug, Default)]
pub(super) struct Secrets {
    known: BTreeSet<String>,
}

/// The prefixes of providers' keys, and the minimum number of characters after them.
const PREFIXES: [(&str, usize); 20] = [
    ("nvapi-", 1),
    ("sk-", 4),
    ("sk_", 4),
    ("gsk_", 4),
    ("ghp_", 4),
    ("gho_", 4),
    ("github_pat_", 4),
    ("glpat-", 4),
    ("xoxb-", 4),
    ("xai-", 16),
    ("hf_", 16),
    ("AIza", 16),
    ("AKIA", 12),
    ("ASIA", 12),
    ("eyJ", 16),
    ("pplx-", 16),
    ("csk-", 16),
    ("tgp_", 16),
    ("r8_", 16),
    ("fw_", 16),
];

/// The minimum number of letters and digits in a row in a key. Words in names of models have fewer.
const LONG: usize = 32;

/// Shorter values of `api_key` are words like `none`, which may be names as well.
const SHORTEST_KNOWN: usize = 8;

/// Shorter values of `api_key` may be a part of other names.
const SHORTEST_PART: usize = 16;

impl Secrets {
    /// The keys of these configurations.
    pub(super) fn new<'a>(blueprints: impl IntoIterator<Item = &'a Blueprint>) -> Self {
        let llms =
            blueprints.into_iter().flat_map(|blueprint| &blueprint.policies).flat_map(|policy| &policy.llms);
        let keys = llms.map(|llm| bare(&llm.api_key)).filter(|key| is_key(key));
        Self { known: keys.map(str::to_owned).collect() }
    }

    /// Whether a key is in a name or a model.
    pub(super) fn in_name(&self, name: &str) -> bool {
        self.has_known(name) || tokens(name).any(|token| is_prefixed(token) || has_long_run(token))
    }

    /// Whether a key is in a URL's path. Paths of hosted APIs have long account numbers in them, which are no secret.
    pub(super) fn in_path(&self, path: &str) -> bool {
        self.has_known(path) || tokens(path).any(is_prefixed)
    }

    fn has_known(&self, text: &str) -> bool {
        let is_part = |key: &String| key.len() >= SHORTEST_PART && text.contains(key);
        self.known.contains(bare(text)) || self.known.iter().any(is_part)
    }
}

/// Masks everything in a parser's message that looks like a key.
pub(super) fn masked(message: &str) -> String {
    let secret = tokens(message).filter(|token| is_prefixed(token) || has_long_run(token));
    secret.fold(message.to_owned(), |message, token| message.replace(token, "***"))
}

fn tokens(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && !"-_.".contains(c))
}

fn is_prefixed(token: &str) -> bool {
    let mut prefixes = PREFIXES.iter();
    prefixes.any(|(prefix, least)| token.strip_prefix(prefix).is_some_and(|secret| secret.len() >= *least))
}

fn has_long_run(token: &str) -> bool {
    token.split(|c: char| !c.is_ascii_alphanumeric()).any(|run| {
        run.len() >= LONG
            && run.bytes().any(|byte| byte.is_ascii_digit())
            && run.bytes().any(|byte| byte.is_ascii_alphabetic())
    })
}

/// A key without `Bearer`.
pub(super) fn bare(api_key: &str) -> &str {
    api_key.strip_prefix("Bearer ").unwrap_or(api_key).trim()
}

/// Not a variable or another placeholder.
fn is_key(key: &str) -> bool {
    key.len() >= SHORTEST_KNOWN && !key.contains(['$', '<', '{'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_distinguished_from_model_names() {
        let secrets = Secrets { known: BTreeSet::from(["known-by-heart".to_owned()]) };
        for key in [
            "nvapi-abc",
            "Bearer nvapi-abc_def",
            "vendor/sk-proj-1234",
            "gsk_abcd1234",
            "hf_abcdefghijklmnopqrst",
            "0123456789abcdef0123456789abcdef",
            "https://host/v1?key=AIzaSyA1234567890abcdef",
            "known-by-heart",
        ] {
            assert!(secrets.in_name(key), "{key}");
        }
        for model in [
            "meta/llama-3.1-70b-instruct",
            "nvidia/llama-3.3-nemotron-super-49b-v1",
            "deepseek-ai/DeepSeek-R1-Distill-Llama-8B",
            "qwen/qwen3-next-80b-a3b-instruct:free",
            "anthropic.claude-3-5-sonnet-20241022-v2:0",
            "ft:gpt-4o-mini-2024-07-18:acme::abc123",
            "hf_small",
        ] {
            assert!(!secrets.in_name(model), "{model}");
        }
    }

    #[test]
    fn an_account_in_a_path_is_no_key() {
        let secrets = Secrets::default();
        assert!(!secrets.in_path("/client/v4/accounts/0123456789abcdef0123456789abcdef/ai/v1"));
        assert!(secrets.in_path("/nvapi-abc/v1"));
    }
}
