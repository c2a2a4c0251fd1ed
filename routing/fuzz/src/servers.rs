//! How LLM servers of other languages read a request: which of several members counts that have one name, or almost.

/// The JSON library of a server.
#[derive(Clone, Copy, Debug)]
pub enum Server {
    /// `encoding/json` of Go: case does not count, by Unicode's simple folding.
    Go,
    /// `json` of Python, and most others.
    Python,
}

/// A member of the body: its key's characters, and its value as it is written.
#[derive(Debug)]
pub struct Member<'b> {
    name: String,
    value: &'b [u8],
}

impl Server {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Go, Self::Python];

    /// The value that it takes for a field's: of several, the last.
    pub fn reads<'b>(self, members: &[Member<'b>], field: &str) -> Option<&'b [u8]> {
        let takes = |name: &str| match self {
            Self::Go => name.chars().map(folded).eq(field.chars().map(folded)),
            Self::Python => name == field,
        };
        members.iter().rev().find(|member| takes(&member.name)).map(|member| member.value)
    }
}

/// Simple folding, as far as it concerns ASCII names: two further characters fold to letters of ASCII.
fn folded(char: char) -> char {
    match char {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        _ => char.to_ascii_lowercase(),
    }
}

/// How many members have exactly this name. Some servers read the first, and some merge all.
pub fn count(members: &[Member<'_>], name: &str) -> usize {
    members.iter().filter(|member| member.name == name).count()
}

/// The members of a body, in order; none if it is nothing that a server reads. It takes all for JSON that one
/// of them does: Python knows `NaN`, and Go replaces characters that are broken.
pub fn members(body: &[u8]) -> Option<Vec<Member<'_>>> {
    let mut text = Text(body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body));
    let mut members = Vec::new();
    text.items(b'{', b'}', |text| {
        let name = unescaped(text.string()?);
        text.expect(b':')?;
        members.push(Member { name, value: text.value()? });
        Some(())
    })?;
    Some(members)
}

/// What is left of a text.
struct Text<'b>(&'b [u8]);

impl<'b> Text<'b> {
    /// The next byte that is no white space.
    fn peek(&mut self) -> Option<u8> {
        self.0 = self.0.trim_ascii_start();
        self.0.first().copied()
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then_some(())?;
        self.take(1).map(|_| ())
    }

    fn take(&mut self, length: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    /// What is between the quotes of the string that comes next.
    fn string(&mut self) -> Option<&'b [u8]> {
        self.expect(b'"')?;
        let mut length = 0;
        loop {
            length += match self.0.get(length..)? {
                [b'"', ..] => break,
                [b'\\', b'u', digits @ ..] => {
                    digits.get(..4)?.iter().all(u8::is_ascii_hexdigit).then_some(6)?
                }
                [b'\\', escaped, ..] => b"\"\\/bfnrt".contains(escaped).then_some(2)?,
                _ => 1,
            };
        }
        let string = self.take(length)?;
        self.take(1)?;
        Some(string)
    }

    /// The value that comes next, as it is written.
    fn value(&mut self) -> Option<&'b [u8]> {
        self.peek()?;
        let start = self.0;
        self.skip(0)?;
        start.get(..start.len() - self.0.len())
    }

    fn skip(&mut self, depth: usize) -> Option<()> {
        // Go's limit. Others have lower ones.
        (depth < 10_000).then_some(())?;
        match self.peek()? {
            b'"' => self.string().map(|_| ()),
            b'[' => self.items(b'[', b']', |text| text.skip(depth + 1)),
            b'{' => self.items(b'{', b'}', |text| {
                text.string()?;
                text.expect(b':')?;
                text.skip(depth + 1)
            }),
            _ => {
                let is_part = |byte: &&u8| byte.is_ascii_alphanumeric() || b"+-.".contains(*byte);
                let length = self.0.iter().take_while(is_part).count();
                self.take(length).filter(|word| is_word(word)).map(|_| ())
            }
        }
    }

    /// Items with commas between them.
    fn items(&mut self, open: u8, close: u8, mut item: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.expect(open)?;
        if self.peek()? == close {
            return self.expect(close);
        }
        loop {
            item(self)?;
            if self.peek()? == close {
                return self.expect(close);
            }
            self.expect(b',')?;
        }
    }
}

/// Whether a value is a number, or has one of the names that a server knows.
fn is_word(word: &[u8]) -> bool {
    let names: [&[u8]; 6] = [b"true", b"false", b"null", b"NaN", b"Infinity", b"-Infinity"];
    names.contains(&word) || is_number(word).is_some()
}

fn is_number(word: &[u8]) -> Option<()> {
    let word = word.strip_prefix(b"-").unwrap_or(word);
    let mut rest = match word {
        [b'0', rest @ ..] => rest,
        _ => digits(word)?,
    };
    if let Some(fraction) = rest.strip_prefix(b".") {
        rest = digits(fraction)?;
    }
    if let [b'e' | b'E', exponent @ ..] = rest {
        let sign = |byte| matches!(byte, b'+' | b'-');
        rest =
            digits(if exponent.first().copied().is_some_and(sign) { exponent.get(1..)? } else { exponent })?;
    }
    rest.is_empty().then_some(())
}

/// What follows digits, of which there must be one.
fn digits(text: &[u8]) -> Option<&[u8]> {
    let length = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    (length > 0).then(|| text.get(length..))?
}

/// The characters of a string.
fn unescaped(string: &[u8]) -> String {
    let string = String::from_utf8_lossy(string);
    let mut units = Vec::new();
    let mut rest = string.chars();
    while let Some(char) = rest.next() {
        let mut push = |char: char| units.extend_from_slice(char.encode_utf16(&mut [0; 2]));
        if char != '\\' {
            push(char);
            continue;
        }
        match rest.next() {
            Some('u') => {
                let digits: String = rest.by_ref().take(4).collect();
                units.push(u16::from_str_radix(&digits, 16).unwrap_or(0xfffd));
            }
            Some('b') => push('\u{8}'),
            Some('f') => push('\u{c}'),
            Some('n') => push('\n'),
            Some('r') => push('\r'),
            Some('t') => push('\t'),
            other => other.into_iter().for_each(push),
        }
    }
    String::from_utf16_lossy(&units)
}
