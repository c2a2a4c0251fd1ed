//! The address of the gRPC service.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

/// `127.0.0.1:50051`, or `unix:/run/llm-router/sidecar.sock`, which Envoy connects to as a `pipe`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenAddress {
    /// Address and port.
    Tcp(SocketAddr),
    /// A socket in the file system, for an Envoy on the same host.
    Unix(PathBuf),
}

/// The text is neither an address nor a socket's path.
#[derive(Debug, thiserror::Error)]
#[error("expected ADDRESS:PORT, such as 127.0.0.1:50051, or unix:PATH")]
pub struct ParseListenAddressError;

impl FromStr for ListenAddress {
    type Err = ParseListenAddressError;

    fn from_str(text: &str) -> Result<Self, ParseListenAddressError> {
        match text.strip_prefix("unix://").or_else(|| text.strip_prefix("unix:")) {
            Some("") => Err(ParseListenAddressError),
            Some(path) => Ok(Self::Unix(path.into())),
            None => text.parse().map(Self::Tcp).map_err(|_| ParseListenAddressError),
        }
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_tcp_or_a_socket() {
        let tcp = "127.0.0.1:1".parse().unwrap();
        for (text, expected) in [
            ("127.0.0.1:1", ListenAddress::Tcp(tcp)),
            ("unix:/run/s", ListenAddress::Unix("/run/s".into())),
            ("unix:///run/s", ListenAddress::Unix("/run/s".into())),
        ] {
            assert_eq!(text.parse::<ListenAddress>().unwrap(), expected, "{text}");
        }
        assert_eq!(ListenAddress::Unix("/run/s".into()).to_string(), "unix:/run/s");
    }

    #[test]
    fn anything_else_is_rejected() {
        for text in ["", "localhost", "127.0.0.1", "unix:", "unix://"] {
            assert!(text.parse::<ListenAddress>().is_err(), "{text}");
        }
    }
}
