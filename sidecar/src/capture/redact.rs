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

    fn patterns(self) -> &'static [(&'static str, IsMeant)] {
        match self {
            Self::Emails => EMAILS,
            Self::Numbers => NUMBERS,
            Self::Keys => KEYS,
        }
    }
}

/// Whether a match is what it looks like. Without look-around, a pattern alone cannot say.
type IsMeant = fn(&Captures<'_>) -> bool;

const EMAILS: &[(&str, IsMeant)] = &[
    (r"[\p{L}\p{N}._%+\-']+(?:@|%40|＠)[\p{L}\p{N}\-]+(?:\.[\p{L}\p{N}\-]+)+", always),
    (r"(?i)[\w.+\-]+\s*[\[(]\s*at\s*[\])]\s*[\w\-]+(?:\.[\w\-]+)+", always),
];

const NUMBERS: &[(&str, IsMeant)] = &[
    // Accounts that begin with letters, such as an IBAN.
    (r"\b[A-Z]{2}\d{2}(?:[ \-]?[A-Z0-9]{2,4}){3,8}\b", |found| digits(whole(found)) >= 8),
    // Phones, cards, ids: five digits or more, perhaps in groups, and perhaps after a word.
    (r"\+?\(?\d(?:[ \u{a0}\-./()_\u{2010}-\u{2015}]{0,3}\d){4,}\b", is_identifying),
];

/// What secrets are named, in the middle of longer names, too.
macro_rules! named {
    () => {
        r"(?i)[\w\-]*(?:passw(?:or)?d|passwort|contrase[ñn]a|пароль|密码|passphrase|pwd|secret|token|(?:api|access|account|private|auth)[_\- ]?key)[\w\-]*"
    };
}

const KEYS: &[(&str, IsMeant)] = &[
    // A private key, to the end of the text if its own end is missing.
    (
        r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----(?s:.*?)(?:-----END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----|\z)",
        always,
    ),
    // JSON Web Tokens.
    (r"\beyJ[\w\-]{8,}\.[\w\-]{8,}(?:\.[\w\-]*)?", always),
    // Keys with the prefixes of their providers: OpenAI, Anthropic, Stripe, GitHub, GitLab, Slack, Hugging Face, npm, NVIDIA, Groq, xAI,
    // Replicate, Perplexity, SendGrid, DigitalOcean, Shopify, Grafana, Figma, Linear, Notion, PyPI, Google, Vault, Square, age.
    (
        r"\b(?:sk|pk|rk|gh[pousr]|github_pat|glpat|xox[abeoprs]|xapp|hf|npm|nvapi|whsec|gsk|xai|r8|pplx|SG|dop_v1|shp(?:at|ca|pa|ss)|glsa|figd|lin_api|ntn|secret|pypi|GOCSPX|hv[bs]|sq0[a-z]{3}|AGE-SECRET-KEY)[-_.](?P<secret>[\w\-.]{8,})",
        |found| has_digit(secret(found)),
    ),
    // The same without a separator: AWS, Google, Databricks.
    (r"\b(?:AKIA|ASIA|AIza|ya29\.|dapi)(?P<secret>[\w\-]{12,})", always),
    // A password in an address.
    (r"\b[A-Za-z][A-Za-z0-9+.\-]*://[^\s/?#:@]*:(?P<secret>[^\s?#]*)@", |found| {
        !is_port_and_path(secret(found))
    }),
    (
        r"(?i)[?&](?:[\w\-]*(?:token|secret|password|signature|api_?key)|sig|key|code)=(?P<secret>[^&\s#\x22']+)",
        always,
    ),
    (r"(?i)\bauthorization\b[\x22']?\s*[:=]\s*[\x22']?(?:\w+\s+)?[^\s\x22',;]{4,}", always),
    (r"(?i)\b(?:bearer|basic)\s+[\w\-.~+/]{16,}=*", always),
    // What is named so: quoted up to the closing quote, also where the quotes are escaped.
    (
        concat!(
            named!(),
            r"(?:\\?[\x22'])?\s*(?::=|=>|[:=：]|\bis\b)\s*(?:\\\x22(?:[^\x22\\]|\\[^\x22])*\\\x22|\x22(?:\\.|[^\x22\\])*\x22|'(?:\\.|[^'\\])*')"
        ),
        always,
    ),
    // Without quotes, where the value does not look like a word of a sentence or like code.
    (
        concat!(named!(), r"(?P<link>=|\s*(?::=|=>|[:=：]|\bis\b)\s*|\s+)(?P<secret>[^\s\x22',;)}\]]{4,})"),
        is_value,
    ),
    (r"\b[0-9a-fA-F]{32,}\b", always),
    (r"[A-Za-z0-9_\-+/]{32,}={0,2}", |found| is_random(whole(found))),
];

fn always(_: &Captures<'_>) -> bool {
    true
}

fn whole<'t>(found: &Captures<'t>) -> &'t str {
    found.get(0).map_or("", |it| it.as_str())
}

fn secret<'t>(found: &Captures<'t>) -> &'t str {
    found.name("secret").map_or("", |it| it.as_str())
}

fn digits(text: &str) -> usize {
    text.chars().filter(|character| character.is_numeric()).count()
}

fn has_digit(text: &str) -> bool {
    text.bytes().any(|byte| byte.is_ascii_digit())
}

/// `8080/path`: what follows a host's name, and not a password.
fn is_port_and_path(text: &str) -> bool {
    text.split_once('/')
        .is_some_and(|(port, _)| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Whether digits may identify somebody: not a decimal number, a range of years, single digits, or an arithmetic expression.
fn is_identifying(found: &Captures<'_>) -> bool {
    let text = whole(found);
    let groups: Vec<_> =
        text.split(|character: char| !character.is_numeric()).filter(|it| !it.is_empty()).collect();
    let is_decimal = matches!(groups.as_slice(), [whole, _] if whole.len() <= 3 && text.contains('.') && !text.contains(' '));
    let are_years = matches!(groups.as_slice(), [from, to] if from.len() == 4 && to.len() == 4);
    let are_single = groups.len() > 1 && groups.iter().all(|group| group.chars().count() == 1);
    let is_spaced = [" - ", " / ", " . "].iter().any(|operator| text.contains(operator));
    let is_arithmetic =
        is_spaced && !text.starts_with(['+', '0', '(']) && groups.iter().all(|group| group.len() < 5);
    !(is_decimal || are_years || are_single || is_arithmetic)
}

/// Whether what follows the name of a secret is its value. `NAME=value` without blanks is, unless it is code; elsewhere, only with a digit.
fn is_value(found: &Captures<'_>) -> bool {
    let (value, link) = (secret(found), found.name("link").map_or("", |it| it.as_str()));
    let is_code = value.contains(['(', '[', '{', '<', '$']);
    !is_code && (has_digit(value) || link == "=" && !value.contains('.'))
}

/// Whether base64 digits look random: small and capital letters and digits take turns, more than in words and paths.
fn is_random(text: &str) -> bool {
    let kinds: Vec<u8> = text
        .bytes()
        .filter_map(|byte| match byte {
            b'a'..=b'z' => Some(0),
            b'A'..=b'Z' => Some(1),
            b'0'..=b'9' => Some(2),
            _ => None,
        })
        .collect();
    let changes = kinds.windows(2).filter(|pair| pair.first() != pair.last()).count();
    (0..3).all(|kind| kinds.contains(&kind)) && 10 * changes >= 3 * kinds.len()
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
pub(super) struct Redactor(Vec<(Regex, IsMeant, &'static str)>);

impl Redactor {
    /// A redactor of these kinds.
    pub(super) fn new(Redaction(kinds): Redaction) -> Self {
        let of = |kind: Kind| kind.patterns().iter().map(move |pattern| (pattern, kind.mark()));
        let patterns = kinds.into_iter().flat_map(of);
        // A test compiles all of them.
        Self(
            patterns
                .filter_map(|((text, is_meant), mark)| Some((Regex::new(text).ok()?, *is_meant, mark)))
                .collect(),
        )
    }

    /// The text without them.
    pub(super) fn redact<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let mut text = Cow::Borrowed(text);
        for (regex, is_meant, mark) in &self.0 {
            let replacement = |found: &Captures<'_>| match is_meant(found) {
                true => (*mark).to_owned(),
                false => whole(found).to_owned(),
            };
            if let Cow::Owned(replaced) = regex.replace_all(&text, replacement) {
                text = Cow::Owned(replaced);
            }
        }
        text
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
        for (pattern, _) in Kind::ALL.iter().flat_map(|kind| kind.patterns()) {
            Regex::new(pattern).unwrap();
        }
    }

    #[test]
    fn emails_are_replaced() {
        for (text, expected) in [
            ("Write to Ann.O'Neil+x@mail.example.co.uk, please", "Write to [email], please"),
            ("größe@münchen.example <a@b.de>", "[email] <[email]>"),
            ("ann [at] example.com, bob＠example.com", "[email], [email]"),
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
            ("card 4111_1111_1111_1111, call 555–123–4567", "card [number], call [number]"),
            ("order12345678 and id_1234567", "order[number] and id_[number]"),
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
            "sk-proj-abcdefghij0123",
            "sk-ant-api03-AAAAbbbbCCCCdddd",
            "ghp_0123456789abcdefghijABCDEFGHIJ012345",
            "xoxb-123456789012-abcdefghijkl",
            "AKIAIOSFODNN7EXAMPLE",
            "gsk_abcd1234efgh",
            "xai-abcd1234efgh",
            "SG.abcd1234.efgh5678",
            "shpat_0123456789abcdef",
            "hvs.CAESIabcd1234",
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
            ("the password is 'swordfish', he said", "the [key], he said"),
            ("OPENAI_API_KEY=abcsecret and DB_PASSWORD=hunter22", "[key] and [key]"),
            ("clientSecret: 'a b c', next", "[key], next"),
            ("mysql --password hunter22 -u me", "mysql [key] -u me"),
            (r#"{"password": "pass word, with \"quotes\" in it"}"#, r#"{"[key]}"#),
            (r#"{\"password\": \"hunter22\"}"#, r#"{\"[key]}"#),
            ("Authorization: Bearer abc.def-123456789", "[key]"),
            ("Authorization: Token abcdefgh", "[key]"),
            ("postgres://user:pa55@db.example/x", "[key]db.example/x"),
            ("redis://:secretpw@host and amqp://u:p@ss@host", "[key]host and [key]host"),
            ("https://x.example/?access_token=abcd1234&y=1", "https://x.example/[key]&y=1"),
            ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----\nafter", "[key]\nafter"),
            ("-----BEGIN PGP PRIVATE KEY BLOCK-----\nx\n-----END PGP PRIVATE KEY BLOCK-----.", "[key]."),
            ("-----BEGIN PRIVATE KEY-----\nMIIE and no end", "[key]"),
        ] {
            assert_eq!(redact(text), expected);
        }
    }

    #[test]
    fn usual_prose_and_code_stay() {
        for text in [
            "What is a token, and why is the secret of success so simple?",
            "The API key is missing, the token is expired, and a password is required.",
            "fn main() { let password_field = form.input(\"name\"); }",
            "let token = tokenizer.next(); type Token = { token: string }",
            "Übersetze: 'Guten Tag' ins Französische.",
            "x = y @ z  # matrix product",
            "internationalization_of_configuration_parameters",
            "see src/Components/Settings/Dialogs/AccountButton2/index",
            "from huggingface_hub import hf_hub_download_from_path; sk-learn-contrib-package; rk4_integration_method",
            "npm-check-updates-install and sk_buff_alloc_function",
            "http://localhost:8080/users/@ann",
            "pi is 3.14159, 1990-2000, 1 2 3 4 5 6 7, 12 * 34 - 56 / 78 + 90",
            "MS15 THE BIG CAT",
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
