//! Whether this Envoy can run the module.
#![allow(unsafe_code)]

use std::ffi::CStr;

use crate::abi::{self, LogLevel};
use crate::{guard, log, own_file};

/// Envoy has loaded the module. Returns the version of the ABI, or `None` if this Envoy must not use the module.
pub(crate) fn init() -> Option<&'static CStr> {
    guard::install_hook();
    own_file::remember();
    let Some(missing) = abi::missing() else {
        log::write(LogLevel::Info, concat!("version ", env!("CARGO_PKG_VERSION"), " loaded"));
        return Some(abi::version());
    };
    // Envoy's own message gives no reason, and its log may be among the missing callbacks.
    let missing = missing.to_string_lossy();
    eprintln!(
        "llm_router: this Envoy is too old for the dynamic module: it lacks {missing}. Use Envoy 1.38 or later, the Wasm filter \
         (Envoy 1.35), or Envoy's ext_proc filter with the same sidecar."
    );
    None
}

/// Whether Envoy can choose another cluster for a retry. It can since 1.39, which also added the callback that is checked here.
pub(crate) fn can_fail_over() -> bool {
    abi::config_increment_counter().is_some()
}
