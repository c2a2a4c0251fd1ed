//! Turns text into token ids, in bounded time for text of any size.
//!
//! Of a text with more tokens than the model reads, only the two ends are read: a prompt states its task
//! either before the material or after it.
//!
//! For models that were trained to read context, the user's earlier messages follow the text: the text's
//! tokens attend to them, but only the text's tokens are pooled.

use std::path::Path;

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::{Value, json};

use super::text_features::TextFeatures;

/// The maximum number of tokens read of a text, special tokens included, even if the model could read more:
/// beyond 512 tokens accuracy stops improving, while the time keeps growing faster than the number of tokens.
pub const MAX_TOKENS: usize = 512;

/// Bytes that are tokenized for each token that the model reads. A tokenizer reads everything before it truncates, so a
/// megabyte would cost 370 ms. Ordinary text has fewer bytes per token (English about 4.5, Chinese 3).
const BYTES_PER_TOKEN: usize = 16;

/// The maximum number of context messages that are read.
const MAX_CONTEXT: usize = 2;

/// A text to classify, and what the same user said before it, oldest first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Prompt<'a> {
    /// The text.
    pub text: &'a str,
    /// Earlier messages, oldest first.
    pub context: &'a [String],
}

impl<'a> From<&'a str> for Prompt<'a> {
    fn from(text: &'a str) -> Self {
        Self { text, context: &[] }
    }
}

impl<'a> From<&'a String> for Prompt<'a> {
    fn from(text: &'a String) -> Self {
        Self::from(text.as_str())
    }
}

/// A text as the encoder reads it.
#[derive(Debug, Clone, PartialEq)]
pub struct Tokens {
    ids: Vec<i64>,
    /// The number of leading ids that belong to the text; the others are context.
    pooled: usize,
    read: Coverage,
    features: TextFeatures,
}

/// The part of a text that is tokenized: all of it, or its beginning and its end if it is much longer than
/// the model reads.
#[derive(Debug, Clone, PartialEq)]
pub struct Excerpt {
    beginning: String,
    end: String,
    /// Length of the whole text, in bytes.
    whole: usize,
    /// The tokenized parts of each earlier message that is read, from the latest.
    context: Vec<(String, String)>,
}

#[cfg(test)]
impl Excerpt {
    /// The whole of a text that is not long.
    pub(crate) fn beginning(&self) -> &str {
        &self.beginning
    }
}

#[cfg(test)]
impl From<String> for Excerpt {
    fn from(text: String) -> Self {
        Self { whole: text.len(), beginning: text, end: String::new(), context: Vec::new() }
    }
}

/// How much of a text is read, in tokens, special tokens included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Coverage {
    /// The tokens that are read.
    pub tokens: usize,
    /// The tokens of the whole text.
    pub of: usize,
    /// Whether `of` is estimated from the number of bytes, because the text is too long to be tokenized
    /// whole.
    pub estimated: bool,
}

impl Coverage {
    /// `{"tokens", "of", "estimated"}`
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({"tokens": self.tokens, "of": self.of, "estimated": self.estimated})
    }
}

impl From<Vec<i64>> for Tokens {
    /// A text that is read as a whole, without counted features.
    fn from(ids: Vec<i64>) -> Self {
        let read = Coverage { tokens: ids.len(), of: ids.len(), estimated: false };
        Self { pooled: ids.len(), ids, read, features: TextFeatures::default() }
    }
}

impl Tokens {
    /// The token ids, special tokens and context included.
    #[must_use]
    pub fn ids(&self) -> &[i64] {
        &self.ids
    }

    /// The number of leading ids that belong to the text, special tokens included. The others are context.
    #[must_use]
    pub fn pooled(&self) -> usize {
        self.pooled
    }

    /// How much of the text was read.
    #[must_use]
    pub fn read(&self) -> Coverage {
        self.read
    }

    /// The features counted in the text.
    #[must_use]
    pub fn features(&self) -> &TextFeatures {
        &self.features
    }
}

/// The model's own tokenizer.
pub struct Tokenizer {
    tokenizer: tokenizers::Tokenizer,
    /// The maximum number of tokens of a text, special ones included.
    max_tokens: usize,
    /// The maximum number of context tokens, special ones included; 0 if the model reads no context.
    context_tokens: usize,
    unrelated_similarity: f32,
    lower_all_caps: bool,
    /// Special tokens before a text.
    before: Vec<u32>,
    /// Special tokens after a text.
    after: Vec<u32>,
}

impl Tokenizer {
    /// Reads a `tokenizer.json`. At most [`MAX_TOKENS`] are read of a text.
    ///
    /// # Errors
    /// If the file is missing or is not a tokenizer; the error names it.
    pub fn load(path: &Path) -> Result<Self> {
        let fail = |error| anyhow!("cannot read {}: {error}", path.display());
        let mut tokenizer = tokenizers::Tokenizer::from_file(path).map_err(fail)?;
        // The file may enable truncation and padding, for batches of fixed length.
        tokenizer.with_padding(None).with_truncation(None).map_err(fail)?;
        let (before, after) =
            special_tokens(&tokenizer).with_context(|| format!("cannot use {}", path.display()))?;
        Ok(Self {
            tokenizer,
            max_tokens: MAX_TOKENS,
            context_tokens: 0,
            unrelated_similarity: 0.0,
            lower_all_caps: false,
            before,
            after,
        })
    }

    /// The same tokenizer with another bound, which may not be over [`MAX_TOKENS`].
    ///
    /// # Errors
    /// If not even one token would be left beside the special ones.
    pub fn reading_at_most(mut self, tokens: usize) -> Result<Self> {
        self.max_tokens = tokens.min(MAX_TOKENS);
        ensure!(self.budget() > 0, "a model that reads {tokens} tokens has no room for a text");
        Ok(self)
    }

    /// The same tokenizer for a model that reads this many tokens of context, special ones included.
    #[must_use]
    pub fn reading_context(mut self, tokens: usize) -> Self {
        self.context_tokens = tokens;
        self
    }

    /// The same tokenizer for a model whose embeddings of unrelated texts have this cosine similarity.
    #[must_use]
    pub fn with_unrelated_similarity(mut self, similarity: f32) -> Self {
        self.unrelated_similarity = similarity;
        self
    }

    /// The same tokenizer for a model that does, or does not, read texts in capital letters in lower case.
    /// Case-sensitive vocabularies have few words in capitals, so such a text would be split into letters.
    #[must_use]
    pub fn lowering_all_caps(mut self, lower: bool) -> Self {
        self.lower_all_caps = lower;
        self
    }

    /// The cosine similarity of the model's embeddings of unrelated texts.
    #[must_use]
    pub fn unrelated_similarity(&self) -> f32 {
        self.unrelated_similarity
    }

    /// The maximum number of tokens read of a text, special tokens included.
    #[must_use]
    pub fn max_tokens(&self) -> usize {
        self.max_tokens
    }

    /// The maximum number of tokens read of a text and its context.
    #[must_use]
    pub fn max_tokens_with_context(&self) -> usize {
        self.max_tokens + self.context_tokens
    }

    /// The part of a prompt that is tokenized. Its size is bounded, whatever the prompt's.
    #[must_use]
    pub fn excerpt<'a>(&self, prompt: impl Into<Prompt<'a>>) -> Excerpt {
        let Prompt { text, context } = prompt.into();
        let text = text.trim();
        let (beginning, end) = self.in_case(ends(text, BYTES_PER_TOKEN * self.max_tokens));
        let budget = self.message_budget();
        let messages = if budget == 0 { &[] } else { context };
        let messages =
            messages.iter().rev().map(|message| message.trim()).filter(|message| !message.is_empty());
        let messages =
            messages.take(MAX_CONTEXT).map(|message| self.in_case(ends(message, BYTES_PER_TOKEN * budget)));
        Excerpt { beginning, end, whole: text.len(), context: messages.collect() }
    }

    /// Both parts of a text, in lower case if the text is in capitals and the model requires that.
    fn in_case(&self, (beginning, end): (&str, &str)) -> (String, String) {
        if self.lower_all_caps && is_all_caps([beginning, end]) {
            (beginning.to_lowercase(), end.to_lowercase())
        } else {
            (beginning.to_owned(), end.to_owned())
        }
    }

    /// Tokenizes a prompt: all of its text, if that has no more tokens than the model reads, else its beginning and its end,
    /// half each; then each earlier message alike, from the latest, if the model reads context.
    ///
    /// # Errors
    /// If the tokenizer has no token for unknown words; BERT's always has one.
    pub fn tokenize<'a>(&self, prompt: impl Into<Prompt<'a>>) -> Result<Tokens> {
        self.tokenize_excerpt(&self.excerpt(prompt))
    }

    /// Tokenizes what [`Self::excerpt`] returned.
    ///
    /// # Errors
    /// As [`Self::tokenize`].
    pub fn tokenize_excerpt(&self, text: &Excerpt) -> Result<Tokens> {
        let Excerpt { beginning, end, whole, context } = text;
        let mut ids = self.encode_both(beginning, end)?;
        let special = self.before.len() + self.after.len();
        let tokenized = beginning.len() + end.len();
        let estimated = tokenized < *whole;
        let of = if estimated { scale(ids.len(), *whole, tokenized) } else { ids.len() };
        keep_ends(&mut ids, self.budget());
        let mut ids = [self.before.as_slice(), &ids, &self.after].concat();
        let pooled = ids.len();
        let read = Coverage { tokens: pooled, of: of + special, estimated };
        let features = TextFeatures::count(&[beginning, end], *whole);
        for (beginning, end) in context {
            let mut message = self.encode_both(beginning, end)?;
            keep_ends(&mut message, self.message_budget());
            ids.extend(message);
            ids.extend(&self.after);
        }
        Ok(Tokens { ids: ids.into_iter().map(i64::from).collect(), pooled, read, features })
    }

    /// The tokens left for one message of context.
    fn message_budget(&self) -> usize {
        (self.context_tokens / MAX_CONTEXT).saturating_sub(self.after.len())
    }

    fn encode_both(&self, beginning: &str, end: &str) -> Result<Vec<u32>> {
        let mut ids = self.encode(beginning)?;
        if !end.is_empty() {
            ids.extend(self.encode(end)?);
        }
        Ok(ids)
    }

    /// The tokens left for the text itself.
    fn budget(&self) -> usize {
        self.max_tokens.saturating_sub(self.before.len() + self.after.len())
    }

    fn encode(&self, text: &str) -> Result<Vec<u32>> {
        encode(&self.tokenizer, text, false)
    }
}

fn encode(tokenizer: &tokenizers::Tokenizer, text: &str, special: bool) -> Result<Vec<u32>> {
    let encoding =
        tokenizer.encode_fast(text, special).map_err(|error| anyhow!("cannot tokenize: {error}"))?;
    Ok(encoding.get_ids().to_vec())
}

/// The special tokens that a tokenizer adds before and after each text.
fn special_tokens(tokenizer: &tokenizers::Tokenizer) -> Result<(Vec<u32>, Vec<u32>)> {
    const PROBE: &str = "a";
    let (own, all) = (encode(tokenizer, PROBE, false)?, encode(tokenizer, PROBE, true)?);
    ensure!(!own.is_empty(), "it has no token for {PROBE:?}");
    let at = all.windows(own.len()).position(|window| window == own);
    let at = at.context("its special tokens are not at a text's ends")?;
    let (before, rest) = all.split_at(at);
    Ok((before.to_vec(), rest.get(own.len()..).unwrap_or_default().to_vec()))
}

/// A text's beginning and end, whole characters only, of at most `limit` bytes together; a text that is not longer is
/// all beginning.
fn ends(text: &str, limit: usize) -> (&str, &str) {
    if text.len() <= limit {
        return (text, "");
    }
    let half = limit / 2;
    (&text[..text.floor_char_boundary(half)], &text[text.ceil_char_boundary(text.len() - half)..])
}

/// Whether several words have capital letters, and at most one letter in ten is small: "iPhone" may be among them. A single
/// word may be an abbreviation.
fn is_all_caps(parts: [&str; 2]) -> bool {
    let count =
        |is: fn(char) -> bool| parts.iter().flat_map(|part| part.chars()).filter(|it| is(*it)).count();
    let words = parts.iter().flat_map(|part| part.split_whitespace());
    let capitals = count(char::is_uppercase);
    // Letters of scripts without case are not capitals either.
    (count(char::is_alphabetic) - capitals) * 9 <= capitals
        && words.filter(|word| word.contains(char::is_uppercase)).nth(1).is_some()
}

/// Keeps this number of ids, half of them from the beginning.
fn keep_ends(ids: &mut Vec<u32>, budget: usize) {
    let all = ids.len();
    if all > budget {
        ids.drain(budget.div_ceil(2)..all - budget / 2);
    }
}

/// `count` times `whole / part`, rounded.
fn scale(count: usize, whole: usize, part: usize) -> usize {
    (count as f64 * whole as f64 / part.max(1) as f64).round() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_between_characters() {
        assert_eq!(ends("éaaé", 6), ("éaaé", ""));
        assert_eq!(ends("ééaaéé", 6), ("é", "é"));
        assert_eq!(ends("ééaaéé", 8), ("éé", "éé"));
        assert_eq!(ends("", 4), ("", ""));
    }

    /// Words `w0` to `w99`, each a token of that number, between the special tokens 100 and 101.
    fn tokenizer(max_tokens: usize) -> Tokenizer {
        let mut words: serde_json::Map<_, _> = (0..100).map(|n| (format!("w{n}"), n.into())).collect();
        words.extend([("[CLS]".into(), 100.into()), ("[SEP]".into(), 101.into()), ("a".into(), 102.into())]);
        let special = |id: &str, number: u32| serde_json::json!({"id": id, "ids": [number], "tokens": [id]});
        let json = serde_json::json!({
            "version": "1.0", "added_tokens": [], "pre_tokenizer": {"type": "WhitespaceSplit"},
            "model": {"type": "WordLevel", "vocab": words, "unk_token": "a"},
            "post_processor": {
                "type": "TemplateProcessing", "pair": [],
                "single": [
                    {"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                    {"SpecialToken": {"id": "[SEP]", "type_id": 0}}
                ],
                "special_tokens": {"[CLS]": special("[CLS]", 100), "[SEP]": special("[SEP]", 101)}
            }
        });
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), json.to_string()).unwrap();
        Tokenizer::load(file.path()).unwrap().reading_at_most(max_tokens).unwrap()
    }

    fn words(numbers: impl Iterator<Item = usize>) -> String {
        numbers.map(|number| format!("w{number}")).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_text_that_fits_is_read_whole() {
        let tokens = tokenizer(7).tokenize(&words(0..5)).unwrap();
        assert_eq!(tokens.ids(), [100, 0, 1, 2, 3, 4, 101]);
        assert_eq!(tokens.read(), Coverage { tokens: 7, of: 7, estimated: false });
    }

    #[test]
    fn a_longer_text_is_read_at_both_ends_and_reports_it() {
        let tokens = tokenizer(7).tokenize(&words(0..20)).unwrap();
        assert_eq!(tokens.ids(), [100, 0, 1, 2, 18, 19, 101]);
        assert_eq!(tokens.read(), Coverage { tokens: 7, of: 22, estimated: false });
    }

    #[test]
    fn a_much_longer_text_is_not_tokenized_whole() {
        let text = words((0..100).cycle().take(10_000));
        let tokens = tokenizer(8).tokenize(&text).unwrap();
        assert_eq!(tokens.ids(), [100, 0, 1, 2, 97, 98, 99, 101]);
        let Coverage { tokens, of, estimated } = tokens.read();
        assert!(tokens == 8 && estimated && (9_000..13_000).contains(&of), "{of}");
    }

    #[test]
    fn earlier_messages_follow_from_the_latest_and_are_not_pooled() {
        let reading = tokenizer(7).reading_context(8);
        let context = ["w1 w2 w3 w4 w5", " ", "w6", "w7"].map(str::to_owned);
        let prompt = |context| Prompt { text: "w9", context };
        let tokens = reading.tokenize(prompt(&context)).unwrap();
        assert_eq!(tokens.ids(), [100, 9, 101, 7, 101, 6, 101]);
        assert_eq!((tokens.pooled(), tokens.read().of), (3, 3));
        let tokens = reading.tokenize(prompt(&context[..1])).unwrap();
        assert_eq!(tokens.ids(), [100, 9, 101, 1, 2, 5, 101], "both ends of a long one");
        assert_eq!(
            tokenizer(7).tokenize(prompt(&context)).unwrap().ids(),
            [100, 9, 101],
            "a model without context"
        );
        let long = words((0..100).cycle().take(10_000));
        let ids = reading.tokenize(Prompt { text: &long, context: &[long.clone(), long.clone()] }).unwrap();
        assert_eq!(ids.ids().len(), reading.max_tokens_with_context());
    }

    #[test]
    fn capitals_are_read_in_lower_case_where_the_model_requires_it() {
        let reading = tokenizer(9).lowering_all_caps(true);
        let ids = |tokenizer: &Tokenizer, text: &str| tokenizer.tokenize(text).unwrap().ids().to_vec();
        assert_eq!(ids(&reading, "W1 W2 3"), [100, 1, 2, 102, 101]);
        assert_eq!(ids(&tokenizer(9), "W1 W2 3"), [100, 102, 102, 102, 101]);
        // A single word, lower case among capitals, and no letters.
        for text in ["W1", "W1 W2 w3", "1 2"] {
            assert_eq!(ids(&reading, text), ids(&tokenizer(9), text), "{text}");
        }
        let tokens = reading.reading_context(8).tokenize(Prompt { text: "W1", context: &["W1 W2".into()] });
        assert_eq!(tokens.unwrap().ids(), [100, 102, 101, 1, 2, 101], "each message by itself");
    }

    #[test]
    fn blank_text_has_the_special_tokens() {
        assert_eq!(tokenizer(8).tokenize(" \n").unwrap().ids(), [100, 101]);
    }

    #[test]
    fn a_bound_without_room_for_a_text_is_an_error() {
        assert!(tokenizer(8).reading_at_most(2).is_err());
    }
}
