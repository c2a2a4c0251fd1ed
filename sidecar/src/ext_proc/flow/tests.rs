use std::collections::VecDeque;

use llm_router_proto::envoy::service::ext_proc::v3::{
    BodyResponse, CommonResponse, HeadersResponse, body_mutation::Mutation, processing_response::Response,
};

use super::*;

const ALL: [RequestMode; 6] = [
    RequestMode::Buffered,
    RequestMode::Unannounced,
    RequestMode::OnDemand,
    RequestMode::StreamedLate,
    RequestMode::Streamed,
    RequestMode::Duplex,
];

/// Longer bodies are rejected.
const MAX_BODY: usize = 1000;

/// Applies responses as Envoy does. Fails where Envoy would: at a response that is out of order.
struct Envoy {
    flow: RequestFlow,
    /// Chunks that have no response yet.
    unanswered: VecDeque<Bytes>,
    headers: Option<CommonResponse>,
    upstream: Vec<u8>,
    has_ended: bool,
    has_trailers: bool,
    local_response: Option<u16>,
    missed: usize,
}

impl Envoy {
    fn new(mode: RequestMode) -> Self {
        let flow = RequestFlow::new(BodyModes { request: mode, response: BodySendMode::None });
        let (unanswered, upstream) = (VecDeque::new(), Vec::new());
        Self {
            flow,
            unanswered,
            headers: None,
            upstream,
            has_ended: false,
            has_trailers: false,
            local_response: None,
            missed: 0,
        }
    }

    fn is_streaming(&self) -> bool {
        matches!(self.flow.modes.request, RequestMode::Streamed | RequestMode::Duplex)
    }

    fn headers(&mut self, request: OnRequest) {
        let answers = self.flow.headers(request, None);
        self.apply(answers);
    }

    /// Sends a body in these chunks, or as it is buffered.
    fn body(&mut self, chunks: &[&[u8]], trailers: bool, decide: &dyn Fn(&[u8]) -> Verdict) {
        let whole = [chunks.concat()];
        let chunks: Vec<&[u8]> = match self.is_streaming() {
            true => chunks.to_vec(),
            false => whole.iter().map(Vec::as_slice).collect(),
        };
        for (at, chunk) in chunks.iter().enumerate() {
            self.chunk(chunk, !trailers && at + 1 == chunks.len(), decide);
        }
        if trailers && self.is_streaming() {
            let next = self.flow.trailers();
            self.carry_out(next, decide);
        }
    }

    fn chunk(&mut self, chunk: &[u8], is_end: bool, decide: &dyn Fn(&[u8]) -> Verdict) {
        if self.local_response.is_some() {
            return;
        }
        let chunk = Bytes::copy_from_slice(chunk);
        self.unanswered.push_back(chunk.clone());
        let next = self.flow.chunk(chunk, is_end);
        self.carry_out(next, decide);
    }

    fn carry_out(&mut self, next: Next, decide: &dyn Fn(&[u8]) -> Verdict) {
        let answers = match next {
            Next::Answer(answers) => answers,
            Next::Missed(answers) => {
                self.missed += 1;
                answers
            }
            Next::Check(length) if length > MAX_BODY => self.flow.decided(decide(&[]).into(), None),
            Next::Check(_) => Vec::new(),
            Next::Decide(body) => {
                let verdict = decide(&body);
                self.flow.decided(verdict.into(), Some(body))
            }
        };
        self.apply(answers);
    }

    fn apply(&mut self, answers: Vec<ProcessingResponse>) {
        for answer in answers {
            assert!(self.local_response.is_none() && !self.has_trailers, "{answer:?}");
            match answer.response.unwrap() {
                Response::RequestHeaders(HeadersResponse { response }) => {
                    assert!(self.headers.is_none());
                    self.headers = Some(response.unwrap_or_default());
                }
                Response::RequestBody(BodyResponse { response }) => {
                    assert!(self.headers.is_some() && !self.has_ended);
                    self.apply_body(response.unwrap());
                }
                Response::RequestTrailers(_) => {
                    assert!(self.headers.is_some());
                    self.has_trailers = true;
                }
                Response::ImmediateResponse(response) => {
                    self.local_response = response.status.map(|status| u16::try_from(status.code).unwrap());
                }
                other => panic!("{other:?}"),
            }
        }
    }

    fn apply_body(&mut self, common: CommonResponse) {
        let mutation = common.body_mutation.and_then(|it| it.mutation);
        if self.flow.modes.request == RequestMode::Duplex {
            let Some(Mutation::StreamedResponse(streamed)) = mutation else { panic!("{mutation:?}") };
            assert!(streamed.body.len() <= answer::MAX_PIECE);
            self.upstream.extend_from_slice(&streamed.body);
            self.has_ended = streamed.end_of_stream;
            return;
        }
        if !self.is_streaming() {
            self.headers =
                Some(CommonResponse { header_mutation: common.header_mutation, ..CommonResponse::default() });
        } else {
            assert_eq!(common.header_mutation, None, "headers cannot be changed any more");
        }
        let chunk = self.unanswered.pop_front().expect("an answer to a chunk");
        match mutation {
            None => self.upstream.extend_from_slice(&chunk),
            Some(Mutation::Body(body)) => self.upstream.extend_from_slice(&body),
            Some(Mutation::ClearBody(true)) => {}
            other => panic!("{other:?}"),
        }
    }

    fn set_headers(&self) -> Vec<String> {
        let mutation = self.headers.iter().filter_map(|common| common.header_mutation.as_ref());
        let set = mutation.flat_map(|mutation| &mutation.set_headers);
        set.map(|option| option.header.clone().unwrap().key).collect()
    }

    #[track_caller]
    fn assert_answered(&self, trailers: bool) {
        assert!(self.headers.is_some());
        match self.flow.modes.request {
            RequestMode::Duplex => assert!(self.has_ended != trailers),
            _ => assert!(self.unanswered.is_empty()),
        }
        assert_eq!(self.has_trailers, trailers && self.is_streaming());
        assert_eq!(self.flow.held_bytes(), 0);
    }
}

fn held() -> OnRequest {
    OnRequest::Hold { remove: vec!["x-own".to_owned()], announced: None, read_response: false }
}

fn passing() -> OnRequest {
    OnRequest::Pass { remove: Vec::new(), has_body: true }
}

/// Doubles the body.
fn changed(body: &[u8]) -> Verdict {
    let headers = vec![answer::header("x-cluster".to_owned(), "c".to_owned())];
    Verdict::Changed { headers, body: Some([body, body].concat().into()) }
}

fn rejected() -> Verdict {
    let headers = Vec::new();
    Verdict::Respond(LocalResponse { status: 413, headers, body: Vec::new(), details: None })
}

/// Cuts a body at random places. Chunks may be empty.
fn random_chunks<'a>(body: &'a [u8], random: &mut fastrand::Rng) -> Vec<&'a [u8]> {
    let mut cuts: Vec<_> = (0..random.usize(0..8)).map(|_| random.usize(0..=body.len())).collect();
    cuts.extend([0, body.len()]);
    cuts.sort_unstable();
    cuts.windows(2).map(|cut| &body[cut[0]..cut[1]]).collect()
}

/// JSON within the limit, so that each mode recognizes when it is whole.
fn random_body(random: &mut fastrand::Rng) -> Vec<u8> {
    let text: String = (0..random.usize(0..MAX_BODY - 10)).map(|_| random.alphanumeric()).collect();
    format!("{{\"a\":\"{text}\"}}").into_bytes()
}

#[test]
fn every_mode_and_chunking_decides_and_forwards_the_same_body() {
    let mut random = fastrand::Rng::with_seed(1);
    for _ in 0..500 {
        let body = random_body(&mut random);
        let chunks = random_chunks(&body, &mut random);
        let trailers = random.bool();
        for mode in ALL {
            let mut envoy = Envoy::new(mode);
            envoy.headers(held());
            envoy.body(&chunks, trailers, &changed);
            assert_eq!(envoy.upstream, [&body[..], &body].concat(), "{mode:?}");
            assert_eq!(envoy.set_headers(), ["x-cluster"], "{mode:?}");
            envoy.assert_answered(trailers);

            let mut envoy = Envoy::new(mode);
            envoy.headers(held());
            envoy.body(&chunks, trailers, &|_| Verdict::Unchanged);
            assert_eq!(envoy.upstream, body, "{mode:?}");
            envoy.assert_answered(trailers);
        }
    }
}

#[test]
fn a_request_that_is_not_held_is_forwarded_chunk_by_chunk_and_not_kept() {
    let mut random = fastrand::Rng::with_seed(2);
    for _ in 0..200 {
        let body = vec![b'x'; random.usize(0..3 * answer::MAX_PIECE)];
        let chunks = random_chunks(&body, &mut random);
        for mode in ALL {
            let mut envoy = Envoy::new(mode);
            envoy.headers(passing());
            let mut sent = Vec::new();
            for (at, chunk) in chunks.iter().enumerate() {
                envoy.chunk(chunk, at + 1 == chunks.len(), &|_| panic!("nothing is decided"));
                sent.extend_from_slice(chunk);
                assert_eq!((&envoy.upstream, envoy.flow.held_bytes()), (&sent, 0), "{mode:?}");
            }
            assert_eq!(envoy.missed, 0);
        }
    }
}

#[test]
fn a_body_that_is_too_long_is_rejected_before_it_ends() {
    for mode in [RequestMode::Streamed, RequestMode::Duplex] {
        let mut envoy = Envoy::new(mode);
        envoy.headers(held());
        for _ in 0..MAX_BODY {
            envoy.chunk(b"x", false, &|_| rejected());
        }
        let chunks = if mode == RequestMode::Streamed { MAX_BODY } else { 0 };
        let held = MAX_BODY + chunks * CHUNK_OVERHEAD;
        assert_eq!((envoy.local_response, envoy.flow.held_bytes()), (None, held));
        envoy.chunk(b"x", false, &|_| rejected());
        assert_eq!((envoy.local_response, envoy.flow.held_bytes()), (Some(413), 0));
        // Envoy sent this before it received the rejection.
        assert!(matches!(envoy.flow.chunk(Bytes::from("x"), true), Next::Answer(none) if none.is_empty()));
        assert!(matches!(envoy.flow.trailers(), Next::Answer(none) if none.is_empty()));
    }
}

/// Each needs a response, so its memory does not depend on its length.
#[test]
fn a_streamed_body_of_too_many_chunks_is_too_long() {
    let mut envoy = Envoy::new(RequestMode::Streamed);
    envoy.headers(held());
    for _ in 0..MAX_CHUNKS {
        envoy.chunk(b"", false, &|_| rejected());
    }
    assert_eq!((envoy.local_response, envoy.flow.held_bytes()), (None, MAX_CHUNKS * CHUNK_OVERHEAD));
    envoy.chunk(b"", true, &|_| rejected());
    assert_eq!((envoy.local_response, envoy.flow.held_bytes()), (Some(413), 0));

    let mut envoy = Envoy::new(RequestMode::Streamed);
    envoy.headers(held());
    for at in 0..=MAX_CHUNKS {
        envoy.chunk(b"", at == MAX_CHUNKS, &|_| Verdict::Unchanged);
    }
    envoy.assert_answered(false);
}

#[test]
fn chunks_that_need_no_response_have_no_limit() {
    let mut envoy = Envoy::new(RequestMode::Duplex);
    envoy.headers(held());
    for _ in 0..=MAX_CHUNKS {
        envoy.chunk(b"", false, &|_| rejected());
    }
    assert_eq!((envoy.local_response, envoy.flow.held_bytes()), (None, 0));
    envoy.chunk(b"{}", true, &changed);
    assert_eq!(envoy.upstream, b"{}{}");
}

/// Envoy holds trailers back while a chunk has no response.
#[test]
fn a_streamed_body_of_announced_length_is_decided_before_its_trailers() {
    let (body, announced) = (br#"{"a":1}"#, Some(7));
    for verdict in [changed as fn(&[u8]) -> Verdict, |_| Verdict::Unchanged] {
        let mut envoy = Envoy::new(RequestMode::Streamed);
        envoy.headers(OnRequest::Hold { remove: Vec::new(), announced, read_response: false });
        envoy.chunk(&body[..6], false, &verdict);
        assert!(envoy.headers.is_none());
        envoy.chunk(&body[6..], false, &verdict);
        assert!(envoy.upstream.starts_with(b"{") && envoy.unanswered.is_empty() && !envoy.has_trailers);
        let sent_on = envoy.upstream.clone();
        // HTTP/2 may also end it with an empty frame.
        envoy.chunk(b"", false, &|_| panic!("it is decided"));
        let trailers = envoy.flow.trailers();
        envoy.carry_out(trailers, &|_| panic!("it is decided"));
        envoy.assert_answered(true);
        assert_eq!(envoy.upstream, sent_on);
    }
}

/// In shadow mode, nothing is rejected.
#[test]
fn a_body_that_is_too_long_may_be_forwarded_as_it_arrives() {
    for mode in [RequestMode::Streamed, RequestMode::Duplex] {
        let mut envoy = Envoy::new(mode);
        envoy.headers(held());
        for at in 0..3 * MAX_BODY {
            envoy.chunk(b"x", at + 1 == 3 * MAX_BODY, &|_| Verdict::Unchanged);
        }
        assert_eq!(envoy.upstream.len(), 3 * MAX_BODY);
        envoy.assert_answered(false);
    }
}

#[test]
fn headers_are_removed_in_every_mode() {
    for mode in ALL {
        for verdict in [changed as fn(&[u8]) -> Verdict, |_| Verdict::Unchanged] {
            let mut envoy = Envoy::new(mode);
            envoy.headers(held());
            if let Some(headers) = &envoy.headers {
                let removed = &headers.header_mutation.as_ref().unwrap().remove_headers;
                assert_eq!(removed, &["x-own"], "{mode:?}");
                continue;
            }
            envoy.body(&[b"{}"], false, &verdict);
            let headers = envoy.headers.unwrap().header_mutation.unwrap();
            assert_eq!(headers.remove_headers, ["x-own"], "{mode:?}");
        }
    }
}

/// The modes that the response to the headers requests: of response headers, request body and response body.
fn asked(modes: BodyModes, request: OnRequest) -> Option<(HeaderSendMode, BodySendMode, BodySendMode)> {
    let answers = RequestFlow::new(modes).headers(request, None);
    let mode = answers.first()?.mode_override?;
    Some((mode.response_header_mode(), mode.request_body_mode(), mode.response_body_mode()))
}

#[test]
fn envoy_is_asked_for_a_held_body_that_it_would_not_send() {
    use BodySendMode::{Buffered, BufferedPartial, None as Nothing, Streamed};
    let modes = |request| BodyModes { request, response: Streamed };
    let hold = |announced| OnRequest::Hold { remove: Vec::new(), announced, read_response: false };
    for on_demand in [RequestMode::OnDemand, RequestMode::StreamedLate] {
        let announced = asked(modes(on_demand), hold(Some(1000)));
        assert_eq!(announced, Some((HeaderSendMode::Default, Buffered, Streamed)));
        // Envoy may have reached its limit already.
        let unknown = asked(modes(on_demand), hold(None));
        assert_eq!(unknown, Some((HeaderSendMode::Default, BufferedPartial, Streamed)));
    }
    assert_eq!(asked(modes(RequestMode::Buffered), held()), None);

    let read = || OnRequest::Hold { remove: Vec::new(), announced: None, read_response: true };
    let unread = |request| BodyModes { request, response: Nothing };
    let read_buffered = asked(unread(RequestMode::Buffered), read());
    assert_eq!(read_buffered, Some((HeaderSendMode::Send, Buffered, Streamed)));
    let read_on_demand = asked(unread(RequestMode::OnDemand), read());
    assert_eq!(read_on_demand, Some((HeaderSendMode::Send, BufferedPartial, Streamed)));
}

#[test]
fn envoy_is_asked_to_hold_back_nothing_of_a_request_that_passes() {
    use BodySendMode::None as Nothing;
    let modes = |request| BodyModes { request, response: BodySendMode::Streamed };
    let skip = Some((HeaderSendMode::Skip, Nothing, Nothing));
    assert_eq!(asked(modes(RequestMode::OnDemand), passing()), skip);
    let without_body = || OnRequest::Pass { remove: Vec::new(), has_body: false };
    assert_eq!(asked(modes(RequestMode::Buffered), without_body()), skip);
    // Envoy's own 413 needs a response.
    let send = Some((HeaderSendMode::Send, Nothing, Nothing));
    assert_eq!(asked(modes(RequestMode::Buffered), passing()), send);
}

#[test]
fn no_mode_is_requested_where_envoy_ignores_it() {
    for request in [RequestMode::Streamed, RequestMode::Duplex] {
        let modes = BodyModes { request, response: BodySendMode::None };
        assert_eq!(asked(modes, passing()), None);
    }
    let modes = BodyModes { request: RequestMode::Buffered, response: BodySendMode::FullDuplexStreamed };
    assert_eq!(asked(modes, passing()), None);
    assert_eq!(asked(modes, held()), None);
}

#[test]
fn chunks_instead_of_the_whole_body_pass_undecided() {
    for mode in [RequestMode::Unannounced, RequestMode::StreamedLate] {
        for announced in [Some(7), None] {
            let mut envoy = Envoy::new(mode);
            envoy.headers(OnRequest::Hold { remove: Vec::new(), announced, read_response: false });
            for (chunk, is_end) in [("{\"a\"", false), (":1", false), ("}", true)] {
                envoy.chunk(chunk.as_bytes(), is_end, &|_| panic!("nothing is decided"));
            }
            assert_eq!((envoy.upstream.as_slice(), envoy.missed), (&b"{\"a\":1}"[..], 1));
            assert!(!envoy.flow.response_headers());
        }
    }
}

#[test]
fn a_body_over_envoys_limit_is_rejected_as_too_long() {
    let mut envoy = Envoy::new(RequestMode::OnDemand);
    envoy.headers(held());
    envoy.chunk(b"{\"a\":", false, &|_| rejected());
    assert_eq!((envoy.local_response, envoy.missed), (Some(413), 0));
}

#[test]
fn a_body_that_does_not_arrive_is_missed_once_its_response_begins() {
    for mode in [RequestMode::Buffered, RequestMode::OnDemand] {
        let mut flow = RequestFlow::new(BodyModes { request: mode, response: BodySendMode::None });
        flow.headers(held(), None);
        assert!(flow.response_headers());
        assert!(!flow.response_headers());
    }
    // Envoy responds by itself while we collect.
    let mut flow = RequestFlow::new(BodyModes { request: RequestMode::Duplex, response: BodySendMode::None });
    flow.headers(held(), None);
    assert!(matches!(flow.chunk(Bytes::from("{"), false), Next::Check(1)));
    assert!(!flow.response_headers());
    assert_eq!(flow.held_bytes(), 0);
}

#[test]
fn metadata_for_the_access_log_is_in_the_first_response() {
    for mode in ALL {
        let mut flow = RequestFlow::new(BodyModes { request: mode, response: BodySendMode::None });
        flow.headers(held(), None);
        assert!(matches!(flow.chunk(Bytes::from("{}"), true), Next::Decide(_)));
        let decision = Decision { verdict: changed(b"{}"), metadata: Some(Struct::default()) };
        let answers = flow.decided(decision, Some(Bytes::from("{}")));
        let with_metadata: Vec<_> = answers.iter().map(|it| it.dynamic_metadata.is_some()).collect();
        assert!(with_metadata[0] && with_metadata[1..].iter().all(|it| !it), "{mode:?}");
    }
}
