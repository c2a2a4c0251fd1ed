//! Finds the user's words in messages to which a coding agent (a "harness") adds its own text.
//!
//! Agents put reminders, environment descriptions and even tool results into user messages, in three forms: elements to
//! leave out (`<system-reminder>…</system-reminder>`), elements that contain the user's words (`<task>…</task>`), and
//! messages that they wrote entirely, recognized by their beginning (`[read_file for 'x'] Result:`).

use std::cell::Cell;
use std::sync::LazyLock;

use memchr::{memchr, memmem};

use crate::json::RawString;
use crate::known_agents;

/// How messages of harnesses are read. Names and beginnings are compared exactly, and count at the start of a line only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Harness {
    /// Elements that the harness adds: they are removed with their content.
    pub added_elements: Vec<String>,
    /// Elements that contain the user's words: in a message with one, only their content counts.
    pub user_elements: Vec<String>,
    /// The same, with names that users write, too: they count only with other text of the harness.
    pub common_user_elements: Vec<String>,
    /// Elements that contain commands of the user: they count in a message without other text.
    pub command_elements: Vec<String>,
    /// Lines after which the user's words begin.
    pub user_markers: Vec<String>,
    /// The beginnings of texts that the harness writes. `*` matches anything within a line.
    pub written_texts: Vec<String>,
    /// The beginnings of tool results. The rest of the message is also tool results. `*` as above.
    pub tool_results: Vec<String>,
}

impl Harness {
    /// The patterns of today's coding agents.
    pub fn of_known_agents() -> Self {
        let owned = |list: &[&str]| list.iter().map(|&entry| entry.to_owned()).collect();
        Self {
            added_elements: owned(known_agents::ADDED_ELEMENTS),
            user_elements: owned(known_agents::USER_ELEMENTS),
            common_user_elements: owned(known_agents::COMMON_USER_ELEMENTS),
            command_elements: owned(known_agents::COMMAND_ELEMENTS),
            user_markers: owned(known_agents::USER_MARKERS),
            written_texts: owned(known_agents::WRITTEN_TEXTS),
            tool_results: owned(known_agents::TOOL_RESULTS),
        }
    }
}

/// Reads the messages of a body. It examines a bounded number of brackets, because a body could have millions, each examined
/// several times. A legitimate message has a few hundred. Beyond the bound, texts are read unchanged. [`Elements`] searches the
/// bytes between brackets a fixed number of times.
pub(super) struct Reader<'h> {
    harness: &'h Harness,
    brackets_left: Cell<u32>,
}

const MAX_BRACKETS: u32 = 500_000;

impl<'h> Reader<'h> {
    pub(super) fn new(harness: &'h Harness) -> Self {
        Self { harness, brackets_left: Cell::new(MAX_BRACKETS) }
    }

    /// The user's words in the texts of a message; none if it is empty, or entirely the harness's.
    pub(super) fn human_texts<'a>(&self, texts: &[RawString<'a>]) -> Vec<RawString<'a>> {
        let harness = self.harness;
        if self.brackets_left.get() == 0 || !texts.iter().any(|text| may_have_elements(*text)) {
            let written = without_written(&said(texts), harness);
            return written.into_iter().map(|text| after_marker(text, &harness.user_markers)).collect();
        }
        let added = self.without_elements(texts, &harness.added_elements);
        let rest = without_written(&self.without_elements(&added, &harness.command_elements), harness);
        let has_more = rest.inner_bytes() < said(texts).inner_bytes();
        for (names, counts) in [(&harness.user_elements, true), (&harness.common_user_elements, has_more)] {
            let inner = self.inner_of(texts, names);
            if counts && !inner.is_empty() {
                return inner;
            }
        }
        if rest.is_empty() && without_written(&added, harness).len() == added.len() {
            return self.inner_of(texts, &harness.command_elements);
        }
        rest.into_iter().map(|text| after_marker(text, &harness.user_markers)).collect()
    }

    /// The content of elements with these names, without the text that the harness adds.
    fn inner_of<'a>(&self, texts: &[RawString<'a>], names: &[String]) -> Vec<RawString<'a>> {
        let inner_texts = |text: &RawString<'a>| -> Vec<_> {
            if !may_have_elements(*text) {
                return Vec::new();
            }
            let elements = Elements::new(*text, names, &self.brackets_left);
            elements.map(|element| text.slice(element.inner)).collect()
        };
        let inner: Vec<_> = texts.iter().flat_map(inner_texts).collect();
        self.without_elements(&inner, &self.harness.added_elements)
    }

    /// The texts without these elements.
    fn without_elements<'a>(&self, texts: &[RawString<'a>], names: &[String]) -> Vec<RawString<'a>> {
        let left = texts.iter().flat_map(|text| {
            if !may_have_elements(*text) {
                return vec![*text];
            }
            let mut left = Vec::new();
            let mut done = 0;
            for element in Elements::new(*text, names, &self.brackets_left) {
                left.push(text.slice(done..element.outer.start));
                done = element.outer.end;
            }
            left.push(text.slice(done..text.inner().len()));
            left
        });
        said(&left.collect::<Vec<_>>())
    }
}

/// Whether a text can have elements: most have no bracket.
fn may_have_elements(text: RawString<'_>) -> bool {
    memchr(b'<', text.inner()).is_some() || has_escaped_bracket(text.inner())
}

fn has_escaped_bracket(bytes: &[u8]) -> bool {
    LESS.iter().skip(1).any(|escape| escape.find(bytes).is_some())
}

/// The trimmed texts, if they are not empty.
pub(super) fn said<'a>(texts: &[RawString<'a>]) -> Vec<RawString<'a>> {
    texts.iter().map(|text| text.trim()).filter(|text| !text.is_blank()).collect()
}

trait InnerBytes {
    fn inner_bytes(&self) -> usize;
}

impl InnerBytes for Vec<RawString<'_>> {
    fn inner_bytes(&self) -> usize {
        self.iter().map(|text| text.inner().len()).sum()
    }
}

/// The texts that the harness did not write.
fn without_written<'a>(texts: &[RawString<'a>], harness: &Harness) -> Vec<RawString<'a>> {
    let starts = texts.iter().map(|text| (text, text.head(LONGEST_BEGINNING).text()));
    let before_results = starts.take_while(|(_, start)| !begins_with_any(start, &harness.tool_results));
    let humans = before_results.filter(|(_, start)| !begins_with_any(start, &harness.written_texts));
    humans.map(|(text, _)| *text).collect()
}

/// The text after the last marker at the start of a line; the whole text if it has none.
fn after_marker<'a>(text: RawString<'a>, markers: &[String]) -> RawString<'a> {
    let bytes = text.inner();
    let ends = markers.iter().filter_map(|marker| {
        let at = memmem::rfind(bytes, marker.as_bytes()).filter(|at| starts_line(bytes, *at))?;
        Some(at + marker.len())
    });
    match ends.max() {
        Some(end) => text.slice(end..bytes.len()).trim(),
        None => text,
    }
}

fn starts_line(bytes: &[u8], at: usize) -> bool {
    let before = bytes.get(..at).unwrap_or_default();
    let before = before
        .iter()
        .rposition(|byte| !matches!(byte, b' ' | b'\t'))
        .map_or(&[][..], |last| before.get(..=last).unwrap_or_default());
    before.is_empty()
        || before.ends_with(b"\n")
        || ends_with_escape(before, b'n')
        || ends_with_escape(before, b't')
}

/// Whether the bytes end with this escape, and not with an escaped backslash and a letter.
fn ends_with_escape(bytes: &[u8], letter: u8) -> bool {
    let Some((last, before)) = bytes.split_last() else { return false };
    *last == letter && before.iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1
}

/// The maximum length of the first line of a harness's message, in bytes.
const LONGEST_BEGINNING: usize = 512;

fn begins_with_any(text: &str, patterns: &[String]) -> bool {
    patterns.iter().any(|pattern| begins_with(text, pattern))
}

/// Whether a text begins with a pattern, in which `*` matches anything within a line.
fn begins_with(text: &str, pattern: &str) -> bool {
    // The first byte rules out most patterns.
    let expected = pattern.bytes().next().filter(|byte| *byte != b'*');
    if expected.is_some_and(|byte| text.bytes().next() != Some(byte)) {
        return false;
    }
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else { return false };
    for part in parts {
        let line = rest.split('\n').next().unwrap_or_default();
        // The part must begin in this line, but may end in a later one.
        let found = memmem::find(rest.as_bytes(), part.as_bytes()).filter(|at| *at <= line.len());
        let Some(after) = found.and_then(|at| rest.get(at + part.len()..)) else { return false };
        rest = after;
    }
    true
}

/// An element of a text, as ranges of the text's JSON encoding.
struct Element {
    outer: std::ops::Range<usize>,
    inner: std::ops::Range<usize>,
}

/// The elements of some names, in order, not nested. Unclosed elements are ignored.
///
/// All closing tags are found first, so nothing is searched ahead of an opening tag. Otherwise each unclosed element would cost
/// a search through the rest of the text.
struct Elements<'t> {
    bytes: &'t [u8],
    names: &'t [String],
    closing: ClosingTags,
    less: Bracket<'t>,
    brackets_left: &'t Cell<u32>,
    greater: Bracket<'t>,
    at: usize,
    /// The end of the previous element.
    done: usize,
    /// Whether there is text after that element.
    is_said: bool,
}

/// The closing tags of some names in a text.
struct ClosingTags {
    /// Sorted by name and position.
    tags: Vec<ClosingTag>,
    /// The start of the last one in the text; 0 if there is none.
    last: usize,
}

struct ClosingTag {
    /// The index of its name.
    name: usize,
    start: usize,
    end: usize,
}

/// Other ways to write `<` and `>` in JSON.
const ESCAPED_LESS: [&[u8]; 2] = [br"\u003c", br"\u003C"];
const ESCAPED_GREATER: [&[u8]; 2] = [br"\u003e", br"\u003E"];
/// The maximum length of the attributes of an opening tag, in bytes.
const LONGEST_TAG: usize = 1 << 10;

/// Finds the brackets of a text in order, in any of their spellings. It keeps the next position of each spelling, so that a text
/// is searched only once, however many brackets it has and whichever spellings it lacks.
#[derive(Clone)]
struct Bracket<'t> {
    bytes: &'t [u8],
    spellings: &'static [memmem::Finder<'static>],
    /// For each spelling: the position from which it was last searched, and the position where it was found.
    found: [Option<(usize, Option<usize>)>; SPELLINGS],
}

/// The bracket itself, and its two escapes.
const SPELLINGS: usize = 3;

static LESS: LazyLock<[memmem::Finder<'static>; SPELLINGS]> = LazyLock::new(|| finders(b"<", ESCAPED_LESS));
static GREATER: LazyLock<[memmem::Finder<'static>; SPELLINGS]> =
    LazyLock::new(|| finders(b">", ESCAPED_GREATER));

fn finders(plain: &'static [u8], [lower, upper]: [&'static [u8]; 2]) -> [memmem::Finder<'static>; SPELLINGS] {
    [plain, lower, upper].map(memmem::Finder::new)
}

impl<'t> Bracket<'t> {
    fn new(bytes: &'t [u8], spellings: &'static [memmem::Finder<'static>]) -> Self {
        Self { bytes, spellings, found: [None; SPELLINGS] }
    }

    /// The start and the end of the next bracket from a position on. Positions must not go back: that would search again.
    fn next(&mut self, from: usize) -> Option<(usize, usize)> {
        let bytes = self.bytes.get(from..)?;
        let ends = self.spellings.iter().zip(&mut self.found).filter_map(|(finder, found)| {
            let at = match *found {
                Some((since, at)) if since <= from && at.is_none_or(|at| from <= at) => at,
                _ => finder.find(bytes).map(|at| from + at),
            };
            *found = Some((from, at));
            Some((at?, at? + finder.needle().len()))
        });
        ends.min()
    }

    /// The same; `None` if the limit is reached.
    fn next_limited(&mut self, from: usize, left: &Cell<u32>) -> Option<(usize, usize)> {
        left.set(left.get().checked_sub(1)?);
        self.next(from)
    }
}

impl ClosingTags {
    fn find(bytes: &[u8], names: &[String], mut less: Bracket<'_>, brackets_left: &Cell<u32>) -> Self {
        let mut tags = Vec::new();
        let mut at = 0;
        while let Some((start, end)) = less.next_limited(at, brackets_left) {
            at = end;
            if let Some((name, length)) = closed_name(bytes.get(end..).unwrap_or_default(), names) {
                tags.push(ClosingTag { name, start, end: end + length });
            }
        }
        let last = tags.last().map_or(0, |tag| tag.start);
        tags.sort_unstable_by_key(|tag| (tag.name, tag.start));
        Self { tags, last }
    }

    /// The next closing tag of a name from a position on.
    fn next(&self, name: usize, from: usize) -> Option<&ClosingTag> {
        let place = self.tags.partition_point(|tag| (tag.name, tag.start) < (name, from));
        self.tags.get(place).filter(|tag| tag.name == name)
    }
}

/// The index of the name in a closing tag, and the tag's length, after its `<`.
fn closed_name(after_less: &[u8], names: &[String]) -> Option<(usize, usize)> {
    let slash = [&br"\/"[..], b"/"].into_iter().find(|slash| after_less.starts_with(slash))?;
    let rest = after_less.get(slash.len()..)?;
    names.iter().enumerate().find_map(|(index, name)| {
        let length = greater(after_name(rest, name)?)?;
        Some((index, slash.len() + name.len() + length))
    })
}

/// What follows a name at the start.
fn after_name<'b>(bytes: &'b [u8], name: &str) -> Option<&'b [u8]> {
    // The first byte comes first, because there are many names and brackets.
    (bytes.first() == name.as_bytes().first()).then(|| bytes.strip_prefix(name.as_bytes()))?
}

impl<'t> Elements<'t> {
    fn new(text: RawString<'t>, names: &'t [String], brackets_left: &'t Cell<u32>) -> Self {
        let bytes = text.inner();
        // Few texts have escaped brackets, as Go's encoder writes them.
        let used = if has_escaped_bracket(bytes) { SPELLINGS } else { 1 };
        let bracket = |finders: &'static [memmem::Finder<'static>]| {
            Bracket::new(bytes, finders.get(..used).unwrap_or_default())
        };
        let (less, greater) = (bracket(&*LESS), bracket(&*GREATER));
        let closing = ClosingTags::find(bytes, names, less.clone(), brackets_left);
        Self { bytes, names, closing, less, brackets_left, greater, at: 0, done: 0, is_said: false }
    }

    /// The element whose opening tag has this `<`.
    fn opened_by(&mut self, less: std::ops::Range<usize>) -> Option<Element> {
        let rest = self.bytes.get(less.end..)?;
        let names = self.names;
        names.iter().enumerate().find_map(|(index, name)| {
            let after_name = after_name(rest, name)?;
            let inner_start = self.tag_end(after_name, less.end, less.end + name.len())?;
            let closing = self.closing.next(index, inner_start)?;
            Some(Element { outer: less.start..closing.end, inner: inner_start..closing.start })
        })
    }

    /// The end of an opening tag, whose `<` ends at `less_end` and whose name ends at `name_end`.
    fn tag_end(&mut self, after_name: &[u8], less_end: usize, name_end: usize) -> Option<usize> {
        if let Some(length) = greater(after_name) {
            return Some(name_end + length);
        }
        // Attributes follow white space.
        if ![&b" "[..], br"\n", br"\t"].into_iter().any(|space| after_name.starts_with(space)) {
            return None;
        }
        // Searched from the `<` on, so that positions do not go back: several names may match here. No name has a `>`.
        self.greater.next(less_end).map(|(_, end)| end).filter(|end| *end <= name_end + LONGEST_TAG)
    }
}

/// The length of a `>` at the start.
fn greater(bytes: &[u8]) -> Option<usize> {
    if bytes.first() == Some(&b'>') {
        return Some(1);
    }
    ESCAPED_GREATER.into_iter().find(|escape| bytes.starts_with(escape)).map(<[u8]>::len)
}

impl Iterator for Elements<'_> {
    type Item = Element;

    fn next(&mut self) -> Option<Element> {
        while self.at < self.closing.last
            && let Some((start, end)) = self.less.next_limited(self.at, self.brackets_left)
        {
            self.at = end;
            let between = self.bytes.get(self.done..start).unwrap_or_default();
            let is_said = self.is_said || !RawString::new(between).is_blank();
            // Unless it opens an element, the bracket itself is text.
            self.is_said = true;
            if is_said && !starts_line(self.bytes, start) {
                continue;
            }
            if let Some(element) = self.opened_by(start..end) {
                self.at = element.outer.end;
                self.done = element.outer.end;
                self.is_said = false;
                return Some(element);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn harness() -> Harness {
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        Harness {
            added_elements: owned(&["system-reminder", "environment_details"]),
            user_elements: owned(&["user_query"]),
            common_user_elements: owned(&["task", "feedback"]),
            command_elements: owned(&["command-args"]),
            user_markers: owned(&["## My request:"]),
            written_texts: owned(&["# AGENTS.md instructions for ", "[Request interrupted by user"]),
            tool_results: owned(&["[*] Result:", "Called the * tool with "]),
        }
    }

    fn words(texts: &[&str]) -> Vec<String> {
        let texts: Vec<_> = texts.iter().map(|text| RawString::new(text.as_bytes())).collect();
        Reader::new(&harness()).human_texts(&texts).into_iter().map(RawString::text).collect()
    }

    #[test]
    fn added_elements_are_left_out_however_their_brackets_are_written() {
        for text in [
            r"<system-reminder>\nToday is Friday.\n</system-reminder>\n\nFix the bug",
            r"Fix the bug\n<system-reminder>a</system-reminder><system-reminder>b</system-reminder> ",
            r"\u003csystem-reminder\u003ea\u003c/system-reminder\u003eFix the bug",
            r"\u003Csystem-reminder\u003Ea\u003C\/system-reminder\u003E\r\n\tFix the bug",
            r#"<environment_details mode=\"a>b\">x <system-reminder> y</environment_details>Fix the bug"#,
        ] {
            let all = words(&[text]).join("|");
            assert!(all.ends_with("Fix the bug") && !all.contains("Friday") && !all.contains('a'), "{all}");
        }
        assert_eq!(words(&[r"before\n<system-reminder>x</system-reminder> after"]), ["before", "after"]);
        assert_eq!(
            words(&["<system-reminder>x</system-reminder> <system-reminder>y</system-reminder>z"]),
            ["z"]
        );
    }

    #[test]
    fn what_only_looks_like_an_element_stays() {
        for text in [
            "what is a <system-reminder> tag?",
            "<system-reminders>x</system-reminders>",
            "a < b </system-reminder>",
            "<system-reminder",
            "what does <system-reminder>x</system-reminder> mean?",
        ] {
            assert_eq!(words(&[text]), [text]);
        }
    }

    #[test]
    fn only_the_humans_words_count_where_an_element_marks_them() {
        let first = [
            r"<task>\nFix the bug\n</task>\n\n# Rules\nBe brief.",
            "<environment_details>x</environment_details>",
        ];
        assert_eq!(words(&first), ["Fix the bug"]);
        let feedback = ["[attempt_completion] Result:", r"The user said:\n<feedback>\nuse tabs\n</feedback>"];
        assert_eq!(words(&feedback), ["use tabs"]);
        assert_eq!(words(&[r"<context>x</context>\n<user_query>Fix it</user_query>"]), ["Fix it"]);
        assert_eq!(words(&[r"# Open files: a.rs\n\n## My request:\nFix it"]), ["Fix it"]);
    }

    #[test]
    fn elements_that_humans_write_too_count_beside_a_harness_only() {
        let human = r"improve this:\n<task>x</task>\nplease";
        assert_eq!(words(&[human]), [RawString::new(human.as_bytes()).text()]);
    }

    #[test]
    fn a_message_that_the_harness_writes_says_nothing() {
        for texts in [
            &["[read_file for 'a.rs'] Result:", "fn main() {}"][..],
            &[r"[list] Result:\nnothing"],
            &[r"# AGENTS.md instructions for /x\n\nBe brief."],
            &["<environment_details>x</environment_details>", "[read_file] Result:"],
            &["<system-reminder>x</system-reminder>", r" \n"],
        ] {
            assert!(words(texts).is_empty(), "{texts:?}");
        }
        assert_eq!(words(&[r"[todo]\nthe] Result: is wrong"]), ["[todo]\nthe] Result: is wrong"]);
    }

    #[test]
    fn what_the_human_says_beside_the_harness_counts() {
        assert_eq!(words(&["[Request interrupted by user]", "no, use tabs"]), ["no, use tabs"]);
        assert_eq!(
            words(&["look at @a.rs", "Called the Read tool with x", "fn main() {}"]),
            ["look at @a.rs"]
        );
    }

    #[test]
    fn a_command_counts_where_nothing_else_is_said() {
        assert_eq!(words(&["<command-args>src/main.rs</command-args>"]), ["src/main.rs"]);
        assert_eq!(words(&[r"<command-args>opus</command-args>\n", "write a poem"]), ["write a poem"]);
        assert_eq!(words(&["<command-args></command-args>", "fix the bug"]), ["fix the bug"]);
        assert!(words(&["<command-args></command-args>"]).is_empty());
        assert_eq!(words(&[r"print('a\\n<system-reminder>b</system-reminder>')"]).len(), 1);
    }

    #[test]
    fn a_text_is_searched_once_whatever_brackets_it_has() {
        // Each takes minutes if the code searches again at each bracket.
        for part in [
            "<system-reminder><task>",
            "<",
            r"\u003c",
            r"\u003C<",
            r"\n<task ",
            r"\n<task \u003e",
            r"\n<task>\n</feedback>",
        ] {
            for start in [String::new(), " ".repeat(100), "x".into(), "<task>y</task>".into()] {
                let hostile = start + &part.repeat(100_000);
                let said = words(&[&hostile]).concat().len();
                assert!(said >= 90_000, "{part}: {said}");
            }
        }
    }

    /// The shortest of three times for a text with an opening tag of each of these names, which nothing closes.
    fn time_with_unclosed(harness: &Harness, names: &[String], rest: &str) -> Duration {
        let tags: String = names.iter().map(|name| format!(r"\n<{name}>")).collect();
        let text = format!(r"\u003c{tags}{rest}");
        let times = (0..3).map(|_| {
            let start = Instant::now();
            assert!(!Reader::new(harness).human_texts(&[RawString::new(text.as_bytes())]).is_empty());
            start.elapsed()
        });
        times.min().unwrap()
    }

    #[test]
    fn unclosed_elements_cost_no_search_through_the_rest_of_the_text() {
        let harness = Harness::of_known_agents();
        let Harness { added_elements, user_elements, common_user_elements, .. } = &harness;
        let names = [&added_elements[..], user_elements, common_user_elements].concat();
        let backslashes = r"\\".repeat(1 << 19);
        for end in ["", "<", r"<\u003C"] {
            let rest = backslashes.clone() + end;
            let one = time_with_unclosed(&harness, &names[..1], &rest);
            let all = time_with_unclosed(&harness, &names, &rest);
            assert!(all < one * 4, "one name: {one:?}, {} names: {all:?}, end: {end:?}", names.len());
        }
    }
}
