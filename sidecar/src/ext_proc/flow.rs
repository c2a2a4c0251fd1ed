//! The order of a request's messages as a state machine without I/O: messages in, responses out.
//!
//! It does not know who decides on the request. In modes where Envoy waits for the response to the headers,
//! that response is sent at once, and the response to the body can still change the headers. In other modes,
//! the response to the headers is withheld until the body is decided, because forwarded headers cannot be
//! changed any more.
//!
//! | event | call | result |
//! |---|---|---|
//! | headers | [`RequestFlow::headers`] | responses |
//! | body chunk, trailers | [`RequestFlow::chunk`], [`RequestFlow::trailers`] | a [`Next`] |
//! | the request is decided | [`RequestFlow::decided`] | responses |
//! | response headers | [`RequestFlow::response_headers`] | whether the body was missed |

use std::mem;

use llm_router_proto::envoy::config::core::v3::HeaderValueOption;
use llm_router_proto::envoy::service::ext_proc::v3::{
    ProcessingResponse,
    processing_mode::{BodySendMode, HeaderSendMode},
};
use llm_router_proto::{Bytes, Struct};
use llm_router_routing::exchange::LocalResponse;
use serde::de::IgnoredAny;

use super::answer;
use super::mode::{BodyModes, RequestMode};

/// The maximum number of chunks of a held body that need a response each. Beyond it, the body counts as too long.
const MAX_CHUNKS: usize = 65_536;

/// Memory of such a chunk beside its bytes: its response is built in one list, and waits in another until it is sent.
const CHUNK_OVERHEAD: usize = 2 * size_of::<ProcessingResponse>();

/// What to do with a request once its headers have arrived.
#[derive(Debug)]
pub(super) enum OnRequest {
    /// Forward it as it arrives, without the headers of these names.
    Pass {
        remove: Vec<String>,
        /// False if the request ends with its headers.
        has_body: bool,
    },
    /// Hold it until its body is decided. The headers of these names are removed.
    Hold {
        remove: Vec<String>,
        /// The length that the client announced for the body.
        announced: Option<usize>,
        /// Whether the response must be read, too.
        read_response: bool,
    },
    /// Make Envoy respond to the client.
    Respond(LocalResponse),
}

/// What to do with a held request.
#[derive(Debug)]
pub(super) enum Verdict {
    /// Forward it unchanged.
    Unchanged,
    /// Forward it with these headers and, if there is one, this body instead of its own.
    Changed { headers: Vec<HeaderValueOption>, body: Option<Bytes> },
    /// Make Envoy respond to the client.
    Respond(LocalResponse),
}

/// A verdict, with its metadata for access logs.
#[derive(Debug)]
pub(super) struct Decision {
    pub(super) verdict: Verdict,
    pub(super) metadata: Option<Struct>,
}

impl From<Verdict> for Decision {
    fn from(verdict: Verdict) -> Self {
        Self { verdict, metadata: None }
    }
}

/// What to do after a message.
#[derive(Debug)]
pub(super) enum Next {
    /// Send these responses. If there are none, wait for the next message.
    Answer(Vec<ProcessingResponse>),
    /// The body has at least this many bytes. If that exceeds the limit, report the verdict.
    Check(usize),
    /// The body is complete. Report the verdict.
    Decide(Bytes),
    /// The body did not arrive as expected, so the request is not routed. Send these responses.
    Missed(Vec<ProcessingResponse>),
}

/// The state of one request on its stream.
#[derive(Debug)]
pub(super) struct RequestFlow {
    modes: BodyModes,
    state: State,
}

#[derive(Debug)]
enum State {
    /// The headers have their response, or there are none. The whole body arrives in one message.
    Expecting { announced: Option<usize> },
    /// Neither headers nor body have a response yet.
    Collecting(Collected),
    /// The request is forwarded, with everything that still arrives.
    Passing,
    /// Envoy responds to the client. Messages that it sent before it knew that get no response.
    Over,
}

#[derive(Debug, Default)]
struct Collected {
    remove: Vec<String>,
    announced: Option<usize>,
    body: Vec<u8>,
    /// Chunks that need a response each.
    chunks: usize,
    end: End,
}

impl Collected {
    /// Whether all announced bytes have arrived. In `STREAMED` mode, Envoy does not mark the end of a body
    /// that trailers follow, and holds the trailers back until all chunks have their responses.
    fn is_complete(&self) -> bool {
        self.announced.is_some_and(|announced| self.body.len() >= announced)
    }
}

/// Whether a body has ended, and how.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum End {
    /// More may arrive, even if the announced length is reached.
    #[default]
    Open,
    Body,
    Trailers,
}

impl RequestFlow {
    /// A request whose bodies arrive in these modes.
    pub(super) fn new(modes: BodyModes) -> Self {
        Self { modes, state: State::Expecting { announced: None } }
    }

    /// How its bodies arrive.
    pub(super) fn modes(&self) -> BodyModes {
        self.modes
    }

    /// Whether the body is not decided yet.
    pub(super) fn awaits_body(&self) -> bool {
        matches!(self.state, State::Expecting { .. } | State::Collecting(_))
    }

    /// Whether the body is collected here. Envoy may not have a copy of it.
    pub(super) fn is_collecting(&self) -> bool {
        matches!(self.state, State::Collecting(_))
    }

    /// Memory of the body that is kept, and of the responses to its chunks.
    pub(super) fn held_bytes(&self) -> usize {
        match &self.state {
            State::Collecting(collected) => collected.body.len() + collected.chunks * CHUNK_OVERHEAD,
            _ => 0,
        }
    }

    /// The responses to the headers.
    pub(super) fn headers(
        &mut self,
        request: OnRequest,
        metadata: Option<Struct>,
    ) -> Vec<ProcessingResponse> {
        let mut answers = self.headers_answers(request);
        if let Some(first) = answers.first_mut() {
            first.dynamic_metadata = metadata;
        }
        answers
    }

    fn headers_answers(&mut self, request: OnRequest) -> Vec<ProcessingResponse> {
        match request {
            OnRequest::Pass { remove, has_body } => {
                self.state = State::Passing;
                vec![self.pass(remove, has_body)]
            }
            OnRequest::Hold { remove, announced, read_response } => match self.modes.request {
                RequestMode::Streamed | RequestMode::Duplex => {
                    self.state = State::Collecting(Collected { remove, announced, ..Collected::default() });
                    Vec::new()
                }
                _ => {
                    self.state = State::Expecting { announced };
                    vec![self.hold(remove, announced, read_response)]
                }
            },
            OnRequest::Respond(response) => {
                self.state = State::Over;
                vec![answer::responded(response)]
            }
        }
    }

    /// Makes Envoy forward the rest of a request without sending it here or holding it back, so that bodies
    /// of any size and upgraded protocols pass.
    fn pass(&self, remove: Vec<String>, has_body: bool) -> ProcessingResponse {
        let answer = answer::without_headers(remove);
        if !self.modes.can_be_overridden() {
            return answer;
        }
        // If the body is over Envoy's limit by now, Envoy also needs our response to the headers of its own
        // 413. If the mode skipped these, Envoy would close the stream and wait for that response until the
        // message times out.
        let response_headers =
            if has_body && !self.is_on_demand() { HeaderSendMode::Send } else { HeaderSendMode::Skip };
        answer::in_mode(answer, response_headers, BodySendMode::None, BodySendMode::None)
    }

    /// Makes Envoy send the parts of a held request that it would not send otherwise.
    fn hold(&self, remove: Vec<String>, announced: Option<usize>, read_response: bool) -> ProcessingResponse {
        let is_on_demand = self.is_on_demand();
        let (answer, body) = match announced {
            // If the body exceeds Envoy's limit before this response arrives, Envoy stops reading. If the
            // whole body were requested, Envoy would wait for ever; for a partial body, it sends what it has.
            // It then chooses the route before it applies the response to the body, unless this response has
            // cleared the route. An announced length is below the limit.
            None if is_on_demand => (answer::rerouted(Vec::new(), remove), BodySendMode::BufferedPartial),
            _ => (answer::without_headers(remove), BodySendMode::Buffered),
        };
        if !self.modes.can_be_overridden() {
            return answer;
        }
        match (read_response, is_on_demand) {
            (true, _) => answer::in_mode(answer, HeaderSendMode::Send, body, BodySendMode::Streamed),
            (false, true) => answer::in_mode(answer, HeaderSendMode::Default, body, self.modes.response),
            (false, false) => answer,
        }
    }

    fn is_on_demand(&self) -> bool {
        matches!(self.modes.request, RequestMode::OnDemand | RequestMode::StreamedLate)
    }

    /// A chunk of the body has arrived.
    pub(super) fn chunk(&mut self, chunk: Bytes, is_end: bool) -> Next {
        match &mut self.state {
            State::Expecting { announced } => {
                let is_sure = self.modes.request == RequestMode::Buffered;
                if is_sure || is_end || is_whole(&chunk, *announced) {
                    return Next::Decide(chunk);
                }
                if self.modes.request == RequestMode::OnDemand {
                    // Envoy has sent as much as it may buffer.
                    return Next::Check(usize::MAX);
                }
                self.state = State::Passing;
                Next::Missed(vec![answer::unchanged()])
            }
            State::Collecting(collected) => {
                collected.body.extend_from_slice(&chunk);
                collected.chunks += usize::from(self.modes.request == RequestMode::Streamed);
                if collected.chunks > MAX_CHUNKS {
                    return Next::Check(usize::MAX);
                }
                if is_end {
                    collected.end = End::Body;
                } else if self.modes.request != RequestMode::Streamed || !collected.is_complete() {
                    return Next::Check(collected.body.len());
                }
                Next::Decide(mem::take(&mut collected.body).into())
            }
            State::Passing if self.modes.request == RequestMode::Duplex => {
                Next::Answer(answer::request_stream(chunk, is_end).collect())
            }
            State::Passing => Next::Answer(vec![answer::unchanged()]),
            State::Over => Next::Answer(Vec::new()),
        }
    }

    /// Trailers have arrived, which end the body.
    pub(super) fn trailers(&mut self) -> Next {
        match &mut self.state {
            State::Collecting(collected) => {
                collected.end = End::Trailers;
                Next::Decide(mem::take(&mut collected.body).into())
            }
            State::Expecting { .. } => {
                self.state = State::Passing;
                Next::Missed(vec![answer::request_trailers()])
            }
            State::Passing => Next::Answer(vec![answer::request_trailers()]),
            State::Over => Next::Answer(Vec::new()),
        }
    }

    /// The responses to everything that has none yet. `body` is the one of [`Next::Decide`]; none if the
    /// verdict came earlier.
    pub(super) fn decided(&mut self, decision: Decision, body: Option<Bytes>) -> Vec<ProcessingResponse> {
        let mut answers = self.answers(decision.verdict, body);
        // Envoy reads the first response before it forwards the request.
        if let Some(first) = answers.first_mut() {
            first.dynamic_metadata = decision.metadata;
        }
        answers
    }

    fn answers(&mut self, verdict: Verdict, body: Option<Bytes>) -> Vec<ProcessingResponse> {
        let state = mem::replace(&mut self.state, State::Passing);
        let (headers, new_body) = match verdict {
            Verdict::Unchanged => (None, None),
            Verdict::Changed { headers, body } => (Some(headers), body),
            Verdict::Respond(response) => {
                self.state = State::Over;
                return vec![answer::responded(response)];
            }
        };
        match (state, headers) {
            (State::Collecting(collected), headers) => {
                let body = body.unwrap_or_else(|| collected.body.into());
                let rest = Collected { body: Vec::new(), ..collected };
                self.withheld(rest, headers, body, new_body)
            }
            (_, Some(headers)) => vec![answer::changed(headers, new_body)],
            (_, None) => vec![answer::unchanged()],
        }
    }

    /// The responses to headers, body and trailers, in this order.
    fn withheld(
        &self,
        collected: Collected,
        headers: Option<Vec<HeaderValueOption>>,
        body: Bytes,
        new_body: Option<Bytes>,
    ) -> Vec<ProcessingResponse> {
        let Collected { remove, chunks, end, .. } = collected;
        let mut answers = vec![match headers {
            Some(headers) => answer::rerouted(headers, remove),
            None => answer::without_headers(remove),
        }];
        match (self.modes.request, new_body) {
            (RequestMode::Duplex, new_body) => {
                let body = new_body.unwrap_or(body);
                if end == End::Body || !body.is_empty() {
                    answers.extend(answer::request_stream(body, end == End::Body));
                }
            }
            // Envoy has kept the chunks.
            (_, None) => answers.extend((0..chunks).map(|_| answer::unchanged())),
            (_, Some(body)) => answers.extend(answer::in_chunks(&body, chunks)),
        }
        if end == End::Trailers {
            answers.push(answer::request_trailers());
        }
        answers
    }

    /// The response has started. Returns whether the request's body was missed.
    pub(super) fn response_headers(&mut self) -> bool {
        match mem::replace(&mut self.state, State::Passing) {
            State::Expecting { .. } => true,
            // Envoy responds by itself.
            State::Collecting(_) | State::Over => {
                self.state = State::Over;
                false
            }
            State::Passing => false,
        }
    }
}

/// Whether a message that may be a chunk has the whole body. Envoy does not mark the end of a body that
/// trailers follow.
fn is_whole(body: &[u8], announced: Option<usize>) -> bool {
    match announced {
        Some(length) => body.len() >= length,
        None => !serde_json::from_slice::<IgnoredAny>(body).is_err_and(|error| error.is_eof()),
    }
}

#[cfg(test)]
mod tests;
