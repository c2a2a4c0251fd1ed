//! The wire protocol of the filter and the sidecar.
//!
//! - [`envoy`] is our subset of Envoy's external-processing protocol. It is wire-compatible with Envoy's published
//!   definitions, so Envoy's native `ext_proc` filter can call the sidecar too. The complete definitions would add more to
//!   the Wasm file than all of our own code.
//! - [`contract`] is the contract of our filter and the sidecar in that protocol: [`contract::ClassifyRequest`] and
//!   [`contract::ClassifyResponse`], with a version.
//! - [`context`] reads the attributes and the dynamic metadata that Envoy sends.
//! - [`limits`] bounds what a message may contain beside a body. The generated server checks it before it decodes a message.
//! - [`structs`] has helpers for `google.protobuf.Struct`, which carries the contract.

#[cfg(any(feature = "client", feature = "server"))]
mod codec;
pub mod context;
pub mod contract;
pub mod limits;
pub mod structs;

#[allow(missing_docs, clippy::all, clippy::pedantic, unreachable_pub)]
pub mod envoy {
    //! Envoy's packages, named as in its own definitions.
    pub mod config {
        pub mod core {
            pub mod v3 {
                include!(concat!(env!("OUT_DIR"), "/envoy.config.core.v3.rs"));
            }
        }
    }
    pub mod service {
        pub mod ext_proc {
            pub mod v3 {
                include!(concat!(env!("OUT_DIR"), "/envoy.service.ext_proc.v3.rs"));
            }
        }
    }
}

/// The full gRPC method name of the service, split for proxy-wasm's `dispatch_grpc_call`.
pub const SERVICE: &str = "envoy.service.ext_proc.v3.ExternalProcessor";
/// The only method of [`SERVICE`].
pub const METHOD: &str = "Process";

/// All of the above as an encoded `google.protobuf.FileDescriptorSet`, for gRPC reflection.
#[cfg(feature = "server")]
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

pub use bytes::Bytes;
pub use prost_types::{Struct, Value, value::Kind};
