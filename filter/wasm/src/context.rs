//! The context of a request in Envoy: the properties that the policy's conditions read.

use llm_router_proto::context;
use llm_router_routing::context::{AttributeKind, ContextKeys, RequestContext, Scalar};

use crate::host;

/// Reads the context. Without such conditions, it does not call Envoy.
pub(crate) fn read(keys: &ContextKeys) -> RequestContext {
    let mut context = RequestContext::default();
    for attribute in &keys.attributes {
        let path: Vec<_> = attribute.as_str().split('.').collect();
        if let Some(value) = host::property(&path).and_then(|bytes| scalar(attribute.kind(), bytes)) {
            context.set_attribute(*attribute, value);
        }
    }
    // Read the whole message, because its values by themselves have no types.
    if !keys.metadata.is_empty()
        && let Some(metadata) = host::property(&["metadata"])
    {
        context::add_encoded_metadata(&mut context, keys, &metadata);
    }
    context
}

/// A property that has a value, as Envoy serializes it.
fn scalar(kind: AttributeKind, bytes: Vec<u8>) -> Option<Scalar> {
    match kind {
        AttributeKind::Text | AttributeKind::Address => {
            String::from_utf8(bytes).ok().filter(|text| !text.is_empty()).map(Scalar::Text)
        }
        AttributeKind::Port => {
            let number = i64::from_le_bytes(bytes.try_into().ok()?);
            Some(Scalar::Number(u16::try_from(number).ok()?.into()))
        }
        AttributeKind::Flag => bytes.first().map(|byte| Scalar::Flag(*byte != 0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_are_read_as_envoy_serializes_them() {
        use AttributeKind::{Address, Flag, Port, Text};
        let text = |text: &str| Some(Scalar::Text(text.to_owned()));
        assert_eq!(scalar(Text, b"llms".to_vec()), text("llms"));
        assert_eq!(scalar(Address, b"10.0.0.1:443".to_vec()), text("10.0.0.1:443"));
        assert_eq!(scalar(Port, 443_i64.to_le_bytes().to_vec()), Some(Scalar::Number(443.0)));
        assert_eq!(scalar(Flag, vec![1]), Some(Scalar::Flag(true)));
        assert_eq!(scalar(Flag, vec![0]), Some(Scalar::Flag(false)));
        for (kind, bytes) in
            [(Text, &b""[..]), (Text, b"\xff"), (Port, b"443"), (Port, &[0xff; 8]), (Flag, b"")]
        {
            assert_eq!(scalar(kind, bytes.to_vec()), None, "{kind:?} {bytes:?}");
        }
    }
}
