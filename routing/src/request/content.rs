//! The content of messages: its texts, and the size and kind of everything else.
//!
//! Parts of unknown types have no text, but their length counts: an LLM may read them.

use std::mem;

use memchr::memchr;

use super::error::BodyError;
use super::key::in_any_case;
use crate::json::{RawString, Scanner, SyntaxError};

/// The content of a turn.
#[derive(Clone, Debug, Default)]
pub(super) struct Content<'a> {
    texts: Texts<'a>,
    /// Whether it has images or videos, wherever the API allows them.
    pub(super) has_images: bool,
    /// Whether it has reasoning that only the model that wrote it accepts: signed or encrypted.
    pub(super) has_sealed_reasoning: bool,
    /// Whether it has parts that routing cannot read, but an LLM can: images, files, token numbers, and unknown types. Tool calls
    /// and their results are not among them.
    pub(super) has_unread: bool,
    /// Bytes outside its texts, as written: tool calls, their results, and unknown members. Encoded data, such as that of images,
    /// does not count.
    pub(super) other_bytes: usize,
}

#[derive(Clone, Debug)]
enum Texts<'a> {
    One(RawString<'a>),
    Several(Vec<RawString<'a>>),
}

impl Default for Texts<'_> {
    fn default() -> Self {
        Self::Several(Vec::new())
    }
}

impl<'a> Content<'a> {
    pub(super) fn one(text: RawString<'a>) -> Self {
        Self { texts: Texts::One(text), ..Self::default() }
    }

    pub(super) fn several(texts: Vec<RawString<'a>>) -> Self {
        Self { texts: Texts::Several(texts), ..Self::default() }
    }

    /// Content that routing cannot read, of this length.
    pub(super) fn unread(bytes: usize) -> Self {
        Self { has_unread: true, other_bytes: bytes, ..Self::default() }
    }

    /// Reads a string, an array of parts, or one part. Null is empty.
    pub(super) fn read(scanner: &mut Scanner<'a>) -> Result<Self, BodyError> {
        match scanner.peek() {
            Some(b'"') => Ok(Self::one(scanner.string()?)),
            Some(b'[' | b'{') => {
                let mut content = Self::default();
                content.read_parts(scanner, 0)?;
                Ok(content)
            }
            Some(b'n') => {
                scanner.skip()?;
                Ok(Self::default())
            }
            _ => Err(BodyError::Type("must be a string, an array of parts, or null")),
        }
    }

    pub(super) fn texts(&self) -> &[RawString<'a>] {
        match &self.texts {
            Texts::One(text) => std::slice::from_ref(text),
            Texts::Several(texts) => texts,
        }
    }

    /// Whether it has text that is not only white space.
    pub(super) fn has_text(&self) -> bool {
        self.texts().iter().any(|text| !text.is_blank())
    }

    /// Its bytes, as written.
    pub(super) fn bytes(&self) -> usize {
        self.text_bytes() + self.other_bytes
    }

    fn text_bytes(&self) -> usize {
        self.texts().iter().map(|text| text.written()).sum()
    }

    /// Adds the content of a member with the same name: parsers differ in which one counts.
    pub(super) fn append(&mut self, mut other: Self) {
        let mut texts = match mem::take(&mut self.texts) {
            Texts::One(text) => vec![text],
            Texts::Several(texts) => texts,
        };
        texts.extend_from_slice(other.texts());
        self.texts = Texts::Several(texts);
        self.has_unread |= other.has_unread;
        other.texts = Texts::default();
        self.add_without_text(&other);
    }

    /// Adds what lies beside the content. Its texts are none of the turn's, but count.
    pub(super) fn add_without_text(&mut self, other: &Self) {
        self.has_images |= other.has_images;
        self.has_sealed_reasoning |= other.has_sealed_reasoning;
        self.other_bytes += other.bytes();
    }
}

/// The bytes of a value that an LLM may read as text.
pub(super) fn bytes_of(raw: &[u8]) -> usize {
    count(raw, |content, scanner| content.read_parts(scanner, 0))
}

/// The same of a value that can be encoded data.
pub(super) fn bytes_of_data(raw: &[u8]) -> usize {
    count(raw, |content, scanner| content.read_data(&mut Part::default(), scanner, 0))
}

fn count<'a>(
    raw: &'a [u8],
    read: impl FnOnce(&mut Content<'a>, &mut Scanner<'a>) -> Result<(), SyntaxError>,
) -> usize {
    let mut content = Content::default();
    match read(&mut content, &mut Scanner::new(raw)) {
        Ok(()) => content.bytes(),
        // It has too many items, or is not JSON.
        Err(_) => raw.len(),
    }
}

/// Parts nest in tool results, and those in documents. Nothing that an API knows is nested deeper.
const MAX_NESTING: u32 = 4;

/// Whether a part or an item of this type is an image or a video, in any API.
fn is_image(kind: &[u8]) -> bool {
    matches!(
        kind,
        b"image_url"
            | b"input_image"
            | b"image"
            | b"image_embeds"
            | b"image_pil"
            | b"computer_screenshot"
            | b"image_generation_call"
            | b"video_url"
            | b"input_video"
            | b"video"
            | b"video_embeds"
    )
}

/// Whether a member with this key holds encoded data or its address.
fn is_data(key: &[u8]) -> bool {
    matches!(
        key,
        b"images"
            | b"audio"
            | b"input_audio"
            | b"audio_url"
            | b"audio_embeds"
            | b"prompt_embeds"
            | b"file"
            | b"input_file"
            | b"file_url"
            | b"source"
            | b"url"
            | b"data"
            | b"inline_data"
            | b"inlinedata"
            | b"b64_json"
            | b"result"
    ) || is_image(key)
}

/// One part, or one item of a response's input.
#[derive(Default)]
pub(super) struct Part {
    /// Whether it has members.
    has_members: bool,
    has_text: bool,
    /// Whether it is a tool call or its result.
    is_tool: bool,
    /// Whether it is of a type that a response's input has: `input_text`, `input_image` and the like.
    pub(super) is_input: bool,
    /// Whether its data is text: `{"type": "text", "data": …}`.
    is_text: bool,
    /// The bytes of its encoded data.
    data_bytes: usize,
}

impl Part {
    /// Whether an LLM may read it, but routing cannot.
    fn is_unread(&self) -> bool {
        self.has_members && !self.has_text && !self.is_tool
    }
}

impl<'a> Content<'a> {
    /// Adds an array of parts, or one part. Texts of nested ones are those of tools.
    pub(super) fn read_parts(&mut self, scanner: &mut Scanner<'a>, depth: u32) -> Result<(), SyntaxError> {
        match scanner.peek() {
            _ if depth > MAX_NESTING => self.count_raw(scanner).map(drop),
            Some(b'[') => scanner.array(|scanner| self.read_part(scanner, depth)),
            _ => self.read_part(scanner, depth),
        }
    }

    fn read_part(&mut self, scanner: &mut Scanner<'a>, depth: u32) -> Result<(), SyntaxError> {
        match scanner.peek() {
            Some(b'"') => {
                let text = scanner.string()?;
                self.add_text(text, depth);
            }
            Some(b'{') => {
                let mut part = Part::default();
                scanner.object(|scanner, key| self.read_member(&mut part, &key.name, scanner, depth))?;
                self.end_part(&part);
                self.has_unread |= depth == 0 && part.is_unread();
            }
            _ => self.has_unread |= self.count_raw(scanner)? && depth == 0,
        }
        Ok(())
    }

    /// Reads a member of a part or item.
    pub(super) fn read_member(
        &mut self,
        part: &mut Part,
        key: &[u8],
        scanner: &mut Scanner<'a>,
        depth: u32,
    ) -> Result<(), SyntaxError> {
        part.has_members = true;
        if !in_any_case(key, |key| self.read_known(part, key, scanner, depth))? {
            // What tools are given and give back, and what only an LLM knows.
            self.count_raw(scanner)?;
        }
        Ok(())
    }

    /// Reads a member with this key in lower case. Returns whether the key is known.
    fn read_known(
        &mut self,
        part: &mut Part,
        key: &[u8],
        scanner: &mut Scanner<'a>,
        depth: u32,
    ) -> Result<bool, SyntaxError> {
        let first = scanner.peek();
        match key {
            // Servers such as vLLM take a refusal or a thought for text, in any role.
            b"text" | b"refusal" | b"thinking" if first == Some(b'"') => {
                let text = scanner.string()?;
                part.has_text = true;
                self.add_text(text, depth);
            }
            b"type" if first == Some(b'"') => self.read_type(part, &scanner.string()?.bytes()),
            // Of a reasoning item. Results of searches, which are nested, have encrypted contents for all models.
            b"signature" | b"encrypted_content" if first == Some(b'"') => {
                let sealed = scanner.string()?;
                let is_reasoning = key == b"signature" || depth == 0;
                self.has_sealed_reasoning |= is_reasoning && !sealed.inner().is_empty();
                self.add_data(part, sealed);
            }
            // A tool result, a tool's output, and a document that is made of parts.
            b"content" | b"output" | b"outputs" => self.read_parts(scanner, depth + 1)?,
            b"media_type" | b"mime_type" | b"mediatype" | b"mimetype" if first == Some(b'"') => {
                self.read_media_type(part, scanner.string()?);
            }
            b"file_data" if first == Some(b'"') => {
                let data = scanner.string()?;
                self.read_media_type(part, data);
                self.add_data(part, data);
            }
            _ if is_data(key) => {
                let start = scanner.position();
                self.read_data(part, scanner, depth)?;
                let has_images = key == b"images" || is_image(key);
                self.has_images |= has_images && !is_nothing(scanner.since(start));
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Skips a value, and counts it unless it is null. Returns whether it counts.
    fn count_raw(&mut self, scanner: &mut Scanner<'a>) -> Result<bool, SyntaxError> {
        let is_null = scanner.peek() == Some(b'n');
        let raw = scanner.raw()?;
        self.other_bytes += if is_null { 0 } else { raw.len() };
        Ok(!is_null)
    }

    fn read_type(&mut self, part: &mut Part, kind: &[u8]) {
        self.has_images |= is_image(kind);
        self.has_sealed_reasoning |= matches!(kind, b"redacted_thinking" | b"reasoning.encrypted");
        part.is_text |= kind == b"text";
        part.is_input |= kind.starts_with(b"input_");
        part.is_tool |= kind.ends_with(b"tool_use") || kind.ends_with(b"tool_result");
    }

    /// Reads a media type, or a URL that holds the data itself.
    fn read_media_type(&mut self, part: &mut Part, written: RawString<'a>) {
        self.has_images |= starts_with_any(written.inner(), &IMAGE_DATA);
        part.is_text |= starts_with_any(written.inner(), &TEXT_DATA);
    }

    /// Reads encoded data, its address, or a list or an object of them.
    fn read_data(
        &mut self,
        part: &mut Part,
        scanner: &mut Scanner<'a>,
        depth: u32,
    ) -> Result<(), SyntaxError> {
        match scanner.peek() {
            Some(b'"') => {
                let data = scanner.string()?;
                part.is_text |= starts_with_any(data.inner(), &TEXT_DATA);
                self.add_data(part, data);
                Ok(())
            }
            Some(b'[') if depth < MAX_NESTING && !scanner.starts_with_number() => {
                scanner.array(|scanner| self.read_data(part, scanner, depth + 1))
            }
            Some(b'{') => self.read_parts(scanner, depth + 1),
            _ => self.count_raw(scanner).map(drop),
        }
    }

    fn add_data(&mut self, part: &mut Part, data: RawString<'a>) {
        match is_encoded(data.inner()) {
            true => part.data_bytes += data.written(),
            false => self.other_bytes += data.written(),
        }
    }

    /// Counts the data of a part that is text. Its type can come after the data.
    pub(super) fn end_part(&mut self, part: &Part) {
        if part.is_text {
            self.other_bytes += part.data_bytes;
        }
    }

    fn add_text(&mut self, text: RawString<'a>, depth: u32) {
        match &mut self.texts {
            Texts::Several(texts) if depth == 0 => texts.push(text),
            _ => self.other_bytes += text.written(),
        }
    }
}

/// The beginnings of media types, and of URLs that hold the data themselves, of images and videos.
const IMAGE_DATA: [&[u8]; 6] = [b"image/", br"image\/", b"video/", br"video\/", b"data:image", b"data:video"];

/// The same of texts.
const TEXT_DATA: [&[u8]; 3] = [b"text/", br"text\/", b"data:text"];

fn starts_with_any(written: &[u8], starts: &[&[u8]]) -> bool {
    let starts_with =
        |start: &&[u8]| written.get(..start.len()).is_some_and(|it| it.eq_ignore_ascii_case(start));
    starts.iter().any(starts_with)
}

/// Whether a string of a member for data is data, or its address: unlike text, they have neither spaces nor letters beyond ASCII.
fn is_encoded(written: &[u8]) -> bool {
    // The start shows which letters it has. Data can be long.
    const START: usize = 64;
    written.get(..START).unwrap_or(written).is_ascii() && memchr(b' ', written).is_none()
}

/// Whether a value, as written, is null or empty.
pub(super) fn is_nothing(raw: &[u8]) -> bool {
    match raw {
        b"null" | b"\"\"" => true,
        [b'[', inner @ .., b']'] | [b'{', inner @ .., b'}'] => inner.trim_ascii().is_empty(),
        _ => false,
    }
}
