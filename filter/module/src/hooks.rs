//! The functions that Envoy calls. Nothing unwinds out of them.
//!
//! Envoy receives owning pointers to a [`FilterConfig`] and to an [`HttpFilter`]. Each hook keeps the filter alive while it runs,
//! because Envoy may destroy it within a callback.
#![allow(unsafe_code)]

use std::ffi::{c_char, c_void};
use std::rc::Rc;
use std::{ptr, slice};

use crate::abi::{BodyStatus, Buffer, ConfigPtr, FilterPtr, Header, HeadersStatus, LogLevel};
use crate::configuration::FilterConfig;
use crate::http_filter::HttpFilter;
use crate::{guard, log, program, stats};

/// The filter of one request, as `filter_new` returned it to Envoy.
type Filter = *const HttpFilter;

/// # Safety
/// `filter` is what `filter_new` returned, and Envoy has not destroyed it.
unsafe fn keep(filter: Filter) -> Option<Rc<HttpFilter>> {
    if filter.is_null() {
        return None;
    }
    // SAFETY: as above: the count is that of Envoy's own pointer, and of hooks that run.
    unsafe {
        Rc::increment_strong_count(filter);
        Some(Rc::from_raw(filter))
    }
}

/// # Safety
/// `count` items are at `items`, until the hook returns.
unsafe fn list<'h, T>(items: *const T, count: usize) -> &'h [T] {
    if items.is_null() || count == 0 {
        return &[];
    }
    // SAFETY: as above.
    unsafe { slice::from_raw_parts(items, count) }
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_program_init() -> *const c_char {
    let version = guard::run(program::init, || None).flatten();
    version.map_or(ptr::null(), |version| version.as_ptr())
}

#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_on_http_filter_config_new(
    envoy: ConfigPtr,
    name: Buffer,
    configuration: Buffer,
) -> *const FilterConfig {
    let hook = || {
        // SAFETY: both texts are valid until the hook returns.
        let (name, configuration) = unsafe { (name.bytes(), configuration.bytes()) };
        // SAFETY: this is `config_new`.
        match unsafe { FilterConfig::new(envoy, &String::from_utf8_lossy(name), configuration) } {
            Ok(config) => Box::into_raw(Box::new(config)).cast_const(),
            Err(problem) => {
                log::write(LogLevel::Error, &format!("the configuration is rejected: {problem}"));
                ptr::null()
            }
        }
    };
    guard::run(hook, ptr::null).unwrap_or(ptr::null())
}

#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_on_http_filter_config_destroy(config: *const FilterConfig) {
    if !config.is_null() {
        // SAFETY: `config_new` made it of a box, and Envoy destroys it once.
        guard::run(|| drop(unsafe { Box::from_raw(config.cast_mut()) }), || ());
    }
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_config_scheduled(
    _envoy: ConfigPtr,
    _config: *const FilterConfig,
    _event: u64,
) {
    guard::run(stats::flush, || ());
}

#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_on_http_filter_new(
    config: *const FilterConfig,
    envoy: FilterPtr,
) -> Filter {
    // SAFETY: Envoy makes filters for configurations that it has not destroyed.
    let Some(config) = (unsafe { config.as_ref() }) else { return ptr::null() };
    // SAFETY: `filter_destroy` reports the end.
    guard::run(|| Rc::into_raw(Rc::new(unsafe { HttpFilter::new(config, envoy) })), ptr::null)
        .unwrap_or(ptr::null())
}

#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_on_http_filter_destroy(filter: Filter) {
    if !filter.is_null() {
        // SAFETY: `filter_new` made it, and Envoy destroys it once.
        let filter = unsafe { Rc::from_raw(filter) };
        filter.destroyed();
        guard::run(|| drop(filter), || ());
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_on_http_filter_request_headers(
    _envoy: FilterPtr,
    filter: Filter,
    end_of_stream: bool,
) -> HeadersStatus {
    // SAFETY: Envoy's own pointer.
    unsafe { keep(filter) }.map_or(HeadersStatus::Continue, |filter| filter.request_headers(end_of_stream))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_on_http_filter_request_body(
    _envoy: FilterPtr,
    filter: Filter,
    end_of_stream: bool,
) -> BodyStatus {
    // SAFETY: Envoy's own pointer.
    unsafe { keep(filter) }.map_or(BodyStatus::Continue, |filter| filter.request_body(end_of_stream))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_on_http_filter_request_trailers(
    _envoy: FilterPtr,
    filter: Filter,
) -> HeadersStatus {
    // SAFETY: Envoy's own pointer.
    unsafe { keep(filter) }.map_or(HeadersStatus::Continue, |filter| filter.request_trailers())
}

#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_on_http_filter_response_headers(
    _envoy: FilterPtr,
    filter: Filter,
    _end_of_stream: bool,
) -> HeadersStatus {
    // SAFETY: Envoy's own pointer.
    if let Some(filter) = unsafe { keep(filter) } {
        filter.response_headers();
    }
    HeadersStatus::Continue
}

#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_on_http_filter_response_body(
    _envoy: FilterPtr,
    filter: Filter,
    end_of_stream: bool,
) -> BodyStatus {
    // SAFETY: Envoy's own pointer.
    if let Some(filter) = unsafe { keep(filter) } {
        filter.response_body(end_of_stream);
    }
    BodyStatus::Continue
}

#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_on_http_filter_response_trailers(
    _envoy: FilterPtr,
    filter: Filter,
) -> HeadersStatus {
    // SAFETY: Envoy's own pointer.
    if let Some(filter) = unsafe { keep(filter) } {
        filter.response_trailers();
    }
    HeadersStatus::Continue
}

#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_on_http_filter_stream_complete(_envoy: FilterPtr, filter: Filter) {
    // SAFETY: Envoy's own pointer.
    if let Some(filter) = unsafe { keep(filter) } {
        filter.finish();
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_on_http_filter_http_stream_headers(
    _envoy: FilterPtr,
    filter: Filter,
    stream: u64,
    headers: *const Header,
    count: usize,
    _end_of_stream: bool,
) {
    // SAFETY: Envoy's own pointer, and headers that are valid until the hook returns.
    let (filter, headers) = unsafe { (keep(filter), list(headers, count)) };
    if let Some(filter) = filter {
        // SAFETY: as above.
        filter.call_headers(stream, headers.iter().map(|it| unsafe { (it.key.bytes(), it.value.bytes()) }));
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_on_http_filter_http_stream_data(
    _envoy: FilterPtr,
    filter: Filter,
    stream: u64,
    pieces: *const Buffer,
    count: usize,
    _end_of_stream: bool,
) {
    // SAFETY: Envoy's own pointer, and pieces that are valid until the hook returns.
    let (filter, pieces) = unsafe { (keep(filter), list(pieces, count)) };
    if let Some(filter) = filter {
        // SAFETY: as above.
        filter.call_data(stream, pieces.iter().map(|piece| unsafe { piece.bytes() }));
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_on_http_filter_http_stream_trailers(
    _envoy: FilterPtr,
    filter: Filter,
    stream: u64,
    trailers: *const Header,
    count: usize,
) {
    // SAFETY: Envoy's own pointer, and trailers that are valid until the hook returns.
    let (filter, trailers) = unsafe { (keep(filter), list(trailers, count)) };
    if let Some(filter) = filter {
        // SAFETY: as above.
        filter.call_headers(stream, trailers.iter().map(|it| unsafe { (it.key.bytes(), it.value.bytes()) }));
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_on_http_filter_http_stream_complete(
    _envoy: FilterPtr,
    filter: Filter,
    stream: u64,
) {
    // SAFETY: Envoy's own pointer.
    if let Some(filter) = unsafe { keep(filter) } {
        filter.call_ended(stream, false);
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_on_http_filter_http_stream_reset(
    _envoy: FilterPtr,
    filter: Filter,
    stream: u64,
    _reason: u32,
) {
    // SAFETY: Envoy's own pointer.
    if let Some(filter) = unsafe { keep(filter) } {
        filter.call_ended(stream, true);
    }
}

// Envoy rejects a module without these hooks, although the router does not use them.

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_http_callout_done(
    _envoy: FilterPtr,
    _filter: Filter,
    _callout: u64,
    _result: u32,
    _headers: *const c_void,
    _headers_length: usize,
    _body: *const c_void,
    _body_length: usize,
) {
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_scheduled(_envoy: FilterPtr, _filter: Filter, _event: u64) {
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_downstream_above_write_buffer_high_watermark(
    _envoy: FilterPtr,
    _filter: Filter,
) {
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_downstream_below_write_buffer_low_watermark(
    _envoy: FilterPtr,
    _filter: Filter,
) {
}
