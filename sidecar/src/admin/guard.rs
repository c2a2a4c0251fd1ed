//! Keeps web pages of other sites away from the operators' API and its console.
//!
//! The API has no authentication, and a browser on the same machine reaches it on behalf of any page. Requests from other origins
//! are rejected by their `Origin`. A page that has made its own host name resolve to a loopback address (DNS rebinding) is rejected by
//! its `Host`. Other clients need not send either.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HOST, ORIGIN, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::error::Error;

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

/// The address that the API listens on.
#[derive(Clone, Copy, Debug)]
pub(super) struct ListenAddress(pub(super) SocketAddr);

/// Forwards requests of the same origin.
pub(super) async fn same_origin_only(
    State(listens): State<ListenAddress>,
    request: Request,
    next: Next,
) -> Response {
    let mut response = match check(listens, request.headers()) {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    };
    response.headers_mut().extend(HEADERS);
    response
}

fn check(listens: ListenAddress, headers: &HeaderMap) -> Result<(), Error> {
    let host = headers.get(HOST).map(HeaderValue::as_bytes);
    if let Some(origin) = headers.get(ORIGIN) {
        let authority = after_scheme(origin.as_bytes());
        let is_same = authority.zip(host).is_some_and(|(origin, host)| origin.eq_ignore_ascii_case(host));
        if !is_same {
            return Err(Error::ForeignOrigin);
        }
    }
    match host {
        Some(host) if !listens.accepts(host) => Err(Error::ForeignHost),
        _ => Ok(()),
    }
}

/// The part of an origin after its scheme; none without a scheme, as in `null`.
fn after_scheme(origin: &[u8]) -> Option<&[u8]> {
    origin.strip_prefix(b"http://").or_else(|| origin.strip_prefix(b"https://"))
}

impl ListenAddress {
    /// Whether a host, perhaps with a port, can be meant for this address. On loopback, a name can only be `localhost`. An IP address
    /// is no name that another site could have made to resolve to this one.
    fn accepts(self, host: &[u8]) -> bool {
        if !self.0.ip().is_loopback() {
            return true;
        }
        let Ok(authority) = Authority::try_from(host) else { return false };
        if authority.as_str().contains('@') {
            return false;
        }
        let name = authority.host();
        let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
        match address.parse::<IpAddr>() {
            Ok(address) => address.is_loopback() || address == self.0.ip(),
            Err(_) => name.eq_ignore_ascii_case("localhost"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(host: Option<&str>, origin: Option<&str>) -> HeaderMap {
        let pairs = [(HOST, host), (ORIGIN, origin)];
        pairs.into_iter().filter_map(|(name, value)| Some((name, value?.parse().unwrap()))).collect()
    }

    fn passes(listens: &str, host: Option<&str>, origin: Option<&str>) -> bool {
        check(ListenAddress(listens.parse().unwrap()), &headers(host, origin)).is_ok()
    }

    #[test]
    fn on_loopback_only_the_names_of_this_machine_are_hosts() {
        for host in ["localhost", "LocalHost:9091", "127.0.0.1:9091", "127.0.0.1", "[::1]:8080", "127.0.0.2"]
        {
            assert!(passes("127.0.0.1:9091", Some(host), None), "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:9091",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "10.0.0.1",
            "localhost@evil.example",
            "evil.example@localhost",
            "",
            "::1",
        ] {
            assert!(!passes("127.0.0.1:9091", Some(host), None), "{host}");
            assert!(!passes("[::1]:9091", Some(host), None), "{host}");
        }
        assert!(passes("127.0.0.1:9091", None, None), "it is no browser");
    }

    #[test]
    fn elsewhere_any_name_may_be_the_hosts() {
        assert!(passes("0.0.0.0:9091", Some("sidecar.llm-router.svc:9091"), None));
        assert!(passes("10.1.2.3:9091", Some("10.1.2.3:9091"), Some("http://10.1.2.3:9091")));
    }

    #[test]
    fn an_origin_must_be_the_hosts_wherever_it_listens() {
        for listens in ["127.0.0.1:9091", "0.0.0.0:9091"] {
            for origin in ["http://localhost:9091", "https://localhost:9091", "http://LOCALHOST:9091"] {
                assert!(passes(listens, Some("localhost:9091"), Some(origin)), "{origin}");
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
                assert!(!passes(listens, Some("localhost:9091"), Some(origin)), "{origin}");
            }
            assert!(!passes(listens, None, Some("http://localhost:9091")), "there is no host to compare");
        }
    }
}
