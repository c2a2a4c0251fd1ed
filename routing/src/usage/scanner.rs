//! One pass over JSON in chunks, that keeps its place and little else.

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
    /// A whole answer.
    Body,
    /// One of many events.
    Event,
}

/// Scans JSON, cut anywhere, for usage and content. It does not check the JSON: of what is broken it may find less, or
/// something else, but never fails.
#[derive(Debug)]
pub(super) struct Scanner {
    form: Form,
    path: Path,
    token: Token,
    /// The next byte is the one that a backslash escapes.
    is_escaped: bool,
    /// What has been read of a key, of an id, or of a usage object.
    kept: Vec<u8>,
    /// The usage object that is being kept.
    usage: Option<OpenUsage>,
    counts: Counts,
    /// Counts from where only some servers have them. They are used where there are no others.
    other_counts: Counts,
    id: Option<String>,
    has_content: bool,
}

/// A usage object whose end has not come yet.
#[derive(Clone, Copy, Debug)]
struct OpenUsage {
    /// The depth at which it stands.
    depth: usize,
    /// Whether it stands where only some servers have it.
    is_other: bool,
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
}

impl Scanner {
    pub(super) fn new(form: Form) -> Self {
        Self {
            form,
            path: Path::top(),
            token: Token::Between,
            is_escaped: false,
            kept: Vec::new(),
            usage: None,
            counts: Counts::default(),
            other_counts: Counts::default(),
            id: None,
            has_content: false,
        }
    }

    /// Forgets its place: other JSON begins. What was found stays.
    pub(super) fn restart(&mut self) {
        self.path = Path::top();
        self.token = Token::Between;
        self.is_escaped = false;
        self.usage = None;
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

    /// The memory that it holds, beside its own fixed size.
    #[cfg(test)]
    pub(super) fn kept_bytes(&self) -> usize {
        self.kept.capacity()
    }

    pub(super) fn read(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            bytes = match self.token {
                Token::Between => self.read_between(bytes),
                Token::Key | Token::Id | Token::Content | Token::Text => self.read_string(bytes),
            };
        }
    }

    /// Reads up to and with the next byte that changes the place, and gives what is left.
    fn read_between<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        // Arrays of numbers, as embeddings are, are skipped whole: commas matter only between members.
        let commas = self.path.is_in_object();
        let is_bound = |byte: &u8| match byte {
            b'"' | b'{' | b'}' | b'[' | b']' => true,
            b',' => commas,
            _ => false,
        };
        let (before, bound, after) = split_at(bytes, bytes.iter().position(is_bound));
        self.keep_usage(before, bound);
        match bound {
            Some(b'"') => self.open_string(),
            Some(b'{') => self.open_object(),
            Some(b'[') => self.path.open_array(),
            Some(b'}' | b']') => self.close(),
            Some(_) => self.path.next(),
            None => {}
        }
        after
    }

    /// Reads up to and with the next quote or escape, and gives what is left.
    fn read_string<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        if self.is_escaped
            && let Some((escaped, after)) = bytes.split_first()
        {
            self.is_escaped = false;
            self.keep_usage(&[], Some(*escaped));
            return after;
        }
        let (before, bound, after) = split_at(bytes, memchr2(b'"', b'\\', bytes));
        self.keep_usage(before, bound);
        self.is_escaped = bound == Some(b'\\');
        match self.token {
            Token::Key => self.keep_text(before, Name::LONGEST),
            Token::Id => self.keep_text(before, MAX_ID_BYTES),
            Token::Content if self.is_escaped || !before.is_empty() => {
                self.has_content = true;
                self.token = Token::Text;
            }
            _ => {}
        }
        if bound == Some(b'"') {
            self.close_string();
        }
        after
    }

    fn open_string(&mut self) {
        self.token = if self.usage.is_some() {
            Token::Text
        } else if self.path.is_before_key() {
            self.kept.clear();
            Token::Key
        } else if self.is_id() {
            self.kept.clear();
            Token::Id
        } else if matches!(self.form, Form::Event) && !self.has_content && self.path.is_content() {
            Token::Content
        } else {
            Token::Text
        };
    }

    fn close_string(&mut self) {
        match self.token {
            Token::Key => self.path.enter(Name::of(&self.kept)),
            Token::Id => self.id = plain_id(&self.kept),
            _ => {}
        }
        self.token = Token::Between;
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
        if self.usage.is_none() && (is_usage || is_other) {
            self.kept.clear();
            self.kept.push(b'{');
            self.usage = Some(OpenUsage { depth: self.path.depth(), is_other });
        }
        self.path.open_object();
    }

    fn close(&mut self) {
        self.path.close();
        if let Some(usage) = self.usage.take_if(|usage| usage.depth == self.path.depth()) {
            self.read_usage(usage.is_other);
        }
    }

    fn read_usage(&mut self, is_other: bool) {
        let counts = Counts::from_json(&self.kept);
        match self.form {
            _ if is_other => self.other_counts.update(counts),
            // Of several members of one name the last counts, as most JSON parsers have it.
            Form::Body => self.counts = counts,
            Form::Event => self.counts.update(counts),
        }
    }

    /// Keeps bytes if they are a usage object's. One that is too long is let go.
    fn keep_usage(&mut self, bytes: &[u8], bound: Option<u8>) {
        if self.usage.is_none() {
            return;
        }
        if self.kept.len() + bytes.len() < MAX_USAGE_BYTES {
            self.kept.extend_from_slice(bytes);
            self.kept.extend(bound);
        } else {
            self.usage = None;
        }
    }

    /// Keeps so much of a text that one which is too long or escaped cannot be taken for a shorter or plain one.
    fn keep_text(&mut self, bytes: &[u8], longest: usize) {
        let room = (longest + 1).saturating_sub(self.kept.len());
        self.kept.extend(bytes.iter().chain(self.is_escaped.then_some(&b'\\')).take(room));
    }
}

/// An id as servers make them: short, of printable ASCII characters, and without escapes.
fn plain_id(bytes: &[u8]) -> Option<String> {
    let is_plain = bytes.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'\\');
    let is_short = (1..=MAX_ID_BYTES).contains(&bytes.len());
    if is_plain && is_short { String::from_utf8(bytes.to_vec()).ok() } else { None }
}
