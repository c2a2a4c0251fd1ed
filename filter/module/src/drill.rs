//! Panics on request, for tests of how panics are handled: only in builds with the feature `panic-drill`.

#[cfg(any(test, feature = "panic-drill"))]
use std::cell::RefCell;

use llm_router_routing::headers::Headers;

/// The places where a request panics, from its header `x-panic`.
#[derive(Debug, Default)]
pub(crate) struct Drill {
    #[cfg(any(test, feature = "panic-drill"))]
    places: RefCell<Vec<String>>,
}

#[cfg(any(test, feature = "panic-drill"))]
impl Drill {
    /// Reads where to panic.
    pub(crate) fn read(&self, headers: &Headers) {
        let places = headers.text("x-panic").unwrap_or_default().split(',').map(str::to_owned);
        self.places.replace(places.collect());
    }

    /// Panics if the request asks for it.
    #[allow(clippy::panic)]
    pub(crate) fn at(&self, place: &str) {
        let is_asked_for = self.places.borrow().iter().any(|it| it == place);
        if is_asked_for {
            panic!("as the request asks for");
        }
    }
}

#[cfg(not(any(test, feature = "panic-drill")))]
#[allow(clippy::unused_self)]
impl Drill {
    /// Reads nothing.
    pub(crate) fn read(&self, _headers: &Headers) {}

    /// Does nothing.
    pub(crate) fn at(&self, _place: &str) {}
}
