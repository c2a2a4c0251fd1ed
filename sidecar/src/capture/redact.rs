//! Redacts personal data and credentials before a prompt is written.
//!
//! Patterns find structured data: addresses, numbers, keys. They do not find names or other statements about a person.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use regex::{Captures, Regex};

/// A kind of text that is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Emails,
    Numbers,
    Keys,
}

/// Base64 digits. Some text and paths consist of them, too.
const RANDOM: &str = r"[A-Za-z0-9_\-+/]{32,}={0,2}";

/// Whether base64 digits look random: small and capital letters and decimal digits among them.
fn is_random(text: &str) -> bool {
    let has = |kind: fn(&char) -> bool| text.chars().any(|character| kind(&character));
    has(char::is_ascii_lowercase) && has(char::is_ascii_uppercase) && has(char::is_ascii_digit)
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

    fn patterns(self) -> &'static [&'static str] {
        match self {
            Self::Emails => &[r"[\p{L}\p{N}._%+\-']+(?:@|%40)[\p{L}\p{N}\-]+(?:\.[\p{L}\p{N}\-]+)+"],
            Self::Numbers => &[
                // Accounts that begin with letters, such as an IBAN.
                r"\b[A-Z]{2}\d{2}(?:[ \-]?[A-Z0-9]{2,4}){3,8}\b",
                // Phones, cards, ids: five digits or more, perhaps in groups.
                r"(?:\+|\b)\(?\d(?:[ \u{a0}\-./()]{0,3}\d){4,}\b",
            ],
            Self::Keys => &[
                // A private key, to the end of the text if its own end is missing.
                r"-----BEGIN [A-Z ]*PRIVATE KEY-----(?s:.*?)(?:-----END [A-Z ]*PRIVATE KEY-----|\z)",
                // JSON Web Tokens.
                r"\beyJ[\w\-]{8,}\.[\w\-]{8,}(?:\.[\w\-]*)?",
                // Keys with the prefixes of OpenAI and Anthropic, GitHub, GitLab, Slack, Hugging Face, Stripe, npm, Google, AWS, NVIDIA.
                r"\b(?:sk|pk|rk|gh[pousr]|github_pat|glpat|xox[abeoprs]|xapp|hf|npm|nvapi|whsec|AIza|ya29|AKIA|ASIA)[-_.]?[\w\-]{12,}",
                // What is named so, after its name.
                r#"(?i)\b(?:password|passwd|pwd|passphrase|secret|token|api[_\- ]?key|access[_\- ]?key|authorization)\b["']?\s*(?:[:=]|is)\s*(?:(?:bearer|basic)\s+)?["']?[^\s"',;]{4,}"#,
                r"(?i)\b(?:bearer|basic)\s+[\w\-.~+/]{16,}=*",
                // A password in an address.
                r"\b[a-z][a-z0-9+.\-]*://[^\s/:@]+:[^\s/@]+@",
                r"\b[0-9a-fA-F]{32,}\b",
                RANDOM,
            ],
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
pub(super) struct Redactor(Vec<Pattern>);

struct Pattern {
    regex: Regex,
    /// Whether a match is not a false positive.
    is_meant: fn(&str) -> bool,
    mark: &'static str,
}

impl Redactor {
    /// A redactor of these kinds.
    pub(super) fn new(Redaction(kinds): Redaction) -> Self {
        let of = |kind: Kind| kind.patterns().iter().filter_map(move |text| Pattern::new(text, kind.mark()));
        Self(kinds.into_iter().flat_map(of).collect())
    }

    /// The text without them.
    pub(super) fn redact<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let mut text = Cow::Borrowed(text);
        for Pattern { regex, is_meant, mark } in &self.0 {
            let replacement = |found: &Captures<'_>| match found.get(0).map_or("", |it| it.as_str()) {
                found if is_meant(found) => (*mark).to_owned(),
                found => found.to_owned(),
            };
            if let Cow::Owned(replaced) = regex.replace_all(&text, replacement) {
                text = Cow::Owned(replaced);
            }
        }
        text
    }
}

impl Pattern {
    /// None if it does not compile, which a test excludes.
    fn new(text: &'static str, mark: &'static str) -> Option<Self> {
        let is_meant = if text == RANDOM { is_random } else { |_: &str| true };
        Some(Self { regex: Regex::new(text).ok()?, is_meant, mark })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redact(text: &str) -> String {
        Redactor::new(Redaction::default()).redact(text).into_owned()
    }

    #[test]
    fn every_pattern_compiles() {
        for pattern in Kind::ALL.iter().flat_map(|kind| kind.patterns()) {
            Regex::new(pattern).unwrap();
        }
    }

    #[test]
    fn emails_are_replaced() {
        for (text, expected) in [
            ("Write to Ann.O'Neil+x@mail.example.co.uk, please", "Write to [email], please"),
            ("größe@münchen.example <a@b.de>", "[email] <[email]>"),
            ("https://x.example/?mail=ann%40example.com&y=1", "https://x.example/?mail=[email]&y=1"),
        ] {
            assert_eq!(redact(text), expected);
        }
    }

    #[test]
    fn numbers_of_five_digits_and_more_are_replaced() {
        for (text, expected) in [
            ("call +49 (0) 151 / 2345-678 today", "call [number] today"),
            ("card 4111 1111 1111 1111.", "card [number]."),
            ("SSN 078-05-1120, born 1990-02-17", "SSN [number], born [number]"),
            ("IBAN DE89 3704 0044 0532 0130 00!", "IBAN [number]!"),
            ("هاتف ٠٥٠١٢٣٤٥٦٧", "هاتف [number]"),
            ("电话:13800138000。", "电话:[number]。"),
            ("add 1234 and 99", "add 1234 and 99"),
            ("in 2024, 3 of 10", "in 2024, 3 of 10"),
        ] {
            assert_eq!(redact(text), expected);
        }
    }

    #[test]
    fn keys_are_replaced() {
        let jwt =
            "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U";
        for secret in [
            "sk-proj-abcdefghijklmnop",
            "sk-ant-api03-AAAAbbbbCCCCdddd",
            "ghp_0123456789abcdefghijABCDEFGHIJ012345",
            "xoxb-123456789012-abcdefghijkl",
            "AKIAIOSFODNN7EXAMPLE",
            "AIzaSyA-1234567890abcdefghijklmnopqrstu",
            "nvapi-abcdefghijklmnop_1234",
            jwt,
            "d41d8cd98f00b204e9800998ecf8427e",
            "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY1",
        ] {
            assert_eq!(redact(&format!("use {secret} here")), "use [key] here", "{secret}");
        }
        for (text, expected) in [
            ("password: hunter22 works", "[key] works"),
            (r#"{"api_key": "abcd1234"}"#, r#"{"[key]"}"#),
            ("Authorization: Bearer abc.def-123456789", "[key]"),
            ("my password is swordfish.", "my [key]"),
            ("postgres://user:pa55@db.example/x", "[key]db.example/x"),
            ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----\nafter", "[key]\nafter"),
            ("-----BEGIN PRIVATE KEY-----\nMIIE and no end", "[key]"),
        ] {
            assert_eq!(redact(text), expected);
        }
    }

    #[test]
    fn usual_prose_and_code_stay() {
        for text in [
            "What is a token, and why is the secret of success so simple?",
            "fn main() { let password_field = form.input(\"name\"); }",
            "Übersetze: 'Guten Tag' ins Französische.",
            "x = y @ z  # matrix product",
            "internationalization_of_configuration_parameters",
            "see src/components/settings/dialogs/account/index",
        ] {
            assert_eq!(redact(text), text);
        }
    }

    #[test]
    fn kinds_can_be_named() {
        let emails = Redactor::new("emails".parse().unwrap());
        assert_eq!(emails.redact("a@b.de 1234567"), "[email] 1234567");
        assert_eq!(Redactor::new("none".parse().unwrap()).redact("a@b.de"), "a@b.de");
        assert_eq!("numbers, emails".parse::<Redaction>().unwrap().to_string(), "emails,numbers");
        assert_eq!("none".parse::<Redaction>().unwrap().to_string(), "none");
        assert!("names".parse::<Redaction>().unwrap_err().contains("names"));
    }
}
