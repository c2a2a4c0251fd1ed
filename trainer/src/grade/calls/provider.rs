//! A provider's URL, and the key for it.

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, ensure};
use reqwest::Url;
use reqwest::header::HeaderValue;

use super::pace::Pace;

/// The path of chat completions, behind a base URL.
const PATH: &str = "/chat/completions";

/// A key, which neither logs nor errors show.
#[derive(Clone)]
pub(crate) struct ApiKey(String);

impl ApiKey {
    /// Reads the key from an environment variable; None if it is not set.
    ///
    /// # Errors
    /// If it has characters that a header cannot have.
    pub(crate) fn from_env(variable: &str) -> Result<Option<Self>> {
        let Some(key) = std::env::var(variable).ok().filter(|key| !key.trim().is_empty()) else {
            return Ok(None);
        };
        let key = Self(key.trim().to_owned());
        key.header().with_context(|| format!("the environment variable {variable} is not a valid key"))?;
        Ok(Some(key))
    }

    /// The header `authorization`.
    pub(super) fn header(&self) -> Result<HeaderValue> {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", self.0))
            .map_err(|_| anyhow::anyhow!("it has characters that a header cannot have"))?;
        value.set_sensitive(true);
        Ok(value)
    }

    /// The text without the key, which a provider's message may repeat.
    pub(crate) fn redact(&self, text: &str) -> String {
        text.replace(&self.0, "[key]")
    }
}

#[cfg(test)]
impl From<&str> for ApiKey {
    fn from(key: &str) -> Self {
        Self(key.to_owned())
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey")
    }
}

/// One URL, with everything that its models share.
#[derive(Debug)]
pub(crate) struct Provider {
    /// The URL of chat completions.
    pub(crate) url: Url,
    /// The key, and the environment variable that it is from.
    pub(crate) key: Option<ApiKey>,
    /// The environment variable of the key, to name in errors.
    pub(crate) key_variable: Option<String>,
    /// How fast requests are sent.
    pub(crate) pace: Pace,
    /// The number of requests in a row whose attempts all failed.
    failed: AtomicU32,
}

impl Provider {
    /// A provider.
    pub(crate) fn new(url: Url, key: Option<ApiKey>, key_variable: Option<String>, pace: Pace) -> Self {
        Self { url, key, key_variable, pace, failed: AtomicU32::new(0) }
    }

    /// Records that a request succeeded.
    pub(super) fn record_success(&self) {
        self.failed.store(0, Ordering::Relaxed);
    }

    /// Records that all attempts of a request failed; returns how many such requests there were in a row.
    pub(super) fn record_failure(&self) -> u32 {
        self.failed.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Whether a key would cross a network unencrypted.
    pub(crate) fn exposes_key(&self) -> bool {
        let is_local = match self.url.host_str() {
            Some("localhost" | "[::1]") => true,
            Some(host) => host.starts_with("127."),
            None => false,
        };
        self.key.is_some() && self.url.scheme() == "http" && !is_local
    }
}

/// The URL of chat completions, from a base URL such as `https://api.openai.com/v1`.
///
/// # Errors
/// If it is not such a URL.
pub(crate) fn completions_url(base: &str) -> Result<Url> {
    let mut url = Url::parse(base).with_context(|| format!("{base:?} is not a URL"))?;
    ensure!(matches!(url.scheme(), "http" | "https"), "{base:?} must start with http:// or https://");
    ensure!(
        url.username().is_empty() && url.password().is_none(),
        "the URL must not have a user or password: name the environment variable of the key with --key-env"
    );
    let path = url.path().trim_end_matches('/');
    let path = if path.ends_with(PATH) { path.to_owned() } else { format!("{path}{PATH}") };
    url.set_path(&path);
    url.set_fragment(None);
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_url_leads_to_chat_completions() {
        for (base, url) in [
            ("https://api.openai.com/v1", "https://api.openai.com/v1/chat/completions"),
            ("http://127.0.0.1:10000/v1/", "http://127.0.0.1:10000/v1/chat/completions"),
            ("http://host/v1/chat/completions", "http://host/v1/chat/completions"),
            ("https://host/openai?api-version=1", "https://host/openai/chat/completions?api-version=1"),
        ] {
            assert_eq!(completions_url(base).unwrap().as_str(), url);
        }
        for (base, wrong) in [
            ("api.openai.com/v1", "is not a URL"),
            ("ftp://host", "must start with http://"),
            ("https://me:secret@host/v1", "--key-env"),
        ] {
            let error = completions_url(base).unwrap_err().to_string();
            assert!(error.contains(wrong) && !error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn keys_are_neither_shown_nor_sent_unencrypted_unnoticed() {
        let key = ApiKey("sk-123".to_owned());
        assert_eq!(format!("{key:?} {:?}", key.header().unwrap()), "ApiKey Sensitive");
        assert_eq!(key.redact("wrong key sk-123."), "wrong key [key].");
        for (base, exposed) in [
            ("http://127.0.0.1:1", false),
            ("http://localhost", false),
            ("https://host", false),
            ("http://host", true),
        ] {
            let provider =
                Provider::new(completions_url(base).unwrap(), Some(key.clone()), None, Pace::new(None));
            assert_eq!(provider.exposes_key(), exposed, "{base}");
        }
    }
}
