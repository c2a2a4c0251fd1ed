//! The target of gRPC calls: a cluster, with an authority that servers accept.

use std::borrow::Cow;

/// The `:authority` of calls to clusters whose own name cannot be one. Short, since [`target`] has room for 127 bytes.
const AUTHORITY: &str = "sidecar";

/// The service to call, for Envoy. A cluster's name is enough, and Envoy sends it as the call's `:authority`.
/// If HTTP/2 servers would reject that, as with Istio's `outbound|50051||sidecar.llm.svc.cluster.local`, it is an encoded
/// `envoy.config.core.v3.GrpcService`, which Envoy also accepts, with its own authority.
pub(super) fn target(cluster: &str) -> Cow<'_, str> {
    if cluster.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte)) {
        return Cow::Borrowed(cluster);
    }
    let service = format!("{}{}", field(1, cluster), field(2, AUTHORITY));
    match service.len() {
        // The SDK accepts only UTF-8, and the encoding of a greater length is not UTF-8.
        0..=127 => Cow::Owned(field(1, &service)),
        _ => Cow::Borrowed(cluster),
    }
}

/// A field of Protocol Buffers whose number and length fit into one byte each.
fn field(number: u8, text: &str) -> String {
    format!("{}{}{text}", char::from(number << 3 | 2), char::from(text.len() as u8 & 0x7f))
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;

    /// `envoy.config.core.v3.GrpcService`, with the fields that are used here.
    #[derive(PartialEq, Message)]
    struct GrpcService {
        #[prost(message, optional, tag = "1")]
        envoy_grpc: Option<EnvoyGrpc>,
    }

    #[derive(PartialEq, Message)]
    struct EnvoyGrpc {
        #[prost(string, tag = "1")]
        cluster_name: String,
        #[prost(string, tag = "2")]
        authority: String,
    }

    #[test]
    fn a_name_that_can_be_an_authority_stays() {
        assert_eq!(target("llm-router-sidecar"), "llm-router-sidecar");
    }

    #[test]
    fn a_name_that_cannot_gets_an_authority() {
        let cluster = "outbound|50051||llm-router-sidecar.llm-router.svc.cluster.local";
        let service = GrpcService::decode(target(cluster).as_bytes()).unwrap();
        let expected = EnvoyGrpc { cluster_name: cluster.to_owned(), authority: AUTHORITY.to_owned() };
        assert_eq!(service.envoy_grpc, Some(expected));
    }

    #[test]
    fn a_name_that_is_too_long_stays() {
        let longest = "|".repeat(127 - AUTHORITY.len() - 4);
        let service = GrpcService::decode(target(&longest).as_bytes()).unwrap();
        assert_eq!(service.envoy_grpc.unwrap().cluster_name, longest);
        let longer = longest + "|";
        assert_eq!(target(&longer), longer);
    }
}
