//! The hosts that requests to the admin API may name.

use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use axum::http::uri::Authority;

/// A host name without scheme and port, in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostName(String);

/// The text is not a host name.
#[derive(Debug, thiserror::Error)]
#[error("expected a host name without scheme and port, such as router.example.com")]
pub struct ParseHostNameError;

impl FromStr for HostName {
    type Err = ParseHostNameError;

    fn from_str(text: &str) -> Result<Self, ParseHostNameError> {
        let is_part = |part: &str| {
            !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        };
        match text.split('.').all(is_part) {
            true => Ok(Self(text.to_ascii_lowercase())),
            false => Err(ParseHostNameError),
        }
    }
}

/// The hosts that requests may name: `localhost`, any IP address, and the configured names.
#[derive(Debug, Clone, Default)]
pub struct AllowedHosts(Arc<[HostName]>);

impl AllowedHosts {
    /// Allows these names besides `localhost` and IP addresses.
    #[must_use]
    pub fn new(names: Vec<HostName>) -> Self {
        Self(names.into())
    }

    /// Whether a `Host` header, with or without a port, is allowed. An IP address is safe, because no site
    /// can make it resolve to another one.
    pub(super) fn accept(&self, host: &[u8]) -> bool {
        let Ok(authority) = Authority::try_from(host) else { return false };
        if authority.as_str().contains('@') {
            return false;
        }
        let name = authority.host();
        let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
        address.parse::<IpAddr>().is_ok()
            || name.eq_ignore_ascii_case("localhost")
            || self.0.iter().any(|HostName(allowed)| name.eq_ignore_ascii_case(allowed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts(names: &[&str], host: &str) -> bool {
        AllowedHosts::new(names.iter().map(|name| name.parse().unwrap()).collect()).accept(host.as_bytes())
    }

    #[test]
    fn localhost_and_addresses_are_hosts() {
        for host in ["localhost", "LocalHost:9091", "127.0.0.1:9091", "10.0.0.1", "[::1]:8080", "[fd00::1]"] {
            assert!(accepts(&[], host), "{host}");
        }
    }

    #[test]
    fn a_name_is_a_host_if_it_is_configured() {
        let name = "llm-router-sidecar.llm-router.svc";
        for host in [name, "llm-router-sidecar.llm-router.svc:9091", "LLM-Router-sidecar.llm-router.SVC"] {
            assert!(accepts(&["other", name], host), "{host}");
            assert!(!accepts(&["other"], host), "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:9091",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "llm-router-sidecar.llm-router.svc.evil.example",
            "localhost@evil.example",
            "evil.example@localhost",
            "",
            "::1",
        ] {
            assert!(!accepts(&[name], host), "{host}");
        }
    }

    #[test]
    fn a_name_has_no_scheme_port_or_wildcard() {
        for text in ["", "http://a", "a:9091", "*.a", "a/", "a..b", "a b", "[::1]"] {
            assert!(text.parse::<HostName>().is_err(), "{text}");
        }
    }
}
