//! Keeps web pages of other sites away from the operators' API and its console.
//!
//! The API has no authentication, and a browser on the same machine reaches it on behalf of any page. Requests from other origins
//! are rejected by their `Origin`. A page that has made its own host name resolve to the API's address (DNS rebinding) is rejected by
//! its `Host`, wherever the API listens: a port forward makes every address a loopback one. Other clients need not send either.

use axum::extract::{Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HOST, ORIGIN, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::error::Error;
use super::host::AllowedHosts;

/// Instructions for browsers, in the headers of each response.
const HEADERS: [(HeaderName, HeaderValue); 4] = [
    (
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
             base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        ),
    ),
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
];

/// Forwards requests of the same origin.
pub(super) async fn same_origin_only(
    State(hosts): State<AllowedHosts>,
    request: Request,
    next: Next,
) -> Response {
    let mut response = match check(&hosts, request.headers()) {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    };
    response.headers_mut().extend(HEADERS);
    response
}

fn check(hosts: &AllowedHosts, headers: &HeaderMap) -> Result<(), Error> {
    let host = headers.get(HOST).map(HeaderValue::as_bytes);
    if let Some(origin) = headers.get(ORIGIN) {
        let authority = after_scheme(origin.as_bytes());
        let is_same = authority.zip(host).is_some_and(|(origin, host)| origin.eq_ignore_ascii_case(host));
        if !is_same {
            return Err(Error::ForeignOrigin);
        }
    }
    match host {
        Some(host) if !hosts.accept(host) => Err(Error::ForeignHost),
        _ => Ok(()),
    }
}

/// The part of an origin after its scheme; none without a scheme, as in `null`.
fn after_scheme(origin: &[u8]) -> Option<&[u8]> {
    origin.strip_prefix(b"http://").or_else(|| origin.strip_prefix(b"https://"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(host: Option<&str>, origin: Option<&str>) -> HeaderMap {
        let pairs = [(HOST, host), (ORIGIN, origin)];
        pairs.into_iter().filter_map(|(name, value)| Some((name, value?.parse().unwrap()))).collect()
    }

    fn passes(host: Option<&str>, origin: Option<&str>) -> bool {
        check(&AllowedHosts::default(), &headers(host, origin)).is_ok()
    }

    #[test]
    fn the_host_of_a_browser_must_be_allowed() {
        assert!(passes(Some("10.1.2.3:9091"), Some("http://10.1.2.3:9091")));
        assert!(!passes(Some("evil.example:9091"), None));
        assert!(!passes(Some("evil.example:9091"), Some("http://evil.example:9091")));
        assert!(passes(None, None), "not a browser");
    }

    #[test]
    fn an_origin_must_be_the_hosts() {
        for origin in ["http://localhost:9091", "https://localhost:9091", "http://LOCALHOST:9091"] {
            assert!(passes(Some("localhost:9091"), Some(origin)), "{origin}");
        }
        for origin in [
            "null",
            "",
            "http://localhost",
            "http://localhost:9092",
            "http://evil.example",
            "http://localhost:9091.evil.example",
            "file://localhost:9091",
            "localhost:9091",
        ] {
            assert!(!passes(Some("localhost:9091"), Some(origin)), "{origin}");
        }
        assert!(!passes(None, Some("http://localhost:9091")), "there is no host to compare");
    }
}
