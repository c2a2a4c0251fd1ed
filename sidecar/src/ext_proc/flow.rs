//! The order of a request's messages as a state machine without I/O: messages in, answers out.
//!
//! Who decides on the request is not known here. In the modes where Envoy waits for an answer to the headers, they are answered at
//! once, and the body's answer may still change them. In the others, the answer to the headers is withheld until the
//! body is decided, because headers that went on cannot be changed any more.
//!
//! | event | call | what follows |
//! |---|---|---|
//! | headers | [`RequestFlow::headers`] | answers |
//! | body chunk, trailers | [`RequestFlow::chunk`], [`RequestFlow::trailers`] | a [`Next`] |
//! | the request is decided | [`RequestFlow::decided`] | answers |
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

/// What becomes of a request once its headers are there.
#[derive(Debug)]
pub(super) enum OnRequest {
    /// It goes on as it comes, without the headers of these names.
    Pass {
        remove: Vec<String>,
        /// False if the request ends with its headers.
        has_body: bool,
    },
    /// It is held until its body is decided. It goes on without the headers of these names.
    Hold {
        remove: Vec<String>,
        /// The length that the client announced for the body.
        announced: Option<usize>,
        /// Whether the response must be read, too.
        read_response: bool,
    },
    /// Envoy responds to the client.
    Respond(LocalResponse),
}

/// What becomes of a request that was held.
#[derive(Debug)]
pub(super) enum Verdict {
    /// It is forwarded unchanged.
    Unchanged,
    /// It goes on with these headers and, if there is one, this body instead of its own.
    Changed { headers: Vec<HeaderValueOption>, body: Option<Bytes> },
    /// Envoy responds to the client.
    Respond(LocalResponse),
}

/// A verdict, and what access logs get of it.
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

/// What is to be done after a message.
#[derive(Debug)]
pub(super) enum Next {
    /// Answer so. If there is no answer, more has to come.
    Answer(Vec<ProcessingResponse>),
    /// The body has at least so many bytes. If that is too many already, report the verdict.
    Check(usize),
    /// The whole body is there. Report the verdict.
    Decide(Bytes),
    /// The body did not come as it should, so the request is not routed. Answer so.
    Missed(Vec<ProcessingResponse>),
}

/// A request's way through a stream.
#[derive(Debug)]
pub(super) struct RequestFlow {
    modes: BodyModes,
    state: State,
}

#[derive(Debug)]
enum State {
    /// The headers are answered, or there will be none; the whole body comes in one message.
    Expecting { announced: Option<usize> },
    /// Neither headers nor body are answered yet.
    Collecting(Collected),
    /// The request goes on, and what still comes with it.
    Passing,
    /// Envoy responds to the client. What it sent before it knew that is not answered.
    Over,
}

#[derive(Debug, Default)]
struct Collected {
    remove: Vec<String>,
    announced: Option<usize>,
    body: Vec<u8>,
    chunks: usize,
    end: End,
}

impl Collected {
    /// Whether all bytes that were announced are there. In `STREAMED` mode, Envoy does not say so of a body that trailers follow: it
    /// holds them back until all chunks are answered.
    fn is_complete(&self) -> bool {
        self.announced.is_some_and(|announced| self.body.len() >= announced)
    }
}

/// How far a body has come.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum End {
    /// More may come, although it is all that was announced.
    #[default]
    Open,
    Body,
    Trailers,
}

impl RequestFlow {
    /// A request whose bodies come like that.
    pub(super) fn new(modes: BodyModes) -> Self {
        Self { modes, state: State::Expecting { announced: None } }
    }

    /// How its bodies come.
    pub(super) fn modes(&self) -> BodyModes {
        self.modes
    }

    /// Whether the body is still to be decided.
    pub(super) fn awaits_body(&self) -> bool {
        matches!(self.state, State::Expecting { .. } | State::Collecting(_))
    }

    /// Whether the body is collected here. Envoy may keep no copy of it.
    pub(super) fn is_collecting(&self) -> bool {
        matches!(self.state, State::Collecting(_))
    }

    /// Bytes of the body that are kept.
    pub(super) fn held_bytes(&self) -> usize {
        match &self.state {
            State::Collecting(collected) => collected.body.len(),
            _ => 0,
        }
    }

    /// The answers to the headers.
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

    /// Has Envoy send nothing more of a request that goes on as it comes, and hold nothing back: bodies of any size pass, and
    /// protocols that a request is upgraded to.
    fn pass(&self, remove: Vec<String>, has_body: bool) -> ProcessingResponse {
        let answer = answer::without_headers(remove);
        if !self.modes.can_be_overridden() {
            return answer;
        }
        // Envoy's own 413 asks for our answer, too, if the body is over its limit by now. Were that answer skipped, Envoy
        // would close the stream and wait for it until the message times out.
        let response_headers =
            if has_body && !self.is_on_demand() { HeaderSendMode::Send } else { HeaderSendMode::Skip };
        answer::in_mode(answer, response_headers, BodySendMode::None, BodySendMode::None)
    }

    /// Has Envoy send what it would not send otherwise of a request that is held.
    fn hold(&self, remove: Vec<String>, announced: Option<usize>, read_response: bool) -> ProcessingResponse {
        let is_on_demand = self.is_on_demand();
        let (answer, body) = match announced {
            // If the body is over Envoy's limit before this answer arrives, Envoy reads no further. Asked for the whole, it
            // would wait for ever; asked for a part, it sends what it has. It then chooses the route before it applies
            // the answer to the body, unless it has none since this one. A length that is announced is under the limit.
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

    /// A chunk of the body has come.
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
                collected.chunks += 1;
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

    /// Trailers have come, which end the body.
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

    /// The answers to all that was not answered yet. `body` is what [`Next::Decide`] had; none if the verdict came earlier.
    pub(super) fn decided(&mut self, decision: Decision, body: Option<Bytes>) -> Vec<ProcessingResponse> {
        let mut answers = self.answers(decision.verdict, body);
        // Whichever comes first is read before the request goes on.
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

    /// The answers to headers, body and trailers, in this order.
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

    /// The response has begun. Returns whether the request's body was missed.
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

/// Whether a message that may be a chunk has the whole body: Envoy does not say that of a body that trailers follow.
fn is_whole(body: &[u8], announced: Option<usize>) -> bool {
    match announced {
        Some(length) => body.len() >= length,
        None => !serde_json::from_slice::<IgnoredAny>(body).is_err_and(|error| error.is_eof()),
    }
}

#[cfg(test)]
mod tests;
