//! The effects that a host must apply to a request.

use std::borrow::Cow;
use std::sync::Arc;

use crate::decision::Decision;
use crate::failover::Failover;
use crate::rejection::Rejection;
use crate::requirements::Api;
use crate::rewrite::Rewritten;

/// The effect of the request headers.
#[derive(Debug, PartialEq)]
pub enum OnHeaders {
    /// Forward the request.
    Continue,
    /// Hold the request until its body is complete.
    Hold,
    /// Respond to the client.
    Respond(LocalResponse),
}

/// The effect on a request that is held.
#[derive(Debug, PartialEq)]
pub enum OnBody {
    /// Forward the request unchanged.
    Continue,
    /// Call the classifier with [`Exchange::query`](super::Exchange::query), and report how that ends.
    Classify,
    /// Forward the request with these changes.
    Forward(Box<Forward>),
    /// Respond to the client.
    Respond(LocalResponse),
}

/// The changes that send a request to the chosen model, or, without a chosen model, remove the routing metadata.
#[derive(Debug, PartialEq)]
pub struct Forward {
    /// Headers to set: the cluster and the name of the chosen model, and those that no longer fit the model or the body.
    pub headers: Vec<(String, String)>,
    /// What replaces the client's body.
    pub body: Rewritten,
    /// What Envoy's retries need to reach the policy's other models. Hosts without access to retries ignore it.
    pub failover: Option<Failover>,
}

/// The effect of the response headers.
#[derive(Debug, PartialEq)]
pub enum OnResponse {
    /// Forward the response.
    Continue,
    /// Set the headers that explain the decision.
    Explain(Explanation),
    /// Envoy responded itself while the classifier was called: cancel that call.
    CancelCall,
}

/// Why a model was chosen, for the response headers.
#[derive(Clone, Debug)]
pub struct Explanation(Arc<Decision>);

impl Explanation {
    pub(super) fn new(decision: &Arc<Decision>) -> Self {
        Self(Arc::clone(decision))
    }

    /// The response headers that explain it.
    pub fn headers(&self) -> impl Iterator<Item = (&'static str, Cow<'_, str>)> {
        self.0.response_headers()
    }
}

/// Explanations are equal if clients see the same headers.
impl PartialEq for Explanation {
    fn eq(&self, other: &Self) -> bool {
        self.headers().eq(other.headers())
    }
}

/// A response of the router itself.
#[derive(Debug, PartialEq)]
pub struct LocalResponse {
    /// The HTTP status.
    pub status: u16,
    /// The headers.
    pub headers: Vec<(&'static str, &'static str)>,
    /// The body, JSON.
    pub body: Vec<u8>,
    /// Its name in access logs (Envoy's response code details); none for a response that is not an error.
    pub details: Option<&'static str>,
}

impl LocalResponse {
    /// The response to a request that is rejected, in the format of its API.
    pub(super) fn rejection(rejection: &Rejection, api: Api) -> Self {
        Self {
            status: rejection.status(),
            headers: rejection.headers(),
            body: rejection.body(api),
            details: Some(rejection.code()),
        }
    }

    /// The response to a request whose headers cannot be read, because the router is overloaded.
    pub fn overloaded(api: Api) -> Self {
        Self::rejection(&Rejection::overloaded(), api)
    }

    /// The response to a request whose headers are too large to be read.
    pub fn headers_too_large(api: Api) -> Self {
        Self::rejection(&Rejection::headers_too_large(), api)
    }

    /// The response to a request whose state a bug has lost.
    pub fn internal_error(api: Api) -> Self {
        Self::rejection(&Rejection::internal(), api)
    }

    /// A list, or an entry of it.
    pub(super) fn json(body: Vec<u8>) -> Self {
        Self { status: 200, headers: vec![("content-type", "application/json")], body, details: None }
    }
}
