//! The LLM servers of a blueprint's configuration, as Envoy clusters.

use std::fmt;
use std::net::IpAddr;

use serde_json::{Value, json};
use url::{Host, Url};

/// Where an LLM is served. Two that differ are two Envoy clusters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Server {
    tls: bool,
    host: Host<String>,
    port: u16,
}

/// Where an `api_base` points.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) server: Server,
    /// The part of requests' paths that replaces `/v1`.
    pub(super) base_path: String,
    /// Notes on parts of the `api_base` that are not carried over.
    pub(super) notes: Vec<&'static str>,
}

impl Endpoint {
    /// Reads an `api_base`.
    ///
    /// # Errors
    /// The reason why it is invalid. The text does not repeat the `api_base`, which may have a password in
    /// it.
    pub(super) fn from_api_base(api_base: &str) -> Result<Self, String> {
        let url = Url::parse(api_base).map_err(|_| "is not a URL like https://host:port".to_owned())?;
        let tls = match url.scheme() {
            "https" => true,
            "http" => false,
            _ => return Err("does not start with http:// or https://".to_owned()),
        };
        let host = url.host().ok_or("has no host")?.to_owned();
        let port = url.port_or_known_default().ok_or("has no port")?;
        let mut notes = Vec::new();
        if !url.username().is_empty() || url.password().is_some() {
            notes.push("the user and password in it are not carried over: keep them as an Envoy secret");
        }
        if url.query().is_some() || url.fragment().is_some() {
            notes.push("what follows its path is not carried over");
        }
        let path = url.path().trim_end_matches('/');
        // The blueprint always adds `/v1`, but an `api_base` that already ends with it is not meant to have
        // two.
        let base_path = if path.ends_with("/v1") { path.to_owned() } else { format!("{path}/v1") };
        if path.ends_with("/v1") {
            notes.push("the blueprint adds another /v1 to it; here it has one");
        }
        Ok(Self { server: Server { tls, host, port }, base_path, notes })
    }
}

impl Server {
    /// The host as HTTP clients send it: with its port, unless it is the scheme's own.
    pub(super) fn authority(&self) -> String {
        match (self.tls, self.port) {
            (true, 443) | (false, 80) => self.host.to_string(),
            (_, port) => format!("{}:{port}", self.host),
        }
    }

    /// The cluster's name, unless another server has it.
    pub(super) fn short_name(&self) -> String {
        let host = self.address().replace(['.', ':'], "-");
        format!("{}-{}", host.trim_matches('-'), self.port)
    }

    pub(super) fn to_cluster(&self, name: &str) -> Value {
        let address = json!({"socket_address": {"address": self.address(), "port_value": self.port}});
        let mut cluster = json!({
            "name": name,
            "type": if self.ip().is_some() { "STATIC" } else { "STRICT_DNS" },
            "connect_timeout": "2s",
            "load_assignment": {
                "cluster_name": name,
                "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
            },
        });
        if let (true, Some(members)) = (self.tls, cluster.as_object_mut()) {
            members.insert("transport_socket".to_owned(), self.tls_socket());
        }
        cluster
    }

    fn tls_socket(&self) -> Value {
        const CONTEXT: &str =
            "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext";
        let trusted_ca = json!({"filename": "/etc/ssl/certs/ca-certificates.crt"});
        let context = match self.ip() {
            // Server names (SNI) are never IP addresses.
            Some(ip) => {
                let matchers = json!([{"san_type": "IP_ADDRESS", "matcher": {"exact": ip.to_string()}}]);
                let validation = json!({"trusted_ca": trusted_ca, "match_typed_subject_alt_names": matchers});
                json!({"@type": CONTEXT, "common_tls_context": {"validation_context": validation}})
            }
            None => json!({
                "@type": CONTEXT,
                "sni": self.address(),
                "auto_sni_san_validation": true,
                "common_tls_context": {"validation_context": {"trusted_ca": trusted_ca}},
            }),
        };
        json!({"name": "envoy.transport_sockets.tls", "typed_config": context})
    }

    fn ip(&self) -> Option<IpAddr> {
        match self.host {
            Host::Ipv4(ip) => Some(ip.into()),
            Host::Ipv6(ip) => Some(ip.into()),
            Host::Domain(_) => None,
        }
    }

    /// The host without an IPv6 address's brackets.
    fn address(&self) -> String {
        self.ip().map_or_else(|| self.host.to_string(), |ip| ip.to_string())
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.tls { "https" } else { "http" }, self.authority())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(api_base: &str) -> Endpoint {
        Endpoint::from_api_base(api_base).unwrap()
    }

    #[test]
    fn a_base_path_ends_with_one_v1() {
        for (api_base, base_path) in [
            ("https://host", "/v1"),
            ("https://host/", "/v1"),
            ("https://host/v1/", "/v1"),
            ("https://host/openai", "/openai/v1"),
            ("https://host/openai/v1", "/openai/v1"),
        ] {
            assert_eq!(endpoint(api_base).base_path, base_path);
        }
    }

    #[test]
    fn an_address_is_a_static_cluster_without_a_server_name() {
        let server = endpoint("https://[2001:db8::1]:8443").server;
        assert_eq!(server.authority(), "[2001:db8::1]:8443");
        let cluster = server.to_cluster("c");
        assert_eq!(cluster["type"], "STATIC");
        let address = &cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"];
        assert_eq!(address["socket_address"]["address"], "2001:db8::1");
        assert!(cluster["transport_socket"]["typed_config"].get("sni").is_none());
    }

    #[test]
    fn the_reason_does_not_repeat_what_may_be_a_password() {
        for api_base in ["nvapi-key", "ftp://user:secret@host", "user:secret@host", "https://"] {
            let error = Endpoint::from_api_base(api_base).unwrap_err();
            assert!(!error.contains("secret") && !error.contains("nvapi-key"), "{error}");
        }
    }
}
