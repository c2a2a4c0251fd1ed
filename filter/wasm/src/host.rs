//! The host functions of Envoy that the filter uses.
//!
//! The SDK's trait methods unwrap, and its functions panic on an unknown status; so each function here documents
//! when it may be called. Header values are bytes here: the SDK panics where a client's are not UTF-8.

mod headers;

use std::ptr;
use std::time::{Duration, UNIX_EPOCH};

use llm_router_filter_common::forward_clock::ForwardClock;
use llm_router_routing::headers::Headers;
use proxy_wasm::hostcalls;
use proxy_wasm::types::{BufferType, Bytes, MapType, MetricType, Status};

/// Request headers. Change them only while they are held: before `Continue` was returned from their callback.
pub(crate) struct RequestHeaders;

impl RequestHeaders {
    /// The SDK's function makes two allocations for each header.
    #[allow(unsafe_code)]
    pub(crate) fn get_all(&self) -> Headers {
        #[link(wasm_import_module = "env")]
        unsafe extern "C" {
            fn proxy_get_header_map_pairs(map: u32, pairs: *mut *mut u8, size: *mut usize) -> u32;
        }
        let (mut pairs, mut size) = (ptr::null_mut(), 0);
        let map = MapType::HttpRequestHeaders as u32;
        // SAFETY: the host writes to the two places only, and only while the function runs.
        let status = unsafe { proxy_get_header_map_pairs(map, &raw mut pairs, &raw mut size) };
        if status != Status::Ok as u32 || pairs.is_null() {
            return Headers::default();
        }
        // SAFETY: the host had the SDK allocate the pairs as a vector of this size, filled it, and gave it to us.
        headers::from_pairs(&unsafe { Vec::from_raw_parts(pairs, size, size) })
    }

    /// Replaces all values of this name.
    pub(crate) fn set(&self, name: &str, value: &str) {
        let _ = hostcalls::set_map_value(MapType::HttpRequestHeaders, name, Some(value));
    }

    pub(crate) fn remove(&self, name: &str) {
        let _ = hostcalls::remove_map_value(MapType::HttpRequestHeaders, name);
    }
}

/// Replaces a response header. Call it only in the response headers' callback.
pub(crate) fn set_response_header(name: &str, value: &str) {
    let _ = hostcalls::set_map_value(MapType::HttpResponseHeaders, name, Some(value));
}

/// The whole request body, once all of it is buffered.
pub(crate) fn request_body() -> Bytes {
    hostcalls::get_buffer(BufferType::HttpRequestBody, 0, usize::MAX).ok().flatten().unwrap_or_default()
}

/// Replaces the whole request body, while it is held.
pub(crate) fn set_request_body(body: &[u8]) {
    let _ = hostcalls::set_buffer(BufferType::HttpRequestBody, 0, usize::MAX, body);
}

/// A part of the request body, once it is buffered.
pub(crate) fn part_of_request_body(start: usize, length: usize) -> Bytes {
    hostcalls::get_buffer(BufferType::HttpRequestBody, start, length).ok().flatten().unwrap_or_default()
}

/// Replaces the first bytes of the request body, which must have at least this length, while it is held.
pub(crate) fn replace_start_of_request_body(length: usize, with: &[u8]) {
    let _ = hostcalls::set_buffer(BufferType::HttpRequestBody, 0, length, with);
}

/// Puts bytes in front of the first piece of the body, in its callback.
pub(crate) fn prepend_to_request_body(bytes: &[u8]) {
    let _ = hostcalls::set_buffer(BufferType::HttpRequestBody, 0, 0, bytes);
}

/// Data that the workers of an Envoy share, by key.
pub(crate) fn shared_data(key: &str) -> Option<Bytes> {
    hostcalls::get_shared_data(key).ok()?.0
}

/// Replaces data that the workers of an Envoy share.
pub(crate) fn set_shared_data(key: &str, value: &[u8]) {
    let _ = hostcalls::set_shared_data(key, Some(value), None);
}

/// Forwards a held request.
pub(crate) fn resume_request() {
    let _ = hostcalls::resume_http_request();
}

/// Sends a response to the client instead of routing the request.
pub(crate) fn respond(status: u16, headers: Vec<(&str, &str)>, body: &[u8]) {
    let _ = hostcalls::send_http_response(u32::from(status), headers, Some(body));
}

/// A gRPC call in progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CallId(u32);

impl CallId {
    pub(crate) fn is(self, token: u32) -> bool {
        self.0 == token
    }

    /// Ends the call. Only for calls without a response: the SDK forgets a token with the response.
    pub(crate) fn cancel(self) {
        let _ = hostcalls::cancel_grpc_call(self.0);
    }
}

/// Sends a unary call. `target` is a cluster's name, or an encoded
/// `envoy.config.core.v3.GrpcService`. Envoy checks nothing of `headers`.
///
/// # Errors
/// The cluster does not exist, or the call failed at once.
pub(crate) fn call_grpc(
    target: &str,
    service: &str,
    method: &str,
    headers: Vec<(&str, &[u8])>,
    message: &[u8],
    timeout: Duration,
) -> Result<CallId, Status> {
    hostcalls::dispatch_grpc_call(target, service, method, headers, Some(message), timeout).map(CallId)
}

/// The response to a gRPC call, in its callback only.
pub(crate) fn grpc_response(size: usize) -> Option<Bytes> {
    hostcalls::get_buffer(BufferType::GrpcReceiveBuffer, 0, size).ok().flatten()
}

/// The message of a gRPC call's status, in its callback only; may be empty.
///
/// The SDK's function panics if the message is not UTF-8, which the peer controls.
#[allow(unsafe_code)]
pub(crate) fn grpc_status_message() -> String {
    #[link(wasm_import_module = "env")]
    unsafe extern "C" {
        fn proxy_get_status(code: *mut u32, message: *mut *mut u8, size: *mut usize) -> u32;
    }
    let (mut code, mut message, mut size) = (0, ptr::null_mut(), 0);
    // SAFETY: the host writes to the three places only, and only while the function runs.
    let status = unsafe { proxy_get_status(&raw mut code, &raw mut message, &raw mut size) };
    if status != Status::Ok as u32 || message.is_null() {
        return String::new();
    }
    // SAFETY: the host had the SDK allocate the message as a vector of this size, filled it, and gave it to us.
    let message = unsafe { Vec::from_raw_parts(message, size, size) };
    String::from_utf8_lossy(&message).into_owned()
}

/// A node property that is a little-endian number.
pub(crate) fn number_property(path: &[&str]) -> Option<u64> {
    Some(u64::from_le_bytes(property(path)?.try_into().ok()?))
}

/// Which attempt of the request this is, by Envoy's retries; the first is 1.
pub(crate) fn attempt() -> u64 {
    number_property(&["upstream", "request_attempt_count"]).unwrap_or(1)
}

/// The cluster that the request was sent to last.
pub(crate) fn cluster() -> Option<String> {
    text_property(&["xds", "cluster_name"])
}

/// A property that is text.
pub(crate) fn text_property(path: &[&str]) -> Option<String> {
    String::from_utf8(property(path)?).ok()
}

/// A property, as Envoy serializes it.
pub(crate) fn property(path: &[&str]) -> Option<Bytes> {
    hostcalls::get_property(path.to_vec()).ok().flatten()
}

/// The plugin's configuration, in `on_configure` only.
pub(crate) fn plugin_configuration() -> Bytes {
    hostcalls::get_buffer(BufferType::PluginConfiguration, 0, usize::MAX).ok().flatten().unwrap_or_default()
}

/// The time since an arbitrary moment, which only increases. Envoy reports the system's time, which may be
/// set.
pub(crate) fn now() -> Duration {
    thread_local! {
        static CLOCK: ForwardClock = ForwardClock::default();
    }
    let system = hostcalls::get_current_time().ok().and_then(|now| now.duration_since(UNIX_EPOCH).ok());
    CLOCK.with(|clock| clock.now(system))
}

/// A response header, in the response headers' callback.
pub(crate) fn response_header(name: &str) -> Option<Bytes> {
    hostcalls::get_map_value_bytes(MapType::HttpResponseHeaders, name).ok().flatten()
}

/// The response body chunk that just arrived, in its callback.
pub(crate) fn response_chunk(size: usize) -> Bytes {
    hostcalls::get_buffer(BufferType::HttpResponseBody, 0, size).ok().flatten().unwrap_or_default()
}

/// Filter state for access logs and other filters, under `wasm.NAME`.
pub(crate) fn set_filter_state(name: &str, value: &str) {
    let _ = hostcalls::set_property(vec![name], Some(value.as_bytes()));
}

/// The value that [`set_filter_state`] set.
pub(crate) fn filter_state(name: &str) -> Option<Bytes> {
    hostcalls::get_property(vec![name]).ok().flatten()
}

/// Envoy's id of a stat, which it creates if the name is new.
pub(crate) fn define_stat(kind: MetricType, name: &str) -> Option<u32> {
    hostcalls::define_metric(kind, name).ok()
}

/// Adds to a counter.
pub(crate) fn increment_stat(id: u32, by: u64) {
    if let Ok(by) = i64::try_from(by) {
        let _ = hostcalls::increment_metric(id, by);
    }
}

/// Records a value of a histogram.
pub(crate) fn record_stat(id: u32, value: u64) {
    let _ = hostcalls::record_metric(id, value);
}

/// Sets the interval of the root's `on_tick`, in milliseconds. Only the root calls it.
pub(crate) fn tick_every(period: Duration) {
    let _ = hostcalls::set_tick_period(period);
}
