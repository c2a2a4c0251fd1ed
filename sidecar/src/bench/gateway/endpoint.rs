//! An OpenAI-compatible API: its URL, the credentials for it, and the connections to it.

use std::fmt;

use anyhow::{Context, Result, bail, ensure};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, RequestBuilder, Url, redirect, retry};
use rustls::{ClientConfig, RootCertStore};

/// The API's path below its base URL.
const CHAT_COMPLETIONS: &str = "/chat/completions";

/// How requests reach an API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1. Connections are kept; each has one request at a time.
    Http1,
    /// HTTP/2 without negotiation, all requests on one connection.
    Http2,
}

/// An API to which requests can be sent. Clones share its connections.
#[derive(Debug, Clone)]
pub struct Endpoint {
    client: Client,
    url: Url,
    headers: HeaderMap,
    key: Option<ApiKey>,
}

/// A secret that is never shown.
#[derive(Clone)]
pub struct ApiKey(String);

impl Endpoint {
    /// An API by its base URL, such as `http://127.0.0.1:10000/v1`, or by the URL of its chat completions. Connects with the
    /// first request.
    ///
    /// # Errors
    /// If the URL is invalid or carries credentials, or the system has no CA certificates for HTTPS.
    pub fn new(base: &str, key: Option<ApiKey>, extra: &[Header], protocol: Protocol) -> Result<Self> {
        let url = completions_url(base)?;
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(key) = &key {
            headers.insert(AUTHORIZATION, key.header()?);
        }
        for Header { name, value } in extra {
            // Other users of the machine can read command lines.
            ensure!(
                name != AUTHORIZATION,
                "--header {name}: put the key into an environment variable and name it with --key-env"
            );
            headers.append(name.clone(), value.clone());
        }
        let client = client(&url, protocol).with_context(|| format!("cannot prepare requests to {base}"))?;
        Ok(Self { client, url, headers, key })
    }

    /// A chat completion request with this body.
    pub fn post(&self, body: Vec<u8>) -> RequestBuilder {
        self.client.post(self.url.clone()).headers(self.headers.clone()).body(body)
    }

    /// Whether connections use TLS.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.url.scheme() == "https"
    }

    /// Replaces the key in a text, such as an error message that quotes it.
    #[must_use]
    pub fn without_key(&self, text: &str) -> String {
        match &self.key {
            Some(ApiKey(key)) => text.replace(key, "<key>"),
            None => text.to_owned(),
        }
    }
}

/// The URL without its query, which may have credentials.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut url = self.url.clone();
        url.set_query(None);
        url.fmt(f)
    }
}

impl ApiKey {
    /// A key as its variable has it.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.trim().to_owned())
    }

    fn header(&self) -> Result<HeaderValue> {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", self.0))
            .ok()
            .context("the API key has characters that a header cannot carry")?;
        value.set_sensitive(true);
        Ok(value)
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(..)")
    }
}

/// A request header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    name: HeaderName,
    value: HeaderValue,
}

impl std::str::FromStr for Header {
    type Err = String;

    /// `NAME: VALUE`. [`Endpoint::new`] rejects credentials, because an error here would make clap repeat them.
    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = text.split_once(':').ok_or("not of the form 'NAME: VALUE'")?;
        let name: HeaderName = name.trim().parse().map_err(|_| format!("invalid header name {name:?}"))?;
        let value = value.trim().parse().map_err(|_| format!("invalid value of the header {name}"))?;
        Ok(Self { name, value })
    }
}

fn completions_url(base: &str) -> Result<Url> {
    let fail = || format!("{base} is not a URL like http://127.0.0.1:10000/v1");
    let mut url = Url::parse(base).with_context(fail)?;
    ensure!(matches!(url.scheme(), "http" | "https") && url.has_host(), fail());
    if !url.username().is_empty() || url.password().is_some() {
        bail!("the URL of {} has credentials: pass a key by --key-env", url.host_str().unwrap_or("the API"));
    }
    let path = url.path().trim_end_matches('/');
    if !path.ends_with(CHAT_COMPLETIONS) {
        let path = format!("{path}{CHAT_COMPLETIONS}");
        url.set_path(&path);
    }
    Ok(url)
}

fn client(url: &Url, protocol: Protocol) -> Result<Client> {
    // It fails only if a provider is already installed.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = Client::builder()
        .user_agent(concat!("llm-router-sidecar/", env!("CARGO_PKG_VERSION")))
        // The benchmark measures one response to one request, over a direct connection.
        .no_proxy()
        .redirect(redirect::Policy::none())
        .retry(retry::never());
    if url.scheme() == "http" {
        // Otherwise the client reads the system's CA certificates, and fails if there are none.
        let unused =
            ClientConfig::builder().with_root_certificates(RootCertStore::empty()).with_no_client_auth();
        builder = builder.tls_backend_preconfigured(unused);
    }
    builder = match protocol {
        Protocol::Http1 => builder.http1_only(),
        Protocol::Http2 => builder.http2_prior_knowledge(),
    };
    builder.build().context("cannot set up TLS: install the package ca-certificates, or set SSL_CERT_FILE")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(base: &str) -> String {
        Endpoint::new(base, None, &[], Protocol::Http1).unwrap().to_string()
    }

    #[test]
    fn the_url_may_be_the_base_or_whole() {
        for base in ["http://h:1/v1", "http://h:1/v1/", "http://h:1/v1/chat/completions"] {
            assert_eq!(url(base), "http://h:1/v1/chat/completions");
        }
        assert_eq!(url("http://h"), "http://h/chat/completions");
        assert_eq!(url("http://h/openai?key=secret"), "http://h/openai/chat/completions");
    }

    #[test]
    fn what_is_not_an_http_url_is_rejected() {
        for base in ["127.0.0.1:10000/v1", "localhost:10000/v1", "ftp://h/v1", "v1", ""] {
            let error = completions_url(base).unwrap_err().to_string();
            assert!(error.contains("is not a URL like http://"), "{error}");
        }
        let error = completions_url("http://me:secret@h/v1").unwrap_err().to_string();
        assert!(error.contains("--key-env") && !error.contains("secret"), "{error}");
    }

    #[test]
    fn headers_have_a_name_and_a_value_and_no_key() {
        let header: Header = "x-llm-policy: support ".parse().unwrap();
        assert_eq!((header.name.as_str(), header.value.to_str().unwrap()), ("x-llm-policy", "support"));
        for (text, reason) in [("x", "NAME: VALUE"), ("a b: c", "invalid header name")] {
            let error = text.parse::<Header>().unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
        let key = "Authorization: Bearer secret".parse().unwrap();
        let error = Endpoint::new("http://h/v1", None, &[key], Protocol::Http1).unwrap_err().to_string();
        assert!(error.contains("--key-env") && !error.contains("secret"), "{error}");
    }

    #[test]
    fn the_key_is_sent_and_never_shown() {
        let key = ApiKey::new("sk-secret\n");
        let endpoint = Endpoint::new("http://h/v1", Some(key), &[], Protocol::Http1).unwrap();
        let request = endpoint.post(Vec::new()).build().unwrap();
        assert_eq!(request.headers()[AUTHORIZATION].to_str().unwrap(), "Bearer sk-secret");
        assert!(!format!("{endpoint:?} {request:?}").contains("sk-secret"));
        assert_eq!(endpoint.without_key("no such key: sk-secret"), "no such key: <key>");
    }
}
