//! Envoy's callbacks for one request, with Rust types.
//!
//! Envoy may call our hooks for the same request within `append_body`, `send_response`, `continue_decoding`, `start_stream` and
//! `reset_stream`, and may destroy the filter there. So no caller holds a borrow of the filter's state across any function
//! here, and all of them do nothing once the filter is destroyed.
#![allow(unsafe_code)]

use std::cell::Cell;
use std::ptr;
use std::time::Duration;

use llm_router_routing::context::Scalar;
use llm_router_routing::exchange::Attempt;
use llm_router_routing::headers::Headers;

use crate::abi::{self, Attribute, Body, Buffer, FilterPtr, Header, HeaderMap, MetadataSource, SUCCESS};
use crate::drill::Drill;
use crate::held_body::HeldBody;

/// The request's filter in Envoy. Once that is destroyed, every function does nothing.
#[derive(Debug)]
pub(crate) struct EnvoyFilter {
    filter: Cell<Option<FilterPtr>>,
    pub(crate) drill: Drill,
}

/// The pieces of a chunk of a body.
#[derive(Debug)]
pub(crate) struct Chunks<'e> {
    chunks: Vec<Buffer>,
    _envoy: &'e EnvoyFilter,
}

impl Chunks<'_> {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        // SAFETY: the body does not change, and the hook has not returned, while this exists.
        self.chunks.iter().map(|chunk| unsafe { chunk.bytes() })
    }
}

/// A stream to another cluster that Envoy could not start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotStarted(u32);

impl std::fmt::Display for NotStarted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            2 => write!(f, "the cluster does not exist"),
            code => write!(f, "Envoy's code is {code}"),
        }
    }
}

impl EnvoyFilter {
    /// # Safety
    /// `filter` is what Envoy passed to `filter_new`, and [`EnvoyFilter::destroyed`] is called in its `filter_destroy`.
    pub(crate) unsafe fn new(filter: FilterPtr) -> Self {
        Self { filter: Cell::new(Some(filter)), drill: Drill::default() }
    }

    /// Envoy destroys its filter.
    pub(crate) fn destroyed(&self) {
        self.filter.set(None);
    }

    /// All request headers, copied.
    pub(crate) fn request_headers(&self) -> Headers {
        let Some(filter) = self.filter.get() else { return Headers::default() };
        // SAFETY: the filter lives; Envoy fills exactly as many places as it reports headers.
        let all = unsafe {
            let count = abi::envoy_dynamic_module_callback_http_get_headers_size(filter, HeaderMap::Request);
            let mut all = vec![Header::NULL; count];
            if !abi::envoy_dynamic_module_callback_http_get_headers(
                filter,
                HeaderMap::Request,
                all.as_mut_ptr(),
            ) {
                all.clear();
            }
            all
        };
        let mut headers = Headers::default();
        for header in all {
            // SAFETY: no header changes before both are copied. Envoy's names are ASCII.
            let (key, value) = unsafe { (header.key.bytes(), header.value.bytes()) };
            headers.push(&String::from_utf8_lossy(key), value);
        }
        headers
    }

    /// Replaces all values of a request header.
    pub(crate) fn set_request_header(&self, name: &str, value: &str) {
        self.set_header(HeaderMap::Request, name, Buffer::new(value.as_bytes()));
    }

    /// Removes a request header.
    pub(crate) fn remove_request_header(&self, name: &str) {
        self.set_header(HeaderMap::Request, name, Buffer::NULL);
    }

    /// Replaces all values of a response header.
    pub(crate) fn set_response_header(&self, name: &str, value: &str) {
        self.set_header(HeaderMap::Response, name, Buffer::new(value.as_bytes()));
    }

    fn set_header(&self, map: HeaderMap, name: &str, value: Buffer) {
        if let Some(filter) = self.filter.get() {
            // SAFETY: the filter lives; Envoy copies name and value.
            unsafe {
                abi::envoy_dynamic_module_callback_http_set_header(
                    filter,
                    map,
                    Buffer::new(name.as_bytes()),
                    value,
                );
            }
        }
    }

    /// The response's `content-type`, if it is text.
    pub(crate) fn content_type(&self) -> Option<String> {
        let filter = self.filter.get()?;
        let mut value = Buffer::NULL;
        // SAFETY: the filter lives; a null pointer means that the number of values is not needed.
        let found = unsafe {
            abi::envoy_dynamic_module_callback_http_get_header(
                filter,
                HeaderMap::Response,
                Buffer::new(b"content-type"),
                &raw mut value,
                0,
                ptr::null_mut(),
            )
        };
        // SAFETY: the header does not change before it is copied.
        let value = found.then(|| unsafe { value.bytes() })?;
        String::from_utf8(value.to_vec()).ok()
    }

    /// Sends a response to the client instead of routing the request.
    pub(crate) fn send_response(
        &self,
        status: u16,
        headers: &[(&str, &str)],
        body: &[u8],
        details: Option<&str>,
    ) {
        let Some(filter) = self.filter.get() else { return };
        let headers: Vec<_> =
            headers.iter().map(|(name, value)| Header::new(name, value.as_bytes())).collect();
        let details = details.map_or(Buffer::NULL, |details| Buffer::new(details.as_bytes()));
        // SAFETY: the filter lives; Envoy copies all of it.
        unsafe {
            abi::envoy_dynamic_module_callback_http_send_response(
                filter,
                u32::from(status),
                headers.as_ptr(),
                headers.len(),
                Buffer::new(body),
                details,
            );
        }
    }

    /// Moves the request body chunk that just arrived to the end of `to`.
    pub(crate) fn take_request_chunk(&self, to: &mut HeldBody) {
        let Some(filter) = self.filter.get() else { return };
        let mut length = 0_usize;
        for chunk in self.chunks(filter, Body::ReceivedRequest) {
            // SAFETY: the body does not change before it is copied.
            let bytes = unsafe { chunk.bytes() };
            to.push(bytes);
            length = length.saturating_add(bytes.len());
        }
        if length > 0 {
            // SAFETY: the filter lives.
            unsafe {
                abi::envoy_dynamic_module_callback_http_drain_body(filter, Body::ReceivedRequest, length);
            }
        }
    }

    /// The response body chunk that just arrived, in its hook only. It must not be changed while this exists.
    pub(crate) fn response_chunks(&self) -> Chunks<'_> {
        let chunks = self.filter.get().map(|filter| self.chunks(filter, Body::ReceivedResponse));
        Chunks { chunks: chunks.unwrap_or_default(), _envoy: self }
    }

    fn chunks(&self, filter: FilterPtr, body: Body) -> Vec<Buffer> {
        // SAFETY: the filter lives; Envoy fills exactly as many places as it reports chunks.
        unsafe {
            let count = abi::envoy_dynamic_module_callback_http_get_body_chunks_size(filter, body);
            let mut chunks = vec![Buffer::NULL; count];
            let filled = count > 0
                && abi::envoy_dynamic_module_callback_http_get_body_chunks(filter, body, chunks.as_mut_ptr());
            if !filled {
                chunks.clear();
            }
            chunks
        }
    }

    /// Appends bytes to the request body: to the chunk that just arrived if `in_body_hook`, otherwise to what the filter chain
    /// holds.
    pub(crate) fn append_request_body(&self, bytes: &[u8], in_body_hook: bool) {
        let Some(filter) = self.filter.get() else { return };
        let body = if in_body_hook { Body::ReceivedRequest } else { Body::BufferedRequest };
        // SAFETY: the filter lives; Envoy copies the bytes.
        unsafe { abi::envoy_dynamic_module_callback_http_append_body(filter, body, Buffer::new(bytes)) };
    }

    /// Makes sure that the filter chain may hold a body of this length.
    pub(crate) fn allow_body(&self, length: usize) {
        let (Some(filter), Ok(length)) = (self.filter.get(), u64::try_from(length)) else { return };
        // SAFETY: the filter lives.
        unsafe {
            if abi::envoy_dynamic_module_callback_http_get_buffer_limit(filter) < length {
                abi::envoy_dynamic_module_callback_http_set_buffer_limit(filter, length);
            }
        }
    }

    /// Makes Envoy choose the route again.
    pub(crate) fn clear_route_cache(&self) {
        if let Some(filter) = self.filter.get() {
            // SAFETY: the filter lives.
            unsafe { abi::envoy_dynamic_module_callback_http_clear_route_cache(filter) };
        }
    }

    /// Lets a held request continue. Not for hooks of the request itself, which return `Continue` instead.
    pub(crate) fn continue_decoding(&self) {
        if let Some(filter) = self.filter.get() {
            // SAFETY: the filter lives.
            unsafe { abi::envoy_dynamic_module_callback_http_filter_continue_decoding(filter) };
        }
    }

    /// Sets filter state, for access logs and other filters.
    pub(crate) fn set_filter_state(&self, name: &str, value: &str) {
        if let Some(filter) = self.filter.get() {
            // SAFETY: the filter lives; Envoy copies name and value.
            unsafe {
                abi::envoy_dynamic_module_callback_http_set_filter_state_bytes(
                    filter,
                    Buffer::new(name.as_bytes()),
                    Buffer::new(value.as_bytes()),
                );
            }
        }
    }

    /// A copy of the value that [`EnvoyFilter::set_filter_state`] set.
    pub(crate) fn filter_state(&self, name: &str) -> Option<Vec<u8>> {
        let filter = self.filter.get()?;
        let mut value = Buffer::NULL;
        // SAFETY: the filter lives; the value does not change before it is copied.
        unsafe {
            abi::envoy_dynamic_module_callback_http_get_filter_state_bytes(
                filter,
                Buffer::new(name.as_bytes()),
                &raw mut value,
            )
            .then(|| value.bytes().to_vec())
        }
    }

    /// Which attempt of the request this is, and the cluster that it was sent to last.
    pub(crate) fn attempt(&self) -> Attempt {
        let mut attempt = Attempt { number: 1, cluster: None };
        let Some(filter) = self.filter.get() else { return attempt };
        let (mut number, mut cluster) = (0_u64, Buffer::NULL);
        // SAFETY: the filter lives; the name does not change before it is copied.
        unsafe {
            if abi::envoy_dynamic_module_callback_http_filter_get_attribute_int(
                filter,
                Attribute::UpstreamRequestAttemptCount,
                &raw mut number,
            ) {
                attempt.number = number.max(1);
            }
            if abi::envoy_dynamic_module_callback_http_get_cluster_name(filter, &raw mut cluster) {
                attempt.cluster = String::from_utf8(cluster.bytes().to_vec()).ok();
            }
        }
        attempt
    }

    /// An attribute that is a text.
    pub(crate) fn text_attribute(&self, attribute: Attribute) -> Option<String> {
        let filter = self.filter.get()?;
        let mut value = Buffer::NULL;
        // SAFETY: the filter lives; the value does not change before it is copied.
        unsafe {
            abi::envoy_dynamic_module_callback_http_filter_get_attribute_string(
                filter,
                attribute,
                &raw mut value,
            )
            .then(|| text(value))
            .flatten()
        }
    }

    /// An attribute that is a number.
    pub(crate) fn number_attribute(&self, attribute: Attribute) -> Option<u64> {
        let filter = self.filter.get()?;
        let mut value = 0;
        // SAFETY: the filter lives.
        let is_known = unsafe {
            abi::envoy_dynamic_module_callback_http_filter_get_attribute_int(
                filter,
                attribute,
                &raw mut value,
            )
        };
        is_known.then_some(value)
    }

    /// An attribute that is true or false.
    pub(crate) fn flag_attribute(&self, attribute: Attribute) -> Option<bool> {
        let filter = self.filter.get()?;
        let mut value = false;
        // SAFETY: the filter lives.
        let is_known = unsafe {
            abi::envoy_dynamic_module_callback_http_filter_get_attribute_bool(
                filter,
                attribute,
                &raw mut value,
            )
        };
        is_known.then_some(value)
    }

    /// A member of a namespace of the dynamic metadata: its value, or the texts and numbers of a list. Empty without a value.
    pub(crate) fn metadata(&self, namespace: &str, name: &str) -> Vec<Scalar> {
        let Some(filter) = self.filter.get() else { return Vec::new() };
        let (source, namespace, key) =
            (MetadataSource::Dynamic, Buffer::new(namespace.as_bytes()), Buffer::new(name.as_bytes()));
        let (mut found, mut number, mut flag, mut size) = (Buffer::NULL, 0.0, false, 0);
        // SAFETY: the filter lives; the metadata does not change before it is copied.
        unsafe {
            if abi::envoy_dynamic_module_callback_http_get_metadata_string(
                filter,
                source,
                namespace,
                key,
                &raw mut found,
            ) {
                return text(found).map(Scalar::Text).into_iter().collect();
            }
            if abi::envoy_dynamic_module_callback_http_get_metadata_number(
                filter,
                source,
                namespace,
                key,
                &raw mut number,
            ) {
                return vec![Scalar::Number(number)];
            }
            if abi::envoy_dynamic_module_callback_http_get_metadata_bool(
                filter,
                source,
                namespace,
                key,
                &raw mut flag,
            ) {
                return vec![Scalar::Flag(flag)];
            }
            if !abi::envoy_dynamic_module_callback_http_get_metadata_list_size(
                filter,
                source,
                namespace,
                key,
                &raw mut size,
            ) {
                return Vec::new();
            }
            let element = |index| {
                if abi::envoy_dynamic_module_callback_http_get_metadata_list_string(
                    filter,
                    source,
                    namespace,
                    key,
                    index,
                    &raw mut found,
                ) {
                    return text(found).map(Scalar::Text);
                }
                let is_number = abi::envoy_dynamic_module_callback_http_get_metadata_list_number(
                    filter,
                    source,
                    namespace,
                    key,
                    index,
                    &raw mut number,
                );
                is_number.then_some(Scalar::Number(number))
            };
            (0..size).filter_map(element).collect()
        }
    }

    /// Adds to a counter.
    pub(crate) fn increment_counter(&self, id: usize, labels: &[Buffer], by: u64) {
        if let Some(filter) = self.filter.get() {
            // SAFETY: the filter lives; Envoy copies the labels.
            unsafe {
                abi::envoy_dynamic_module_callback_http_filter_increment_counter(
                    filter,
                    id,
                    labels.as_ptr(),
                    labels.len(),
                    by,
                );
            }
        }
    }

    /// Records a value of a histogram.
    pub(crate) fn record_histogram(&self, id: usize, labels: &[Buffer], value: u64) {
        if let Some(filter) = self.filter.get() {
            // SAFETY: the filter lives; Envoy copies the labels.
            unsafe {
                abi::envoy_dynamic_module_callback_http_filter_record_histogram_value(
                    filter,
                    id,
                    labels.as_ptr(),
                    labels.len(),
                    value,
                );
            }
        }
    }

    /// Starts a stream to a cluster with a whole request. Its hooks may run within this function.
    ///
    /// # Errors
    /// Envoy could not start it.
    pub(crate) fn start_stream(
        &self,
        cluster: &str,
        headers: &[(&str, &[u8])],
        body: &[u8],
        timeout: Duration,
    ) -> Result<u64, NotStarted> {
        let filter = self.filter.get().ok_or(NotStarted(u32::MAX))?;
        let headers: Vec<_> = headers.iter().map(|(name, value)| Header::new(name, value)).collect();
        // Envoy takes 0 for no limit.
        let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX).max(1);
        let mut id = 0;
        // SAFETY: the filter lives; Envoy copies all of it.
        let result = unsafe {
            abi::envoy_dynamic_module_callback_http_filter_start_http_stream(
                filter,
                &raw mut id,
                Buffer::new(cluster.as_bytes()),
                headers.as_ptr(),
                headers.len(),
                Buffer::new(body),
                true,
                timeout_ms,
            )
        };
        if result == SUCCESS { Ok(id) } else { Err(NotStarted(result)) }
    }

    /// Resets a stream that has not ended.
    pub(crate) fn reset_stream(&self, id: u64) {
        if let Some(filter) = self.filter.get() {
            // SAFETY: the filter lives.
            unsafe { abi::envoy_dynamic_module_callback_http_filter_reset_http_stream(filter, id) };
        }
    }
}

/// The text in a buffer, copied.
///
/// # Safety
/// The bytes must not change while they are copied.
unsafe fn text(buffer: Buffer) -> Option<String> {
    // SAFETY: as above.
    String::from_utf8(unsafe { buffer.bytes() }.to_vec()).ok()
}
