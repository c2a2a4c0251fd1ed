//! A usage object, by any provider's names. Servers write odd numbers: counts are read independently, and an
//! invalid one does not hide others.

use super::Usage;
use super::members::{members, members_after_brace};

/// The members of a usage object that are read.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    /// Of OpenAI's chats, completions and embeddings.
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    /// Of OpenAI's responses, and of Anthropic's messages.
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    /// Whether there is an object of details, as OpenAI has them beside a total.
    has_details: bool,
    /// Tokens from the cache, among those of the total: in OpenAI's details, or by the names of DeepSeek
    /// (`prompt_cache_hit_tokens`), Moonshot (`cached_tokens`) and Mistral (`num_cached_tokens`).
    cached_tokens: Option<u64>,
    /// Of Anthropic's messages, beside `input_tokens`.
    cache_read_input_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
    /// Of llama.cpp's timings: the prompt's tokens without the cached ones, the cached ones, and those of the response.
    prompt_n: Option<u64>,
    cache_n: Option<u64>,
    predicted_n: Option<u64>,
}

impl Counts {
    /// Reads the text of an object, without its first brace.
    pub(super) fn from_json(object: &[u8]) -> Self {
        let mut counts = Self::default();
        for (name, value) in members_after_brace(object) {
            match name {
                b"prompt_tokens" => counts.prompt_tokens = count(value),
                b"completion_tokens" => counts.completion_tokens = count(value),
                b"input_tokens" => counts.input_tokens = count(value),
                b"output_tokens" => counts.output_tokens = count(value),
                b"prompt_tokens_details" | b"input_tokens_details" if value.starts_with(b"{") => {
                    counts.has_details = true;
                    let cached = members(value).filter(|(name, _)| *name == b"cached_tokens").last();
                    counts.cached_tokens =
                        cached.and_then(|(_, value)| count(value)).or(counts.cached_tokens);
                }
                b"prompt_cache_hit_tokens" | b"cached_tokens" | b"num_cached_tokens" => {
                    counts.cached_tokens = counts.cached_tokens.or(count(value));
                }
                b"cache_read_input_tokens" => counts.cache_read_input_tokens = count(value),
                b"cache_creation_input_tokens" => counts.cache_creation_input_tokens = count(value),
                // The same by how long it is kept.
                b"cache_creation" => {
                    let written =
                        members(value).filter_map(|(_, value)| count(value)).reduce(u64::saturating_add);
                    counts.cache_creation_input_tokens = counts.cache_creation_input_tokens.or(written);
                }
                b"prompt_n" => counts.prompt_n = count(value),
                b"cache_n" => counts.cache_n = count(value),
                b"predicted_n" => counts.predicted_n = count(value),
                _ => {}
            }
        }
        counts
    }

    /// Merges a later report. It is about the whole response so far, but may leave out what did not change:
    /// Anthropic's stream reports the input at its start, and may report only the output at its end.
    pub(super) fn update(&mut self, later: Self) {
        *self = Self {
            prompt_tokens: later.prompt_tokens.or(self.prompt_tokens),
            completion_tokens: later.completion_tokens.or(self.completion_tokens),
            input_tokens: later.input_tokens.or(self.input_tokens),
            output_tokens: later.output_tokens.or(self.output_tokens),
            has_details: later.has_details || self.has_details,
            cached_tokens: later.cached_tokens.or(self.cached_tokens),
            cache_read_input_tokens: later.cache_read_input_tokens.or(self.cache_read_input_tokens),
            cache_creation_input_tokens: later
                .cache_creation_input_tokens
                .or(self.cache_creation_input_tokens),
            prompt_n: later.prompt_n.or(self.prompt_n),
            cache_n: later.cache_n.or(self.cache_n),
            predicted_n: later.predicted_n.or(self.predicted_n),
        };
    }

    /// The usage, if the counts have any.
    pub(super) fn usage(&self) -> Option<Usage> {
        let (input, output) = (self.input(), self.output());
        (input.is_some() || output.is_some()).then(|| Usage {
            input_tokens: input.unwrap_or(0),
            output_tokens: output.unwrap_or(0),
            cached_input_tokens: self.cached_tokens.or(self.cache_read_input_tokens).or(self.cache_n),
        })
    }

    /// The usage, if the counts have both input and output.
    pub(super) fn whole_usage(&self) -> Option<Usage> {
        self.usage().filter(|_| self.input().is_some() && self.output().is_some())
    }

    fn output(&self) -> Option<u64> {
        self.completion_tokens.or(self.output_tokens).or(self.predicted_n)
    }

    fn input(&self) -> Option<u64> {
        if self.prompt_tokens.is_some() {
            return self.prompt_tokens;
        }
        let Some(input) = self.input_tokens else {
            return self.prompt_n.map(|count| count.saturating_add(self.cache_n.unwrap_or(0)));
        };
        if self.has_details {
            return Some(input);
        }
        // Anthropic's counts the cache's tokens apart. Gateways that speak OpenAI's may add Anthropic's members to a
        // total that has them already, hence the returns above.
        let cached = [self.cache_read_input_tokens, self.cache_creation_input_tokens];
        Some(cached.into_iter().flatten().fold(input, u64::saturating_add))
    }
}

/// The number of tokens that a value means: whole numbers, those that were written with a fraction, or as text. Negative,
/// infinite and too large numbers are ignored.
fn count(value: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(value).ok()?;
    let text = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text).trim();
    if let Ok(whole) = text.parse() {
        return Some(whole);
    }
    // 2^64, the first number that is too large.
    const LIMIT: f64 = 18_446_744_073_709_551_616.0;
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
    let number: f64 = text.parse().ok().filter(|_| is_number)?;
    (0.0..LIMIT).contains(&number).then(|| number.round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_is_what_can_be_one() {
        for (text, expected) in [
            ("11", Some(11)),
            ("11.0", Some(11)),
            ("1.1e1", Some(11)),
            ("11.4", Some(11)),
            ("\"11\"", Some(11)),
            ("\" 11.0 \"", Some(11)),
            ("0", Some(0)),
            ("-0", Some(0)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", None),
            ("1e400", None),
            ("-1", None),
            ("-0.5", None),
            ("NaN", None),
            ("Infinity", None),
            ("-Infinity", None),
            ("\"inf\"", None),
            ("\"eleven\"", None),
            ("\"\"", None),
            ("null", None),
            ("true", None),
            ("[11]", None),
            ("{}", None),
            ("", None),
        ] {
            assert_eq!(count(text.as_bytes()), expected, "{text}");
        }
    }
}
