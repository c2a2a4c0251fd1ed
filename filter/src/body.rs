//! A request's body while the sidecar is asked.

use std::borrow::Cow;

use llm_router_routing::encoding::{Encoding, inflate};
use llm_router_routing::refusal::Refusal;

use crate::host;

/// Where the body's bytes can be had again.
pub(crate) enum Body {
    /// In Envoy's buffer, where they are left: a VM's memory never shrinks again.
    InEnvoy,
    /// Here, inflated: to inflate them twice would cost more.
    Inflated(Vec<u8>),
}

impl Body {
    /// What to keep of the bytes that were read, until they are needed again.
    pub(crate) fn keep(encoding: Encoding, bytes: Vec<u8>) -> Self {
        match encoding {
            Encoding::Identity => Self::InEnvoy,
            Encoding::Gzip => Self::Inflated(bytes),
        }
    }

    /// The bytes as they were read.
    pub(crate) fn bytes(&self) -> Cow<'_, [u8]> {
        match self {
            Self::InEnvoy => Cow::Owned(host::request_body()),
            Self::Inflated(bytes) => Cow::Borrowed(bytes),
        }
    }
}

/// The whole body, once all of it is buffered.
///
/// # Errors
/// It is over `max_body` bytes, or not in the encoding that its header says.
pub(crate) fn read(encoding: Encoding, max_body: usize) -> Result<Vec<u8>, Refusal> {
    let buffered = host::request_body();
    if buffered.len() > max_body {
        return Err(Refusal::body_too_large(max_body));
    }
    match encoding {
        Encoding::Identity => Ok(buffered),
        Encoding::Gzip => inflate(&buffered, max_body),
    }
}
