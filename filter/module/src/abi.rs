//! The part of Envoy's dynamic module ABI that the module uses: types, constants, and the callbacks into Envoy.
//!
//! It follows `source/extensions/dynamic_modules/abi/abi.h` of Envoy 1.40 (ABI v0.2.0), which has only grown since 1.38. Envoy
//! 1.38 exports every callback that is declared here. A callback that only later versions have is looked up by name
//! ([`config_increment_counter`]).
//!
//! Lifetimes, which no type here expresses:
//!
//! | pointer | valid |
//! |---|---|
//! | [`ConfigPtr`] | from `config_new` until `config_destroy` returns, on any thread |
//! | [`FilterPtr`] | from `filter_new` until `filter_destroy` returns, on that worker's thread |
//! | [`SchedulerPtr`] | from `scheduler_new` until `scheduler_delete`, on any thread |
//! | a [`Buffer`] that Envoy passes to a hook | until the hook returns |
//! | a [`Buffer`] of a header | until a header of that map changes |
//! | a [`Buffer`] of an attribute or of metadata | until the hook returns, or it changes |
//! | a [`Buffer`] of a body | until that body changes, or the hook returns |
//! | a [`Buffer`] that we pass to Envoy | Envoy copies it before the callback returns |
#![allow(unsafe_code)]

use std::ffi::{CStr, c_void};
use std::{ptr, slice};

/// The version of the ABI that this Envoy has, because Envoy warns of any other. The declarations in this file are the same in
/// all versions.
pub(crate) fn version() -> &'static CStr {
    // Since Envoy 1.40, as v0.2.0.
    match find(c"envoy_dynamic_module_callback_http_get_timing_info") {
        Some(_) => c"v0.2.0",
        None => c"v0.1.0",
    }
}

/// A pointer and a length: both `envoy_buffer` and `module_buffer`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Buffer {
    data: *const u8,
    length: usize,
}

impl Buffer {
    /// No buffer. As the value of a header, it removes the header.
    pub(crate) const NULL: Self = Self { data: ptr::null(), length: 0 };

    /// For a callback. Envoy copies the bytes before the callback returns.
    pub(crate) fn new(bytes: &[u8]) -> Self {
        Self { data: bytes.as_ptr(), length: bytes.len() }
    }

    /// Whether this is a buffer, even an empty one, and not [`Buffer::NULL`].
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn is_some(self) -> bool {
        !self.data.is_null()
    }

    /// # Safety
    /// The bytes must not change during `'a`; see the table above.
    pub(crate) unsafe fn bytes<'a>(self) -> &'a [u8] {
        if self.data.is_null() || self.length == 0 {
            return &[];
        }
        // SAFETY: Envoy's buffers are `length` initialized bytes at `data`; the caller guarantees the lifetime.
        unsafe { slice::from_raw_parts(self.data, self.length) }
    }
}

/// A header: both `envoy_http_header` and `module_http_header`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    pub(crate) key: Buffer,
    pub(crate) value: Buffer,
}

impl Header {
    pub(crate) const NULL: Self = Self { key: Buffer::NULL, value: Buffer::NULL };

    pub(crate) fn new(key: &str, value: &[u8]) -> Self {
        Self { key: Buffer::new(key.as_bytes()), value: Buffer::new(value) }
    }
}

/// Envoy's `DynamicModuleHttpFilterConfig`.
pub(crate) type ConfigPtr = *mut c_void;
/// Envoy's `DynamicModuleHttpFilter`.
pub(crate) type FilterPtr = *mut c_void;
/// Envoy's `DynamicModuleHttpFilterConfigScheduler`.
pub(crate) type SchedulerPtr = *mut c_void;

/// `envoy_dynamic_module_type_log_level`.
#[repr(u32)]
#[derive(Clone, Copy, Debug)]
pub(crate) enum LogLevel {
    Debug = 1,
    Info = 2,
    Warn = 3,
    Error = 4,
}

/// `envoy_dynamic_module_type_http_header_type`.
#[repr(u32)]
#[derive(Clone, Copy, Debug)]
pub(crate) enum HeaderMap {
    Request = 0,
    Response = 2,
}

/// `envoy_dynamic_module_type_http_body_type`.
#[repr(u32)]
#[derive(Clone, Copy, Debug)]
pub(crate) enum Body {
    /// The chunk that just arrived, in the request body's hook only.
    ReceivedRequest = 0,
    /// What the filter chain holds.
    BufferedRequest = 1,
    /// The chunk that just arrived, in the response body's hook only.
    ReceivedResponse = 2,
}

/// What the hooks of headers and trailers return.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeadersStatus {
    Continue = 0,
    StopIteration = 1,
}

/// What the hooks of bodies return.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyStatus {
    Continue = 0,
    StopIterationNoBuffer = 3,
}

/// `envoy_dynamic_module_type_attribute_id`: positions in the enumeration.
#[repr(u32)]
#[derive(Clone, Copy, Debug)]
pub(crate) enum Attribute {
    SourceAddress = 24,
    SourcePort = 25,
    DestinationAddress = 26,
    DestinationPort = 27,
    ConnectionMtls = 29,
    ConnectionRequestedServerName = 30,
    ConnectionTlsVersion = 31,
    ConnectionSubjectPeerCertificate = 33,
    ConnectionDnsSanPeerCertificate = 35,
    ConnectionUriSanPeerCertificate = 37,
    ConnectionSha256PeerCertificateDigest = 38,
    UpstreamRequestAttemptCount = 53,
    XdsRouteName = 61,
}

/// `envoy_dynamic_module_type_metadata_source`.
#[repr(u32)]
#[derive(Clone, Copy, Debug)]
pub(crate) enum MetadataSource {
    Dynamic = 0,
}

/// The result of a callback that succeeded, for stats and for streams to clusters.
pub(crate) const SUCCESS: u32 = 0;

/// Declares callbacks, and lists their names.
macro_rules! callbacks {
    ($(pub(crate) fn $name:ident($($argument:ident: $type:ty),* $(,)?) $(-> $result:ty)?;)+) => {
        unsafe extern "C" {
            $(pub(crate) fn $name($($argument: $type),*) $(-> $result)?;)+
        }

        /// The names of all callbacks above.
        pub(crate) const REQUIRED: &[&CStr] =
            &[$(match CStr::from_bytes_with_nul(concat!(stringify!($name), "\0").as_bytes()) {
                Ok(name) => name,
                Err(_) => c"",
            }),+];
    };
}

callbacks! {
    pub(crate) fn envoy_dynamic_module_callback_log(level: LogLevel, message: Buffer);
    pub(crate) fn envoy_dynamic_module_callback_log_enabled(level: LogLevel) -> bool;

    pub(crate) fn envoy_dynamic_module_callback_http_filter_config_define_counter(
        config: ConfigPtr, name: Buffer, labels: *const Buffer, labels_length: usize, id: *mut usize,
    ) -> u32;
    pub(crate) fn envoy_dynamic_module_callback_http_filter_config_define_histogram(
        config: ConfigPtr, name: Buffer, labels: *const Buffer, labels_length: usize, id: *mut usize,
    ) -> u32;
    pub(crate) fn envoy_dynamic_module_callback_http_filter_increment_counter(
        filter: FilterPtr, id: usize, values: *const Buffer, values_length: usize, by: u64,
    ) -> u32;
    pub(crate) fn envoy_dynamic_module_callback_http_filter_record_histogram_value(
        filter: FilterPtr, id: usize, values: *const Buffer, values_length: usize, value: u64,
    ) -> u32;

    pub(crate) fn envoy_dynamic_module_callback_http_filter_config_scheduler_new(config: ConfigPtr) -> SchedulerPtr;
    pub(crate) fn envoy_dynamic_module_callback_http_filter_config_scheduler_commit(scheduler: SchedulerPtr, event: u64);
    pub(crate) fn envoy_dynamic_module_callback_http_filter_config_scheduler_delete(scheduler: SchedulerPtr);

    pub(crate) fn envoy_dynamic_module_callback_http_get_header(
        filter: FilterPtr, map: HeaderMap, key: Buffer, value: *mut Buffer, index: usize, count: *mut usize,
    ) -> bool;
    pub(crate) fn envoy_dynamic_module_callback_http_get_headers_size(filter: FilterPtr, map: HeaderMap) -> usize;
    pub(crate) fn envoy_dynamic_module_callback_http_get_headers(
        filter: FilterPtr, map: HeaderMap, all: *mut Header,
    ) -> bool;
    pub(crate) fn envoy_dynamic_module_callback_http_set_header(
        filter: FilterPtr, map: HeaderMap, key: Buffer, value: Buffer,
    ) -> bool;
    pub(crate) fn envoy_dynamic_module_callback_http_send_response(
        filter: FilterPtr, status: u32, headers: *const Header, headers_length: usize, body: Buffer, details: Buffer,
    );

    pub(crate) fn envoy_dynamic_module_callback_http_get_body_chunks_size(filter: FilterPtr, body: Body) -> usize;
    pub(crate) fn envoy_dynamic_module_callback_http_get_body_chunks(
        filter: FilterPtr, body: Body, chunks: *mut Buffer,
    ) -> bool;
    pub(crate) fn envoy_dynamic_module_callback_http_append_body(filter: FilterPtr, body: Body, data: Buffer) -> bool;
    pub(crate) fn envoy_dynamic_module_callback_http_drain_body(filter: FilterPtr, body: Body, bytes: usize) -> bool;
    pub(crate) fn envoy_dynamic_module_callback_http_get_buffer_limit(filter: FilterPtr) -> u64;
    pub(crate) fn envoy_dynamic_module_callback_http_set_buffer_limit(filter: FilterPtr, limit: u64);

    pub(crate) fn envoy_dynamic_module_callback_http_set_filter_state_bytes(
        filter: FilterPtr, key: Buffer, value: Buffer,
    ) -> bool;
    pub(crate) fn envoy_dynamic_module_callback_http_get_filter_state_bytes(
        filter: FilterPtr, key: Buffer, value: *mut Buffer,
    ) -> bool;
    pub(crate) fn envoy_dynamic_module_callback_http_filter_get_attribute_int(
        filter: FilterPtr, attribute: Attribute, value: *mut u64,
    ) -> bool;
    pub(crate) fn envoy_dynamic_module_callback_http_filter_get_attribute_string(
        filter: FilterPtr, attribute: Attribute, value: *mut Buffer,
    ) -> bool;
    pub(crate) fn envoy_dynamic_module_callback_http_filter_get_attribute_bool(
        filter: FilterPtr, attribute: Attribute, value: *mut bool,
    ) -> bool;
    pub(crate) fn envoy_dynamic_module_callback_http_get_metadata_string(
        filter: FilterPtr, source: MetadataSource, namespace: Buffer, key: Buffer, value: *mut Buffer,
    ) -> bool;
    pub(crate) fn envoy_dynamic_module_callback_http_get_metadata_number(
        filter: FilterPtr, source: MetadataSource, namespace: Buffer, key: Buffer, value: *mut f64,
    ) -> bool;
    pub(crate) fn envoy_dynamic_module_callback_http_get_metadata_bool(
        filter: FilterPtr, source: MetadataSource, namespace: Buffer, key: Buffer, value: *mut bool,
    ) -> bool;
    pub(crate) fn envoy_dynamic_module_callback_http_get_metadata_list_size(
        filter: FilterPtr, source: MetadataSource, namespace: Buffer, key: Buffer, size: *mut usize,
    ) -> bool;
    pub(crate) fn envoy_dynamic_module_callback_http_get_metadata_list_string(
        filter: FilterPtr, source: MetadataSource, namespace: Buffer, key: Buffer, index: usize, value: *mut Buffer,
    ) -> bool;
    pub(crate) fn envoy_dynamic_module_callback_http_get_metadata_list_number(
        filter: FilterPtr, source: MetadataSource, namespace: Buffer, key: Buffer, index: usize, value: *mut f64,
    ) -> bool;
    pub(crate) fn envoy_dynamic_module_callback_http_get_cluster_name(filter: FilterPtr, name: *mut Buffer) -> bool;
    pub(crate) fn envoy_dynamic_module_callback_http_clear_route_cache(filter: FilterPtr);
    pub(crate) fn envoy_dynamic_module_callback_http_filter_continue_decoding(filter: FilterPtr);

    pub(crate) fn envoy_dynamic_module_callback_http_filter_start_http_stream(
        filter: FilterPtr, id: *mut u64, cluster: Buffer, headers: *const Header, headers_length: usize, body: Buffer,
        end_stream: bool, timeout_ms: u64,
    ) -> u32;
    pub(crate) fn envoy_dynamic_module_callback_http_filter_reset_http_stream(filter: FilterPtr, id: u64);
}

/// Adds to a counter outside of requests.
pub(crate) type ConfigIncrementCounter = unsafe extern "C" fn(
    config: ConfigPtr,
    id: usize,
    values: *const Buffer,
    values_length: usize,
    by: u64,
) -> u32;

/// The callback of that type, which Envoy has since 1.39.
pub(crate) fn config_increment_counter() -> Option<ConfigIncrementCounter> {
    let address = find(c"envoy_dynamic_module_callback_http_filter_config_increment_counter")?;
    // SAFETY: in each Envoy that exports it, the callback has this signature.
    Some(unsafe { std::mem::transmute::<*mut c_void, ConfigIncrementCounter>(address) })
}

/// The first of [`REQUIRED`] that this Envoy lacks.
pub(crate) fn missing() -> Option<&'static CStr> {
    REQUIRED.iter().find(|name| find(name).is_none()).copied()
}

/// The address of a symbol that Envoy exports.
fn find(name: &CStr) -> Option<*mut c_void> {
    // SAFETY: the name ends with a null byte; dlsym may be called on any thread.
    let address = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    (!address.is_null()).then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_callback_is_listed_by_its_name() {
        assert!(REQUIRED.len() > 25, "{REQUIRED:?}");
        for name in REQUIRED {
            assert!(name.to_bytes().starts_with(b"envoy_dynamic_module_callback_"), "{name:?}");
        }
    }

    #[test]
    fn a_null_buffer_is_empty() {
        // SAFETY: there are no bytes.
        assert_eq!(unsafe { Buffer::NULL.bytes() }, b"");
    }
}
