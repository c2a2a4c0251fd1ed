//! Redacts personal data and credentials before a prompt is written.
//!
//! Patterns find structured data: addresses, numbers, keys. They do not find names or other statements about a person.

mod patterns;

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use regex::Regex;

use patterns::{Extent, Pattern};

/// A kind of text that is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Emails,
    Numbers,
    Keys,
}

impl Kind {
    /// Keys first, since they contain numbers.
    const ALL: [Self; 3] = [Self::Keys, Self::Emails, Self::Numbers];

    fn name(self) -> &'static str {
        match self {
            Self::Emails => "emails",
            Self::Numbers => "numbers",
            Self::Keys => "keys",
        }
    }

    /// The replacement in the text.
    fn mark(self) -> &'static str {
        match self {
            Self::Emails => "[email]",
            Self::Numbers => "[number]",
            Self::Keys => "[key]",
        }
    }

    fn patterns(self) -> &'static [Pattern] {
        match self {
            Self::Emails => patterns::EMAILS,
            Self::Numbers => patterns::NUMBERS,
            Self::Keys => patterns::KEYS,
        }
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let kind = Self::ALL.into_iter().find(|kind| kind.name() == name);
        kind.ok_or_else(|| format!("{name:?} is not emails, numbers, keys or none"))
    }
}

/// The kinds that are replaced. All by default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redaction(Vec<Kind>);

impl Default for Redaction {
    fn default() -> Self {
        Self(Kind::ALL.into())
    }
}

impl Redaction {
    /// Nothing is replaced.
    #[must_use]
    pub fn none() -> Self {
        Self(Vec::new())
    }
}

impl FromStr for Redaction {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Self::none());
        }
        let named = text.split(',').map(|name| name.trim().parse()).collect::<Result<Vec<Kind>, _>>()?;
        Ok(Self(Kind::ALL.into_iter().filter(|kind| named.contains(kind)).collect()))
    }
}

impl fmt::Display for Redaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.0.iter().map(|kind| kind.name()).collect();
        f.write_str(if names.is_empty() { "none" } else { "" })?;
        f.write_str(&names.join(","))
    }
}

/// Replaces texts of some kinds. All patterns are matched in linear time.
pub(super) struct Redactor(Vec<Replacement>);

impl Redactor {
    /// A redactor of these kinds.
    pub(super) fn new(Redaction(kinds): Redaction) -> Self {
        let of = |kind: Kind| {
            let patterns = kind.patterns().iter();
            // Every pattern is valid: a test compiles all of them.
            patterns.filter_map(move |(regex, extent)| {
                Some(Replacement { regex: Regex::new(regex).ok()?, extent: *extent, mark: kind.mark() })
            })
        };
        Self(kinds.into_iter().flat_map(of).collect())
    }

    /// Replaces these kinds of text.
    pub(super) fn redact<'t>(&self, text: &'t str) -> Cow<'t, str> {
        self.0.iter().fold(Cow::Borrowed(text), |text, replacement| replacement.apply(text))
    }
}

/// Replaces what one pattern finds.
struct Replacement {
    regex: Regex,
    extent: Extent,
    mark: &'static str,
}

impl Replacement {
    fn apply<'t>(&self, text: Cow<'t, str>) -> Cow<'t, str> {
        let spans = self.spans(&text);
        if spans.is_empty() {
            return text;
        }
        let mut replaced = String::with_capacity(text.len());
        let mut from = 0;
        for span in spans {
            replaced.push_str(text.get(from..span.start).unwrap_or_default());
            replaced.push_str(self.mark);
            from = span.end;
        }
        replaced.push_str(text.get(from..).unwrap_or_default());
        Cow::Owned(replaced)
    }

    /// The parts of a text to replace, in order and without overlaps. The search resumes at the start of each value, which may
    /// contain another match.
    fn spans(&self, text: &str) -> Vec<Range<usize>> {
        let mut spans: Vec<Range<usize>> = Vec::new();
        let mut from = 0;
        while let Some(found) = self.regex.captures_at(text, from) {
            let Some(whole) = found.get(0) else { break };
            from = found.name("value").map_or(whole.end(), |value| value.start());
            let covered = spans.last().map_or(0, |span| span.end);
            // A value within a replaced one ends with it.
            if whole.end() < covered {
                continue;
            }
            let rest = text.get(whole.end()..).unwrap_or_default();
            let Some(more) = (self.extent)(&found, rest) else { continue };
            let end = whole.end() + more;
            match spans.last_mut() {
                Some(last) if whole.start() < last.end => last.end = end,
                _ => spans.push(whole.start()..end),
            }
        }
        spans
    }
}

#[cfg(test)]
mod tests;
