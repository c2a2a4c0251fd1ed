//! The context of a request in Envoy: attributes, and the dynamic metadata that other filters wrote.
//!
//! A host reads what [`ContextKeys`] name and reports it as a [`RequestContext`]. Clients cannot write any of it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use serde_json::Value;

/// An attribute of a request, by Envoy's name for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attribute {
    /// The name of the route that Envoy chose for the request as it came.
    RouteName,
    /// The client's address, with or without its port.
    SourceAddress,
    /// The client's port.
    SourcePort,
    /// The address that the client connected to, with or without its port.
    DestinationAddress,
    /// The port that the client connected to.
    DestinationPort,
    /// Whether the client presented a certificate. Envoy may not have verified it, nor the attributes below, unless
    /// its listener's `validation_context` requires that.
    Mtls,
    /// The server name of the TLS handshake (SNI).
    RequestedServerName,
    /// The version of TLS.
    TlsVersion,
    /// The subject of the client's certificate.
    PeerSubject,
    /// The first DNS name of the client's certificate.
    PeerDnsName,
    /// The first URI of the client's certificate, such as a SPIFFE id.
    PeerUri,
    /// The SHA-256 digest of the client's certificate, in hexadecimal.
    PeerDigest,
}

/// The type of an attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttributeKind {
    /// A text.
    Text,
    /// An IP address, perhaps with a port.
    Address,
    /// A port number.
    Port,
    /// True or false.
    Flag,
}

impl Attribute {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::RouteName,
        Self::SourceAddress,
        Self::SourcePort,
        Self::DestinationAddress,
        Self::DestinationPort,
        Self::Mtls,
        Self::RequestedServerName,
        Self::TlsVersion,
        Self::PeerSubject,
        Self::PeerDnsName,
        Self::PeerUri,
        Self::PeerDigest,
    ];

    /// Envoy's name for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RouteName => "xds.route_name",
            Self::SourceAddress => "source.address",
            Self::SourcePort => "source.port",
            Self::DestinationAddress => "destination.address",
            Self::DestinationPort => "destination.port",
            Self::Mtls => "connection.mtls",
            Self::RequestedServerName => "connection.requested_server_name",
            Self::TlsVersion => "connection.tls_version",
            Self::PeerSubject => "connection.subject_peer_certificate",
            Self::PeerDnsName => "connection.dns_san_peer_certificate",
            Self::PeerUri => "connection.uri_san_peer_certificate",
            Self::PeerDigest => "connection.sha256_peer_certificate_digest",
        }
    }

    /// The attribute of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|attribute| attribute.as_str() == name)
    }

    /// The type of its values.
    pub const fn kind(self) -> AttributeKind {
        match self {
            Self::SourceAddress | Self::DestinationAddress => AttributeKind::Address,
            Self::SourcePort | Self::DestinationPort => AttributeKind::Port,
            Self::Mtls => AttributeKind::Flag,
            _ => AttributeKind::Text,
        }
    }
}

/// A value that conditions compare.
#[derive(Clone, Debug, PartialEq)]
pub enum Scalar {
    /// A text.
    Text(String),
    /// A number.
    Number(f64),
    /// True or false.
    Flag(bool),
}

impl Scalar {
    /// None if the value is null, a list or an object.
    pub fn from_json(value: &Value) -> Option<Self> {
        match value {
            Value::String(text) => Some(Self::Text(text.clone())),
            Value::Number(number) => number.as_f64().map(Self::Number),
            Value::Bool(flag) => Some(Self::Flag(*flag)),
            Value::Null | Value::Array(_) | Value::Object(_) => None,
        }
    }
}

/// A value in Envoy's dynamic metadata.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MetadataKey {
    /// The namespace: the name of the filter that wrote it.
    pub namespace: String,
    /// The path of member names within the namespace.
    pub path: Vec<String>,
}

impl MetadataKey {
    /// The value, or the values of a list, in a namespace's metadata. Empty if it is absent.
    pub fn in_json(&self, namespace: &Value) -> Vec<Scalar> {
        let found = self.path.iter().try_fold(namespace, |value, name| value.get(name));
        match found {
            Some(Value::Array(values)) => values.iter().filter_map(Scalar::from_json).collect(),
            Some(value) => Scalar::from_json(value).into_iter().collect(),
            None => Vec::new(),
        }
    }
}

/// The attributes and metadata that a policy's conditions read, which the host must provide.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContextKeys {
    /// The attributes.
    pub attributes: Vec<Attribute>,
    /// The metadata, ordered by namespace.
    pub metadata: Vec<Arc<MetadataKey>>,
}

/// The context of one request. Absent values are unknown.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RequestContext {
    attributes: Vec<(Attribute, Scalar)>,
    metadata: Vec<(Arc<MetadataKey>, Vec<Scalar>)>,
}

impl RequestContext {
    /// Reports an attribute.
    pub fn set_attribute(&mut self, attribute: Attribute, value: Scalar) {
        self.attributes.push((attribute, value));
    }

    /// Reports metadata: the value, or the values of a list.
    pub fn set_metadata(&mut self, key: &Arc<MetadataKey>, values: Vec<Scalar>) {
        self.metadata.push((Arc::clone(key), values));
    }

    /// Makes an attribute unknown.
    pub(crate) fn forget(&mut self, attribute: Attribute) {
        self.attributes.retain(|(known, _)| *known != attribute);
    }

    /// An attribute's value, if it is known.
    pub fn attribute(&self, attribute: Attribute) -> Option<&Scalar> {
        self.attributes.iter().find(|(known, _)| *known == attribute).map(|(_, value)| value)
    }

    /// The values at a place in the metadata; empty if it is unknown.
    pub fn metadata(&self, key: &MetadataKey) -> &[Scalar] {
        let known = self.metadata.iter().find(|(known, _)| **known == *key);
        known.map(|(_, values)| values.as_slice()).unwrap_or_default()
    }
}

/// The IP address in an address as Envoy writes it, with or without a port. None for a Unix socket. The zone of an IPv6 address
/// (`fe80::1%eth0`) is ignored.
pub(crate) fn ip_address(text: &str) -> Option<IpAddr> {
    let parse = |text: &str| {
        let with_port = text.parse().ok().map(|address: SocketAddr| address.ip());
        with_port.or_else(|| text.parse().ok())
    };
    let address = match text.split_once('%') {
        None => parse(text)?,
        Some((address, zone)) => {
            let port = zone.find(']').and_then(|end| zone.get(end..)).unwrap_or_default();
            parse(&format!("{address}{port}")).filter(IpAddr::is_ipv6)?
        }
    };
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_attribute_is_found_by_its_name() {
        for attribute in Attribute::ALL {
            assert_eq!(Attribute::from_name(attribute.as_str()), Some(attribute));
        }
        assert_eq!(Attribute::from_name("xds.route"), None);
    }

    #[test]
    fn addresses_are_read_with_or_without_a_port() {
        let v4 = Some(IpAddr::from([10, 1, 2, 3]));
        for text in ["10.1.2.3", "10.1.2.3:443", "::ffff:10.1.2.3", "[::ffff:10.1.2.3]:443"] {
            assert_eq!(ip_address(text), v4, "{text}");
        }
        assert_eq!(ip_address("[2001:db8::1]:443"), "2001:db8::1".parse().ok());
        assert_eq!(ip_address("2001:db8::1"), "2001:db8::1".parse().ok());
        let link_local = "fe80::1".parse().ok();
        for text in ["[fe80::1%eth0]:80", "[fe80::1%2]:80", "fe80::1%eth0"] {
            assert_eq!(ip_address(text), link_local, "{text}");
        }
        for text in [
            "[fe80::1%eth0",
            "10.1.2.3%eth0",
            "10.1.2.3%eth0:80",
            "",
            "/run/envoy.sock",
            "@pipe",
            "10.1.2",
            "localhost:1",
        ] {
            assert_eq!(ip_address(text), None, "{text}");
        }
    }

    #[test]
    fn a_member_of_metadata_is_a_value_or_a_list_of_values() {
        let key = |path: &[&str]| MetadataKey {
            namespace: "jwt".to_owned(),
            path: path.iter().map(|&name| name.to_owned()).collect(),
        };
        let claims = json!({"payload": {"tenant": "acme", "https://x.example/level": 3, "admin": true, "none": null,
            "groups": ["a", 1, null, ["b"]], "address": {"country": "PL"}}});
        let text = |text: &str| Scalar::Text(text.to_owned());
        for (path, expected) in [
            (&["payload", "tenant"][..], vec![text("acme")]),
            (&["payload", "https://x.example/level"], vec![Scalar::Number(3.0)]),
            (&["payload", "admin"], vec![Scalar::Flag(true)]),
            (&["payload", "groups"], vec![text("a"), Scalar::Number(1.0)]),
            (&["payload", "address", "country"], vec![text("PL")]),
            (&["payload", "address"], vec![]),
            (&["payload", "none"], vec![]),
            (&["payload", "tenant", "x"], vec![]),
            (&["other"], vec![]),
        ] {
            assert_eq!(key(path).in_json(&claims), expected, "{path:?}");
        }
    }

    #[test]
    fn what_was_not_reported_is_unknown() {
        let mut context = RequestContext::default();
        let key = Arc::new(MetadataKey { namespace: "a".to_owned(), path: vec!["b".to_owned()] });
        context.set_attribute(Attribute::RouteName, Scalar::Text("llms".to_owned()));
        context.set_metadata(&key, vec![Scalar::Flag(true)]);
        assert_eq!(context.attribute(Attribute::RouteName), Some(&Scalar::Text("llms".to_owned())));
        assert_eq!(context.attribute(Attribute::TlsVersion), None);
        assert_eq!(context.metadata(&key), [Scalar::Flag(true)]);
        let other = MetadataKey { namespace: "b".to_owned(), ..(*key).clone() };
        assert_eq!(context.metadata(&other), []);
        context.forget(Attribute::RouteName);
        assert_eq!(context.attribute(Attribute::RouteName), None);
    }
}
