//! Envoy's log.
#![allow(unsafe_code)]

use crate::abi::{self, Buffer, LogLevel};

/// Whether messages of this level are logged.
pub(crate) fn is_enabled(level: LogLevel) -> bool {
    // SAFETY: Envoy may be asked on any thread.
    unsafe { abi::envoy_dynamic_module_callback_log_enabled(level) }
}

/// Logs a message, on any thread.
pub(crate) fn write(level: LogLevel, message: &str) {
    let message = format!("llm_router: {message}");
    // SAFETY: Envoy copies the message.
    unsafe { abi::envoy_dynamic_module_callback_log(level, Buffer::new(message.as_bytes())) };
}
