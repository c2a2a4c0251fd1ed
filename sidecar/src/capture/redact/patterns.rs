//! The patterns of each kind of text, and the checks of their matches.
//!
//! Word boundaries are ASCII's: languages without spaces write letters directly before and after a number or a key.

use regex::Captures;

/// A regular expression, and how far its matches reach.
pub(super) type Pattern = (&'static str, Extent);

/// The number of bytes after a match that are replaced, too; none if the match has another meaning and stays. The patterns have
/// no look-around, so some checks need code. The second argument is the text after the match.
pub(super) type Extent = fn(&Captures<'_>, &str) -> Option<usize>;

/// A value is recognized by its first characters, so that the time stays linear if many names share one value.
const LOOK_AHEAD: usize = 256;

/// The minimum length of an unquoted value, in characters.
const MIN_VALUE: usize = 4;

pub(super) const EMAILS: &[Pattern] = &[
    (r"[\p{L}\p{N}._%+\-']+(?:@|%40|＠)[\p{L}\p{N}\-]+(?:\.[\p{L}\p{N}\-]+)+", always),
    (r"(?i)[\w.+\-]+\s*[\[(]\s*at\s*[\])]\s*[\w\-]+(?:\.[\w\-]+)+", always),
];

pub(super) const NUMBERS: &[Pattern] = &[
    // Accounts that begin with letters, such as an IBAN. Words of capital letters match, too, and may swallow an account.
    (r"(?-u:\b)[A-Z]{2}\d{2}(?P<value>(?:[ \-]?[A-Z0-9]{2,4}){3,8})", |found, _| {
        only_if(digits(whole(found)) >= 8)
    }),
    // Phone numbers, cards and ids: five digits or more, possibly in groups, and possibly directly between letters.
    (r"\+?\(?\d(?:[\p{Zs}\-./()_\u{2010}-\u{2015}]{0,3}\d){4,}", |found, _| {
        only_if(is_identifying(whole(found)))
    }),
];

/// The names of secrets, also as parts of longer names. The first name and the first link match, since the text after them may
/// have other ones.
macro_rules! named {
    () => {
        r"(?i)[\w\-]*?(?:passw(?:or)?d|passwort|contrase[ñn]a|пароль|密码|passphrase|pwd|secret|token|(?:api|access|account|private|auth)[_\- ]?key)[\w\-]*?(?:\\?[\x22'])?"
    };
}

/// Links the name of a secret to its value. Chinese and Japanese write no space between these words.
macro_rules! link {
    () => {
        r"(?::=|=>|[:=：]|(?-u:\b)is(?-u:\b)|[是为為は][:：]?)"
    };
}

pub(super) const KEYS: &[Pattern] = &[
    // A private key, to the end of the text if its own end is missing.
    (
        r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----(?s:.*?)(?:-----END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----|\z)",
        always,
    ),
    // JSON Web Tokens.
    (r"(?-u:\beyJ[\w\-]{8,}\.[\w\-]{8,}(?:\.[\w\-]*)?)", always),
    // Keys with the prefixes of their providers: OpenAI, Anthropic, Stripe, GitHub, GitLab, Slack, Hugging Face, npm, NVIDIA, Groq, xAI,
    // Replicate, Perplexity, SendGrid, DigitalOcean, Shopify, Grafana, Figma, Linear, Notion, PyPI, Google, Vault, Square, age.
    (
        r"(?-u:\b(?:sk|pk|rk|gh[pousr]|github_pat|glpat|xox[abeoprs]|xapp|hf|npm|nvapi|whsec|gsk|xai|r8|pplx|SG|dop_v1|shp(?:at|ca|pa|ss)|glsa|figd|lin_api|ntn|secret|pypi|GOCSPX|hv[bs]|sq0[a-z]{3}|AGE-SECRET-KEY)[-_.](?P<secret>[\w\-.]{8,}))",
        |found, _| only_if(has_digit(group(found, "secret"))),
    ),
    // The same without a separator: AWS, Google, Databricks.
    (r"(?-u:\b(?:AKIA|ASIA|AIza|ya29\.|dapi)[\w\-]{12,})", always),
    // A password in a URL.
    (r"[A-Za-z][A-Za-z0-9+.\-]*://[^\s/?#:@]*:", |_, rest| url_password(rest)),
    (r"(?i)[?&](?:[\w\-]*(?:token|secret|password|signature|api_?key)|sig|key|code)=[^&\s#\x22']+", always),
    (r"(?i)authorization[\x22']?\s*[:=]\s*[\x22']?(?:\w+\s+)?[^\s\x22',;]{4,}", always),
    (r"(?i)(?-u:\b)(?:bearer|basic)\s+(?-u:[\w\-.~+/]{16,}=*)", always),
    // The value of a named secret in quotes, which may be escaped.
    (
        concat!(
            named!(),
            r"\s*",
            link!(),
            r"\s*(?:\\\x22(?:[^\x22\\]|\\[^\x22])*\\\x22|\x22(?:\\.|[^\x22\\])*\x22|'(?:\\.|[^'\\])*')"
        ),
        always,
    ),
    // The value of a named secret without quotes, unless it looks like prose or code. The value is not part of the match, because
    // it may be the name of the real one: "secrets: password: ...".
    (concat!(named!(), r"(?P<link>\s*", link!(), r"\s*|\s+)(?:\\?[\x22'])?"), |found, rest| {
        named_value(group(found, "link"), rest)
    }),
    (r"(?-u:\b)[0-9a-fA-F]{32,}(?-u:\b)", always),
    (r"[A-Za-z0-9_\-+/]{32,}={0,2}", |found, _| only_if(is_random(whole(found)))),
];

fn always(_: &Captures<'_>, _: &str) -> Option<usize> {
    Some(0)
}

fn only_if(is_meant: bool) -> Option<usize> {
    is_meant.then_some(0)
}

fn whole<'t>(found: &Captures<'t>) -> &'t str {
    found.get(0).map_or("", |it| it.as_str())
}

fn group<'t>(found: &Captures<'t>, name: &str) -> &'t str {
    found.name(name).map_or("", |it| it.as_str())
}

fn digits(text: &str) -> usize {
    text.chars().filter(|character| character.is_numeric()).count()
}

fn has_digit(text: &str) -> bool {
    text.bytes().any(|byte| byte.is_ascii_digit())
}

/// The beginning of a text, to a character that ends a value, or to the limit.
fn beginning(text: &str, ends: impl Fn(char) -> bool) -> &str {
    let end = text.char_indices().enumerate().find(|(count, (_, it))| *count == LOOK_AHEAD || ends(*it));
    end.and_then(|(_, (end, _))| text.get(..end)).unwrap_or(text)
}

/// The password in a URL, from after the colon, with the `@` that follows it.
fn url_password(rest: &str) -> Option<usize> {
    let rest = beginning(rest, |it| it.is_whitespace() || matches!(it, '?' | '#'));
    let (password, _) = rest.rsplit_once('@')?;
    (!is_port_and_path(password)).then_some(password.len() + 1)
}

/// Whether a text has the form `8080/path`, which follows the name of a host and is not a password.
fn is_port_and_path(text: &str) -> bool {
    text.split_once('/')
        .is_some_and(|(port, _)| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Whether digits may identify somebody: not a decimal number, a range of years, single digits, or an arithmetic expression.
fn is_identifying(text: &str) -> bool {
    let groups: Vec<_> =
        text.split(|character: char| !character.is_numeric()).filter(|it| !it.is_empty()).collect();
    let are_years = groups.len() == 2 && groups.iter().all(|group| is_year(group));
    let are_single = groups.len() > 1 && groups.iter().all(|group| group.chars().count() == 1);
    !(is_decimal(text) || are_years || are_single || is_arithmetic(text, &groups))
}

/// Whether a number has decimals. Some people write dots in phone numbers, which have an area code, or a country code after a plus.
fn is_decimal(text: &str) -> bool {
    let (has_plus, number) = match text.strip_prefix('+') {
        Some(number) => (true, number),
        None => (false, text.trim_start_matches('(')),
    };
    let Some((integer, decimals)) = number.split_once('.') else { return false };
    let (before, after) = (digits(integer), digits(decimals));
    let is_phone = before > 1 && integer.starts_with('0')
        || before == 3 && after >= 7
        || has_plus && before + after >= 8;
    let has_only_digits = integer.chars().chain(decimals.chars()).all(char::is_numeric);
    has_only_digits && before <= 3 && !is_phone
}

fn is_year(group: &str) -> bool {
    group.chars().count() == 4 && !group.starts_with(['0', '3', '4', '5', '6', '7', '8', '9'])
}

/// Whether small numbers are joined by operators with spaces. Many digits in three or more groups are a phone number or a card.
fn is_arithmetic(text: &str, groups: &[&str]) -> bool {
    let is_spaced = [" - ", " / ", " . "].iter().any(|operator| text.contains(operator));
    let is_long = groups.len() >= 3 && digits(text) >= 7;
    is_spaced
        && !is_long
        && !text.starts_with(['+', '0', '('])
        && groups.iter().all(|group| group.chars().count() < 5)
}

/// The value after the name of a secret and a link, if it is one.
fn named_value(link: &str, rest: &str) -> Option<usize> {
    // A sentence goes on after these links without a space.
    let is_ascii_only = link.contains(['是', '为', '為', 'は']);
    let ends = |it: char| ends_value(it) || is_ascii_only && !it.is_ascii();
    let value = beginning(rest, ends);
    let is_meant = value.chars().count() >= MIN_VALUE && is_value(value, link);
    is_meant.then(|| rest.find(ends).unwrap_or(rest.len()))
}

fn ends_value(character: char) -> bool {
    const ENDS: &str = "\"',;)}]，。；、！？”’」』）】》";
    character.is_whitespace() || ENDS.contains(character)
}

/// Whether the text after the name of a secret is its value. After `NAME=` without blanks, it is unless it
/// looks like code; elsewhere, it must also contain a digit.
fn is_value(value: &str, link: &str) -> bool {
    let is_code = value.contains(['(', '[', '{', '<', '$']);
    !is_code && (has_digit(value) || link == "=" && !value.contains('.'))
}

/// Whether base64 characters look random: lower case, upper case and digits alternate more often than in
/// words and paths.
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
