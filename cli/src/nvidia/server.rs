//! The LLM servers of a blueprint's configuration, as Envoy clusters.

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use url::Url;

/// Where an `api_base` points.
pub(super) struct Server {
    host: String,
    port: u16,
    tls: bool,
    pub(super) base_path: String,
}

pub(super) fn server(api_base: &str) -> Result<Server> {
    let url = Url::parse(api_base).with_context(|| format!("api_base: {api_base:?} is not a URL"))?;
    let tls = match url.scheme() {
        "https" => true,
        "http" => false,
        other => bail!("api_base: {api_base:?} must be http or https, not {other}"),
    };
    let host = url.host_str().with_context(|| format!("api_base: {api_base:?} has no host"))?.to_owned();
    let port = url.port().unwrap_or(if tls { 443 } else { 80 });
    // The blueprint adds /v1 to an api_base that does not end with it.
    let path = url.path().trim_end_matches('/');
    let base_path = if path.ends_with("/v1") { path.to_owned() } else { format!("{path}/v1") };
    Ok(Server { host, port, tls, base_path })
}

impl Server {
    /// The host as HTTP clients send it: with its port, unless it is the scheme's own.
    pub(super) fn authority(&self) -> String {
        match (self.tls, self.port) {
            (true, 443) | (false, 80) => self.host.clone(),
            (_, port) => format!("{}:{port}", self.host),
        }
    }

    pub(super) fn cluster(&self) -> String {
        format!("{}-{}", self.host.replace('.', "-"), self.port)
    }

    pub(super) fn to_cluster(&self) -> Value {
        let address = json!({"socket_address": {"address": self.host, "port_value": self.port}});
        let mut cluster = json!({
            "name": self.cluster(),
            "type": "STRICT_DNS",
            "connect_timeout": "2s",
            "load_assignment": {
                "cluster_name": self.cluster(),
                "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
            },
        });
        if let (true, Some(members)) = (self.tls, cluster.as_object_mut()) {
            members.insert("transport_socket".to_owned(), self.tls_socket());
        }
        cluster
    }

    fn tls_socket(&self) -> Value {
        json!({
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
                "sni": self.host,
                "auto_sni_san_validation": true,
                "common_tls_context": {
                    "validation_context": {"trusted_ca": {"filename": "/etc/ssl/certs/ca-certificates.crt"}},
                },
            },
        })
    }
}
