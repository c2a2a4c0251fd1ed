//! Whether this Envoy can run the module.
#![allow(unsafe_code)]

use std::ffi::CStr;

use crate::abi::{self, LogLevel};
use crate::{guard, log, own_file};

/// The module is loaded. Returns the version of the ABI that it speaks; none if Envoy must not use it.
pub(crate) fn init() -> Option<&'static CStr> {
    guard::install_hook();
    own_file::remember();
    let Some(missing) = abi::missing() else {
        log::write(LogLevel::Info, concat!("version ", env!("CARGO_PKG_VERSION"), " loaded"));
        return Some(abi::version());
    };
    // Envoy's own message does not say why, and its log may be among what is missing.
    let missing = missing.to_string_lossy();
    eprintln!(
        "llm_router: this Envoy is too old for the dynamic module: it lacks {missing}. Use Envoy 1.38 or later, the Wasm filter \
         (Envoy 1.35), or Envoy's ext_proc filter with the same sidecar."
    );
    None
}

/// Whether Envoy can choose another cluster for a retry: since 1.39, as this callback.
pub(crate) fn can_fail_over() -> bool {
    abi::config_increment_counter().is_some()
}
