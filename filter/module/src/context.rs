//! The context of a request in Envoy: the attributes and dynamic metadata that the policy's conditions read.
//!
//! Envoy gives modules only the members of a namespace, not nested values. For the rest, Envoy's `set_filter_state` filter
//! can write a whole namespace, as JSON, into filter state.

use llm_router_routing::context::{Attribute, AttributeKind, ContextKeys, RequestContext, Scalar};
use serde_json::Value;

use crate::abi;
use crate::envoy::EnvoyFilter;

/// The prefix of the names of filter state with metadata. The namespace follows.
const METADATA_STATE: &str = "llm_router.metadata.";

/// Reads the context. Without such conditions, it does not call Envoy.
pub(crate) fn read(envoy: &EnvoyFilter, keys: &ContextKeys) -> RequestContext {
    let mut context = RequestContext::default();
    for attribute in &keys.attributes {
        if let Some(value) = read_attribute(envoy, *attribute) {
            context.set_attribute(*attribute, value);
        }
    }
    for in_namespace in keys.metadata.chunk_by(|one, other| one.namespace == other.namespace) {
        let Some(namespace) = in_namespace.first().map(|key| key.namespace.as_str()) else { continue };
        let state = envoy.filter_state(&format!("{METADATA_STATE}{namespace}"));
        let state: Option<Value> = state.and_then(|json| serde_json::from_slice(&json).ok());
        for key in in_namespace {
            let values = match (&state, key.path.as_slice()) {
                (Some(state), _) => key.in_json(state),
                (None, [name]) => envoy.metadata(namespace, name),
                (None, _) => continue,
            };
            context.set_metadata(key, values);
        }
    }
    context
}

fn read_attribute(envoy: &EnvoyFilter, attribute: Attribute) -> Option<Scalar> {
    let id = id(attribute);
    match attribute.kind() {
        AttributeKind::Text | AttributeKind::Address => {
            // Envoy returns an empty text for attributes that do not apply.
            envoy.text_attribute(id).filter(|text| !text.is_empty()).map(Scalar::Text)
        }
        AttributeKind::Port => {
            let port = envoy.number_attribute(id)?;
            Some(Scalar::Number(u16::try_from(port).ok()?.into()))
        }
        // Envoy returns no value for a connection without TLS.
        AttributeKind::Flag => Some(Scalar::Flag(envoy.flag_attribute(id).unwrap_or(false))),
    }
}

fn id(attribute: Attribute) -> abi::Attribute {
    match attribute {
        Attribute::RouteName => abi::Attribute::XdsRouteName,
        Attribute::SourceAddress => abi::Attribute::SourceAddress,
        Attribute::SourcePort => abi::Attribute::SourcePort,
        Attribute::DestinationAddress => abi::Attribute::DestinationAddress,
        Attribute::DestinationPort => abi::Attribute::DestinationPort,
        Attribute::Mtls => abi::Attribute::ConnectionMtls,
        Attribute::RequestedServerName => abi::Attribute::ConnectionRequestedServerName,
        Attribute::TlsVersion => abi::Attribute::ConnectionTlsVersion,
        Attribute::PeerSubject => abi::Attribute::ConnectionSubjectPeerCertificate,
        Attribute::PeerDnsName => abi::Attribute::ConnectionDnsSanPeerCertificate,
        Attribute::PeerUri => abi::Attribute::ConnectionUriSanPeerCertificate,
        Attribute::PeerDigest => abi::Attribute::ConnectionSha256PeerCertificateDigest,
    }
}
