//! Generates the messages, and the tonic server and client if their features ask for them.

use std::path::PathBuf;

use prost::Message;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=envoy");
    let files = protox::compile(["envoy/ext_proc.proto"], ["envoy"])?;
    let out = std::env::var_os("OUT_DIR").map(PathBuf::from).ok_or("cargo sets OUT_DIR")?;
    std::fs::write(out.join("descriptors.bin"), files.encode_to_vec())?;
    tonic_prost_build::configure()
        .build_server(std::env::var_os("CARGO_FEATURE_SERVER").is_some())
        .build_client(std::env::var_os("CARGO_FEATURE_CLIENT").is_some())
        // Checks messages before it decodes them.
        .codec_path("crate::codec::CheckedCodec")
        // Bodies can be megabytes: `Bytes` shares the receive buffer instead of copying it.
        .bytes(".envoy.service.ext_proc.v3.HttpBody.body")
        .bytes(".envoy.service.ext_proc.v3.StreamedBodyResponse.body")
        .compile_fds(files)?;
    Ok(())
}
