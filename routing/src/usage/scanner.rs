//! Scans JSON in chunks in one pass, with little state.

use std::mem;

use memchr::memchr2;

use super::Usage;
use super::counts::Counts;
use super::path::{Name, Path};
use super::split::split_at;

/// Bytes of the longest usage object that is read. They have a few hundred.
const MAX_USAGE_BYTES: usize = 8 << 10;

/// Bytes of the longest id that is read. They have about fifty.
const MAX_ID_BYTES: usize = 128;

/// What the JSON is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Form {
    /// A whole response.
    Body,
    /// One of many events.
    Event,
}

/// Scans JSON, cut anywhere, for usage and content. It does not validate the JSON: in invalid JSON it may find less, or
/// something else, but it never fails.
#[derive(Debug)]
pub(super) struct Scanner {
    form: Form,
    path: Path,
    token: Token,
    /// The next byte is the one that a backslash escapes.
    is_escaped: bool,
    /// What earlier chunks had of a key, of an id, or of a usage object.
    kept: Vec<u8>,
    counts: Counts,
    /// Counts from members that only some servers send. They are used if there are no other counts.
    other_counts: Counts,
    reads_id: bool,
    id: Option<String>,
    has_content: bool,
}

#[derive(Clone, Copy, Debug)]
enum Token {
    /// Anything but a string.
    Between,
    Key,
    /// The response's id.
    Id,
    /// A string that will be content if it is not empty.
    Content,
    /// A string of no interest.
    Text,
    Usage(OpenUsage),
}

/// A usage object whose end has not come yet.
#[derive(Clone, Copy, Debug)]
struct OpenUsage {
    /// Whether it is a member that only some servers send.
    is_other: bool,
    /// The number of open objects and arrays, including itself.
    depth: usize,
    is_in_string: bool,
    is_too_long: bool,
}

impl Scanner {
    /// A scanner at the start of JSON. It finds the response's id only if `reads_id`.
    pub(super) fn new(form: Form, reads_id: bool) -> Self {
        Self {
            form,
            path: Path::top(),
            token: Token::Between,
            is_escaped: false,
            kept: Vec::new(),
            counts: Counts::default(),
            other_counts: Counts::default(),
            reads_id,
            id: None,
            has_content: false,
        }
    }

    /// Resets the position, because other JSON begins. Keeps the results.
    pub(super) fn restart(&mut self) {
        self.path = Path::top();
        self.token = Token::Between;
        self.is_escaped = false;
    }

    pub(super) fn whole_usage(&self) -> Option<Usage> {
        self.counts.whole_usage().or_else(|| self.other_counts.whole_usage())
    }

    pub(super) fn usage(&self) -> Option<Usage> {
        self.counts.usage().or_else(|| self.other_counts.usage())
    }

    pub(super) fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    pub(super) fn has_content(&self) -> bool {
        self.has_content
    }

    /// The memory that it holds in addition to its own fixed size.
    #[cfg(test)]
    pub(super) fn kept_bytes(&self) -> usize {
        self.kept.capacity()
    }

    pub(super) fn read(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            bytes = match self.token {
                Token::Between => self.read_between(bytes),
                Token::Key | Token::Id | Token::Content | Token::Text => self.read_string(bytes),
                Token::Usage(open) => self.read_usage(bytes, open),
            };
        }
    }

    /// Reads up to and including the next byte that changes the position. Returns the remaining bytes.
    fn read_between<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        // Arrays of numbers, such as embeddings, are skipped at once: commas matter only between members.
        let commas = self.path.is_in_object();
        let is_bound = |byte: &u8| match byte {
            b'"' | b'{' | b'}' | b'[' | b']' => true,
            b',' => commas,
            _ => false,
        };
        let (_, bound, after) = split_at(bytes, bytes.iter().position(is_bound));
        match bound {
            Some(b'"') => self.open_string(),
            Some(b'{') => self.open_object(),
            Some(b'[') => self.path.open_array(),
            Some(b'}' | b']') => self.path.close(),
            Some(_) => self.path.next(),
            None => {}
        }
        after
    }

    /// Reads up to and including the next quote or escape. Returns the remaining bytes.
    fn read_string<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        if self.is_escaped {
            self.is_escaped = false;
            return bytes.get(1..).unwrap_or_default();
        }
        let (before, bound, after) = split_at(bytes, quote_or_backslash(bytes));
        self.is_escaped = bound == Some(b'\\');
        let has_ended = bound == Some(b'"');
        match self.token {
            Token::Key | Token::Id if has_ended && self.kept.is_empty() => self.found_text(before),
            Token::Key | Token::Id => {
                self.keep_text(before);
                if has_ended {
                    let kept = mem::take(&mut self.kept);
                    self.found_text(&kept);
                }
            }
            Token::Content if self.is_escaped || !before.is_empty() => {
                self.has_content = true;
                self.token = Token::Text;
            }
            _ => {}
        }
        if has_ended {
            self.token = Token::Between;
        }
        after
    }

    /// Reads up to and including the end of a usage object. Returns the remaining bytes.
    fn read_usage<'a>(&mut self, bytes: &'a [u8], mut open: OpenUsage) -> &'a [u8] {
        let end = bytes.iter().position(|byte| open.ends_at(*byte, &mut self.is_escaped));
        let length = end.map_or(bytes.len(), |end| end + 1);
        let (object, after) = bytes.split_at_checked(length).unwrap_or((bytes, &[]));
        open.is_too_long |= self.kept.len() + object.len() >= MAX_USAGE_BYTES;
        if open.is_too_long {
            self.kept.clear();
        } else if end.is_some() && self.kept.is_empty() {
            self.found_usage(object, open.is_other);
        } else {
            self.kept.extend_from_slice(object);
            if end.is_some() {
                let kept = mem::take(&mut self.kept);
                self.found_usage(&kept, open.is_other);
            }
        }
        self.token = if end.is_some() { Token::Between } else { Token::Usage(open) };
        after
    }

    fn open_string(&mut self) {
        self.token = if self.path.is_before_key() {
            self.kept.clear();
            Token::Key
        } else if self.reads_id && self.is_id() {
            self.kept.clear();
            Token::Id
        } else if matches!(self.form, Form::Event) && !self.has_content && self.path.is_content() {
            Token::Content
        } else {
            Token::Text
        };
    }

    fn found_text(&mut self, text: &[u8]) {
        match self.token {
            Token::Key => self.path.enter(Name::of(text)),
            Token::Id => self.id = plain_id(text),
            _ => {}
        }
    }

    fn is_id(&self) -> bool {
        match self.form {
            Form::Body => self.path.is_id_of_body(),
            Form::Event => self.path.is_id_of_event(),
        }
    }

    fn open_object(&mut self) {
        let is_usage = match self.form {
            Form::Body => {
                self.has_content = true;
                self.path.is_usage_of_body()
            }
            Form::Event => self.path.is_usage_of_event(),
        };
        let is_other = self.path.is_other_usage();
        if is_usage || is_other {
            self.kept.clear();
            let open = OpenUsage { is_other, depth: 1, is_in_string: false, is_too_long: false };
            self.token = Token::Usage(open);
        } else {
            self.path.open_object();
        }
    }

    /// Records a usage object, without its first brace.
    fn found_usage(&mut self, object: &[u8], is_other: bool) {
        let counts = Counts::from_json(object);
        match self.form {
            _ if is_other => self.other_counts.update(counts),
            // Of several members of one name the last counts, as most JSON parsers have it.
            Form::Body => self.counts = counts,
            Form::Event => self.counts.update(counts),
        }
    }

    /// Keeps enough of a text that one which is too long or escaped is not mistaken for a shorter or plain one.
    fn keep_text(&mut self, bytes: &[u8]) {
        let longest = if matches!(self.token, Token::Key) { Name::LONGEST } else { MAX_ID_BYTES };
        let room = (longest + 1).saturating_sub(self.kept.len());
        self.kept.extend(bytes.iter().chain(self.is_escaped.then_some(&b'\\')).take(room));
    }
}

impl OpenUsage {
    /// Reads a byte, and returns whether the object ends with it.
    fn ends_at(&mut self, byte: u8, is_escaped: &mut bool) -> bool {
        match byte {
            _ if *is_escaped => *is_escaped = false,
            b'\\' if self.is_in_string => *is_escaped = true,
            b'"' => self.is_in_string = !self.is_in_string,
            _ if self.is_in_string => {}
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => self.depth -= 1,
            _ => {}
        }
        self.depth == 0
    }
}

/// Keys and most values are shorter than it takes to start a fast search.
fn quote_or_backslash(bytes: &[u8]) -> Option<usize> {
    const SHORT: usize = 16;
    let short = bytes.iter().take(SHORT).position(|byte| matches!(byte, b'"' | b'\\'));
    short.or_else(|| Some(SHORT + memchr2(b'"', b'\\', bytes.get(SHORT..)?)?))
}

/// An id as servers make them: short, of printable ASCII characters, and without escapes.
fn plain_id(bytes: &[u8]) -> Option<String> {
    let is_plain = bytes.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'\\');
    let is_short = (1..=MAX_ID_BYTES).contains(&bytes.len());
    if is_plain && is_short { String::from_utf8(bytes.to_vec()).ok() } else { None }
}
