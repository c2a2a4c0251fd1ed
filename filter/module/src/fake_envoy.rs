//! A fake Envoy for tests, with one request.
#![allow(unsafe_code)]
// A test's Envoy fails by panics.
#![allow(clippy::expect_used, clippy::indexing_slicing)]

mod callbacks;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ffi::c_void;
use std::ptr;
use std::rc::Rc;

use serde_json::Value;

use crate::abi::{BodyStatus, FilterPtr, HeaderMap, HeadersStatus};
use crate::configuration::FilterConfig;
use crate::http_filter::HttpFilter;

type Headers = Vec<(String, Vec<u8>)>;

/// One request, as Envoy has it.
#[derive(Default)]
pub(crate) struct FakeEnvoy {
    filter: RefCell<Option<Rc<HttpFilter>>>,
    pub(crate) request_headers: RefCell<Headers>,
    pub(crate) response_headers: RefCell<Headers>,
    /// The body chunk that just arrived.
    received: RefCell<Vec<u8>>,
    /// What the filter chain holds.
    buffered: RefCell<Vec<u8>>,
    /// The forwarded body.
    pub(crate) forwarded: RefCell<Vec<u8>>,
    pub(crate) has_continued: Cell<bool>,
    pub(crate) response: RefCell<Option<(u32, Vec<u8>)>>,
    pub(crate) filter_state: RefCell<HashMap<String, Vec<u8>>>,
    /// Attributes, by their numbers.
    pub(crate) attributes: RefCell<HashMap<u32, Value>>,
    /// Dynamic metadata, by namespace.
    pub(crate) metadata: RefCell<Value>,
    /// The streams that were started: cluster and body. Those that were reset.
    pub(crate) streams: RefCell<Vec<(String, Vec<u8>)>>,
    pub(crate) resets: RefCell<Vec<u64>>,
    /// Refuses to start streams with this code.
    pub(crate) stream_error: Cell<u32>,
    /// Ends a stream within the callback that starts it.
    pub(crate) ends_stream_at_once: Cell<bool>,
    /// Responds and destroys the filter when a body is appended, as Envoy may do over a limit.
    pub(crate) gives_up_on_append: Cell<bool>,
    pub(crate) buffer_limit: Cell<u64>,
    counters: RefCell<HashMap<String, u64>>,
}

impl FakeEnvoy {
    /// A request to a filter of this configuration.
    pub(crate) fn new(config: &FilterConfig, headers: &[(&str, &str)]) -> Box<Self> {
        let envoy = Box::new(Self::default());
        envoy.buffer_limit.set(1 << 20);
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), value.as_bytes().to_vec());
        envoy.request_headers.replace(headers.iter().map(owned).collect());
        // SAFETY: the filter is destroyed before this object.
        let filter = unsafe { HttpFilter::new(config, envoy.pointer()) };
        envoy.filter.replace(Some(Rc::new(filter)));
        envoy
    }

    fn pointer(&self) -> FilterPtr {
        ptr::from_ref(self).cast_mut().cast::<c_void>()
    }

    /// The filter, which lives on while a hook runs.
    pub(crate) fn filter(&self) -> Option<Rc<HttpFilter>> {
        self.filter.borrow().clone()
    }

    pub(crate) fn headers(&self, end_of_stream: bool) -> HeadersStatus {
        let filter = self.filter().expect("a filter");
        let status = filter.request_headers(end_of_stream);
        self.has_continued.set(status == HeadersStatus::Continue);
        status
    }

    /// A chunk arrives. What the filter leaves of it is forwarded when the filter continues.
    pub(crate) fn body(&self, chunk: &[u8], end_of_stream: bool) -> Option<BodyStatus> {
        let filter = self.filter()?;
        self.received.replace(chunk.to_vec());
        let status = filter.request_body(end_of_stream);
        let received = self.received.take();
        if status == BodyStatus::Continue {
            self.go_on();
            self.forwarded.borrow_mut().extend(received);
        }
        Some(status)
    }

    pub(crate) fn trailers(&self) -> Option<HeadersStatus> {
        let status = self.filter()?.request_trailers();
        if status == HeadersStatus::Continue {
            self.go_on();
        }
        Some(status)
    }

    fn go_on(&self) {
        self.has_continued.set(true);
        let buffered = self.buffered.take();
        self.forwarded.borrow_mut().extend(buffered);
    }

    /// The response of an LLM arrives.
    pub(crate) fn respond(&self, chunks: &[&[u8]]) {
        let Some(filter) = self.filter() else { return };
        filter.response_headers();
        for (index, chunk) in chunks.iter().enumerate() {
            self.received.replace(chunk.to_vec());
            filter.response_body(index + 1 == chunks.len());
        }
    }

    /// The sidecar's response arrives on a stream.
    pub(crate) fn answer_call(&self, stream: u64, status: &str, body: &[u8]) {
        let Some(filter) = self.filter() else { return };
        filter.call_headers(stream, [(&b":status"[..], &b"200"[..])].into_iter());
        filter.call_data(stream, body.chunks(7));
        filter.call_headers(stream, [(&b"grpc-status"[..], status.as_bytes())].into_iter());
        filter.call_ended(stream, false);
    }

    pub(crate) fn destroy(&self) {
        if let Some(filter) = self.filter.take() {
            filter.finish();
            filter.destroyed();
        }
    }

    pub(crate) fn request_header(&self, name: &str) -> Option<String> {
        let headers = self.request_headers.borrow();
        let (_, value) = headers.iter().find(|(key, _)| key == name)?;
        Some(String::from_utf8_lossy(value).into_owned())
    }

    fn map(&self, map: HeaderMap) -> &RefCell<Headers> {
        match map {
            HeaderMap::Request => &self.request_headers,
            HeaderMap::Response => &self.response_headers,
        }
    }
}

impl Drop for FakeEnvoy {
    fn drop(&mut self) {
        self.destroy();
    }
}
