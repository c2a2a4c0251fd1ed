//! The callbacks of the fake Envoy. They call hooks where Envoy does.

use std::cell::RefCell;
use std::ffi::c_void;

use serde_json::Value;

use super::FakeEnvoy;
use crate::abi::{
    Attribute, Body, Buffer, ConfigPtr, FilterPtr, Header, HeaderMap, LogLevel, MetadataSource,
};

thread_local! {
    /// Names of the metrics of this thread's configurations, by number. Configurations share them, as in Envoy: a fuzzer makes millions.
    static METRICS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// # Safety
/// `filter` is a [`FakeEnvoy`]'s.
unsafe fn fake<'f>(filter: FilterPtr) -> &'f FakeEnvoy {
    // SAFETY: as above.
    unsafe { &*filter.cast_const().cast::<FakeEnvoy>() }
}

fn text(buffer: Buffer) -> String {
    // SAFETY: in a callback, what the module passes is valid.
    String::from_utf8_lossy(unsafe { buffer.bytes() }).into_owned()
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_log(level: LogLevel, message: Buffer) {
    eprintln!("{level:?}: {}", text(message));
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_log_enabled(_level: LogLevel) -> bool {
    true
}

unsafe fn define(name: Buffer, id: *mut usize) -> u32 {
    METRICS.with_borrow_mut(|metrics| {
        let name = text(name);
        let number = metrics.iter().position(|known| *known == name).unwrap_or_else(|| {
            metrics.push(name);
            metrics.len() - 1
        });
        // SAFETY: the module waits for the number.
        unsafe { *id = number };
    });
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_callback_http_filter_config_define_counter(
    _config: ConfigPtr,
    name: Buffer,
    _labels: *const Buffer,
    _labels_length: usize,
    id: *mut usize,
) -> u32 {
    // SAFETY: the module's place for the number.
    unsafe { define(name, id) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_callback_http_filter_config_define_histogram(
    _config: ConfigPtr,
    name: Buffer,
    _labels: *const Buffer,
    _labels_length: usize,
    id: *mut usize,
) -> u32 {
    // SAFETY: the module's place for the number.
    unsafe { define(name, id) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_callback_http_filter_increment_counter(
    filter: FilterPtr,
    id: usize,
    _values: *const Buffer,
    _values_length: usize,
    by: u64,
) -> u32 {
    let name = METRICS.with_borrow(|metrics| metrics[id].clone());
    // SAFETY: the module's filter.
    *unsafe { fake(filter) }.counters.borrow_mut().entry(name).or_default() += by;
    0
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_http_filter_record_histogram_value(
    _filter: FilterPtr,
    _id: usize,
    _values: *const Buffer,
    _values_length: usize,
    _value: u64,
) -> u32 {
    0
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_http_filter_config_scheduler_new(
    config: ConfigPtr,
) -> *mut c_void {
    config
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_http_filter_config_scheduler_commit(
    _scheduler: *mut c_void,
    _event: u64,
) {
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_http_filter_config_scheduler_delete(_scheduler: *mut c_void) {}

#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_callback_http_get_header(
    filter: FilterPtr,
    map: HeaderMap,
    key: Buffer,
    value: *mut Buffer,
    index: usize,
    _count: *mut usize,
) -> bool {
    // SAFETY: the module's filter.
    let headers = unsafe { fake(filter) }.map(map).borrow();
    let key = text(key);
    let found = headers.iter().filter(|(name, _)| *name == key).nth(index);
    if let Some((_, bytes)) = found {
        // SAFETY: the module's place for the value.
        unsafe { *value = Buffer::new(bytes) };
    }
    found.is_some()
}

#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_callback_http_get_headers_size(
    filter: FilterPtr,
    map: HeaderMap,
) -> usize {
    // SAFETY: the module's filter.
    unsafe { fake(filter) }.map(map).borrow().len()
}

#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_callback_http_get_headers(
    filter: FilterPtr,
    map: HeaderMap,
    all: *mut Header,
) -> bool {
    // SAFETY: the module's filter, and its places for all headers.
    unsafe {
        for (index, (name, value)) in fake(filter).map(map).borrow().iter().enumerate() {
            *all.add(index) = Header::new(name, value);
        }
    }
    true
}

#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_callback_http_set_header(
    filter: FilterPtr,
    map: HeaderMap,
    key: Buffer,
    value: Buffer,
) -> bool {
    // SAFETY: the module's filter and value.
    let (mut headers, value) =
        unsafe { (fake(filter).map(map).borrow_mut(), value.is_some().then(|| value.bytes())) };
    let key = text(key);
    headers.retain(|(name, _)| *name != key);
    headers.extend(value.map(|value| (key, value.to_vec())));
    true
}

#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_callback_http_send_response(
    filter: FilterPtr,
    status: u32,
    _headers: *const Header,
    _headers_length: usize,
    body: Buffer,
    _details: Buffer,
) {
    // SAFETY: the module's filter and body.
    let (envoy, body) = unsafe { (fake(filter), body.bytes().to_vec()) };
    assert!(envoy.response.replace(Some((status, body))).is_none(), "a second response");
    // As Envoy does, within the callback.
    if let Some(filter) = envoy.filter() {
        filter.response_headers();
        filter.response_body(true);
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_callback_http_get_body_chunks_size(
    filter: FilterPtr,
    _body: Body,
) -> usize {
    // SAFETY: the module's filter.
    unsafe { fake(filter) }.received.borrow().chunks(5).count()
}

#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_callback_http_get_body_chunks(
    filter: FilterPtr,
    _body: Body,
    chunks: *mut Buffer,
) -> bool {
    // SAFETY: the module's filter, and its places for all chunks.
    unsafe {
        for (index, chunk) in fake(filter).received.borrow().chunks(5).enumerate() {
            *chunks.add(index) = Buffer::new(chunk);
        }
    }
    true
}

#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_callback_http_append_body(
    filter: FilterPtr,
    body: Body,
    data: Buffer,
) -> bool {
    // SAFETY: the module's filter and data.
    let (envoy, data) = unsafe { (fake(filter), data.bytes()) };
    if envoy.gives_up_on_append.get() {
        if let Some(filter) = envoy.filter() {
            filter.response_headers();
        }
        envoy.destroy();
        return true;
    }
    match body {
        Body::BufferedRequest => envoy.buffered.borrow_mut().extend_from_slice(data),
        Body::ReceivedRequest | Body::ReceivedResponse => envoy.received.borrow_mut().extend_from_slice(data),
    }
    true
}

#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_callback_http_drain_body(
    filter: FilterPtr,
    _body: Body,
    bytes: usize,
) -> bool {
    // SAFETY: the module's filter.
    unsafe { fake(filter) }.received.borrow_mut().drain(..bytes);
    true
}

#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_callback_http_get_buffer_limit(filter: FilterPtr) -> u64 {
    // SAFETY: the module's filter.
    unsafe { fake(filter) }.buffer_limit.get()
}

#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_callback_http_set_buffer_limit(filter: FilterPtr, limit: u64) {
    // SAFETY: the module's filter.
    unsafe { fake(filter) }.buffer_limit.set(limit);
}

#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_callback_http_set_filter_state_bytes(
    filter: FilterPtr,
    key: Buffer,
    value: Buffer,
) -> bool {
    // SAFETY: the module's filter and value.
    let (envoy, value) = unsafe { (fake(filter), value.bytes().to_vec()) };
    envoy.filter_state.borrow_mut().insert(text(key), value);
    true
}

#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_callback_http_get_filter_state_bytes(
    filter: FilterPtr,
    key: Buffer,
    value: *mut Buffer,
) -> bool {
    // SAFETY: the module's filter, and its place for the value.
    unsafe {
        let state = fake(filter).filter_state.borrow();
        state.get(&text(key)).map(|bytes| *value = Buffer::new(bytes)).is_some()
    }
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_http_get_cluster_name(
    _filter: FilterPtr,
    _name: *mut Buffer,
) -> bool {
    false
}

/// Stores what `read` finds in the value of an attribute.
///
/// # Safety
/// `filter` is a module's, and `to` a place for the result.
unsafe fn read_attribute<T>(
    filter: FilterPtr,
    attribute: Attribute,
    to: *mut T,
    read: impl FnOnce(&Value) -> Option<T>,
) -> bool {
    // SAFETY: as above.
    unsafe {
        let attributes = fake(filter).attributes.borrow();
        attributes.get(&(attribute as u32)).and_then(read).map(|value| *to = value).is_some()
    }
}

fn buffer(value: &Value) -> Option<Buffer> {
    value.as_str().map(|text| Buffer::new(text.as_bytes()))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_callback_http_filter_get_attribute_int(
    filter: FilterPtr,
    attribute: Attribute,
    value: *mut u64,
) -> bool {
    // SAFETY: the module's filter, and its place for the value.
    unsafe { read_attribute(filter, attribute, value, Value::as_u64) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_callback_http_filter_get_attribute_string(
    filter: FilterPtr,
    attribute: Attribute,
    value: *mut Buffer,
) -> bool {
    // SAFETY: the module's filter, and its place for the value.
    unsafe { read_attribute(filter, attribute, value, buffer) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_callback_http_filter_get_attribute_bool(
    filter: FilterPtr,
    attribute: Attribute,
    value: *mut bool,
) -> bool {
    // SAFETY: the module's filter, and its place for the value.
    unsafe { read_attribute(filter, attribute, value, Value::as_bool) }
}

/// Stores what `read` finds in a member of a namespace's metadata.
///
/// # Safety
/// `filter` is a module's, and `to` a place for the result.
unsafe fn read_metadata<T>(
    filter: FilterPtr,
    [namespace, key]: [Buffer; 2],
    to: *mut T,
    read: impl FnOnce(&Value) -> Option<T>,
) -> bool {
    // SAFETY: as above.
    unsafe {
        let metadata = fake(filter).metadata.borrow();
        let member = metadata.get(text(namespace)).and_then(|fields| fields.get(text(key)));
        member.and_then(read).map(|value| *to = value).is_some()
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_callback_http_get_metadata_string(
    filter: FilterPtr,
    _source: MetadataSource,
    namespace: Buffer,
    key: Buffer,
    value: *mut Buffer,
) -> bool {
    // SAFETY: the module's filter, and its place for the value.
    unsafe { read_metadata(filter, [namespace, key], value, buffer) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_callback_http_get_metadata_number(
    filter: FilterPtr,
    _source: MetadataSource,
    namespace: Buffer,
    key: Buffer,
    value: *mut f64,
) -> bool {
    // SAFETY: the module's filter, and its place for the value.
    unsafe { read_metadata(filter, [namespace, key], value, Value::as_f64) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_callback_http_get_metadata_bool(
    filter: FilterPtr,
    _source: MetadataSource,
    namespace: Buffer,
    key: Buffer,
    value: *mut bool,
) -> bool {
    // SAFETY: the module's filter, and its place for the value.
    unsafe { read_metadata(filter, [namespace, key], value, Value::as_bool) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_callback_http_get_metadata_list_size(
    filter: FilterPtr,
    _source: MetadataSource,
    namespace: Buffer,
    key: Buffer,
    size: *mut usize,
) -> bool {
    // SAFETY: the module's filter, and its place for the size.
    unsafe { read_metadata(filter, [namespace, key], size, |value| Some(value.as_array()?.len())) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_callback_http_get_metadata_list_string(
    filter: FilterPtr,
    _source: MetadataSource,
    namespace: Buffer,
    key: Buffer,
    index: usize,
    value: *mut Buffer,
) -> bool {
    // SAFETY: the module's filter, and its place for the value.
    unsafe { read_metadata(filter, [namespace, key], value, |list| buffer(list.get(index)?)) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_callback_http_get_metadata_list_number(
    filter: FilterPtr,
    _source: MetadataSource,
    namespace: Buffer,
    key: Buffer,
    index: usize,
    value: *mut f64,
) -> bool {
    // SAFETY: the module's filter, and its place for the value.
    unsafe { read_metadata(filter, [namespace, key], value, |list| list.get(index)?.as_f64()) }
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_http_clear_route_cache(_filter: FilterPtr) {}

#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_callback_http_filter_continue_decoding(filter: FilterPtr) {
    // SAFETY: the module's filter.
    unsafe { fake(filter) }.go_on();
}

#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_callback_http_filter_start_http_stream(
    filter: FilterPtr,
    id: *mut u64,
    cluster: Buffer,
    _headers: *const Header,
    _headers_length: usize,
    body: Buffer,
    end_stream: bool,
    timeout_ms: u64,
) -> u32 {
    assert!(end_stream && timeout_ms > 0);
    // SAFETY: the module's filter and body.
    let (envoy, body) = unsafe { (fake(filter), body.bytes().to_vec()) };
    if envoy.stream_error.get() > 0 {
        return envoy.stream_error.get();
    }
    let number = {
        let mut streams = envoy.streams.borrow_mut();
        streams.push((text(cluster), body));
        streams.len() as u64
    };
    if envoy.ends_stream_at_once.get()
        && let Some(filter) = envoy.filter()
    {
        filter.call_headers(number, [(&b":status"[..], &b"503"[..])].into_iter());
        filter.call_ended(number, false);
    }
    // SAFETY: the module's place for the number.
    unsafe { *id = number };
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_callback_http_filter_reset_http_stream(filter: FilterPtr, id: u64) {
    // SAFETY: the module's filter.
    let envoy = unsafe { fake(filter) };
    envoy.resets.borrow_mut().push(id);
    if let Some(filter) = envoy.filter() {
        filter.call_ended(id, true);
    }
}
