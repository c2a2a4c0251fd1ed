//! Events in any order: no order breaks the guarantees that hosts rely on.

use proptest::prelude::*;

use super::*;

/// An event, as a host may report it at any time.
#[derive(Clone, Debug)]
enum Input {
    Headers { prompt: bool },
    Progress(usize),
    Body(&'static str),
    Classified(CallResult),
    ResponseHeaders { content_type: &'static str, is_encoded: bool, attempt: u64 },
    Chunk(&'static [u8]),
    End,
    Finish,
}

fn any_input() -> impl proptest::strategy::Strategy<Value = Input> {
    let results =
        vec![chatbot(), CallResult::UnknownExamples, CallResult::Unavailable, CallResult::NotCalled];
    let chunks: Vec<&'static [u8]> =
        vec![b"", RESPONSE, b"\x1f\x8b", b"data: {\"choices\": [{\"delta\": {\"content\": \"a\"}}]}\n\n"];
    prop_oneof![
        any::<bool>().prop_map(|prompt| Input::Headers { prompt }),
        (0_usize..2048).prop_map(Input::Progress),
        prop::sample::select(vec![NAMED, AUTO, "not JSON", "{}", ""]).prop_map(Input::Body),
        prop::sample::select(results).prop_map(Input::Classified),
        (prop::sample::select(vec!["application/json", "text/event-stream", ""]), any::<bool>(), 0_u64..4)
            .prop_map(|(content_type, is_encoded, attempt)| Input::ResponseHeaders {
                content_type,
                is_encoded,
                attempt
            }),
        prop::sample::select(chunks).prop_map(Input::Chunk),
        Just(Input::End),
        Just(Input::Finish),
    ]
}

/// The usual events with any others in between, so that late phases are reached.
fn any_life() -> impl proptest::strategy::Strategy<Value = Vec<Input>> {
    let usual = vec![
        Input::Headers { prompt: true },
        Input::Body(AUTO),
        Input::Classified(chatbot()),
        Input::ResponseHeaders { content_type: "application/json", is_encoded: false, attempt: 1 },
        Input::Chunk(RESPONSE),
        Input::End,
        Input::Finish,
    ];
    let strays = prop::collection::vec((0_usize..8, any_input()), 0..6);
    strays.prop_map(move |strays| {
        let mut life = usual.clone();
        for (position, input) in strays {
            life.insert(position.min(life.len()), input);
        }
        life
    })
}

fn any_config() -> impl proptest::strategy::Strategy<Value = Config> {
    (any::<bool>(), any::<bool>(), any::<bool>()).prop_map(|(in_shadow, reject, examples)| {
        config(|it| {
            it["failover"] = json!(true);
            if in_shadow {
                it["mode"] = json!("shadow");
            }
            if reject {
                it["sidecar"]["on_failure"] = json!("reject");
            }
            if examples {
                it["policies"]["p"] = json!({
                    "classifier": "examples", "default": "small",
                    "routes": {"Chatbot": {"model": "big", "examples": ["hello"]}},
                });
            }
        })
    })
}

/// What a host saw of one request.
#[derive(Default, Debug)]
struct Seen {
    forwards: usize,
    responses: usize,
    calls: usize,
    is_calling: bool,
    cancels: usize,
    /// Calls that could not be made.
    unmade: usize,
    finished: bool,
}

impl Seen {
    fn on_body(&mut self, action: &OnBody) {
        match action {
            OnBody::Continue => {}
            OnBody::Classify => {
                self.calls += 1;
                self.is_calling = true;
            }
            OnBody::Forward(_) => self.forwards += 1,
            OnBody::Respond(_) => self.responses += 1,
        }
    }

    fn cancel(&mut self) {
        self.cancels += 1;
        self.is_calling = false;
    }
}

fn feed(run: &mut Run, seen: &mut Seen, input: Input, at: u64) {
    let now = Duration::from_millis(1000 + at);
    let Run { exchange, log } = run;
    match input {
        Input::Headers { prompt } => {
            let path = if prompt { PATH } else { "/" };
            let headers = Headers::from([(":method", "POST"), (":path", path)]);
            match exchange.request_headers(headers, RequestContext::default(), true, log).1 {
                OnHeaders::Respond(_) => seen.responses += 1,
                OnHeaders::Hold => assert!(exchange.is_held(), "not held"),
                OnHeaders::Continue => {}
            }
        }
        Input::Progress(length) => {
            if let Some(action) = exchange.request_progress(length, log) {
                seen.on_body(&action);
            }
        }
        Input::Body(body) => seen.on_body(&exchange.request_body(body.as_bytes(), now, log)),
        Input::Classified(result) => {
            let was_calling = seen.is_calling;
            seen.is_calling = false;
            seen.unmade += usize::from(was_calling && result == CallResult::NotCalled);
            let action = exchange.classified(result, || AUTO, now, log);
            assert!(was_calling || action == OnBody::Continue, "nobody called: {action:?}");
            seen.on_body(&action);
        }
        Input::ResponseHeaders { content_type, is_encoded, attempt } => {
            let head = ResponseHead { content_type: Some(content_type), is_encoded };
            let attempt = || Attempt { number: attempt, cluster: Some("small-cluster".to_owned()) };
            if exchange.response_headers(head, attempt, log) == OnResponse::CancelCall {
                seen.cancel();
            }
        }
        Input::Chunk(chunk) => exchange.response_chunk(chunk, || now, log),
        Input::End => exchange.response_end(log),
        Input::Finish => {
            if exchange.finish(log) {
                seen.cancel();
            }
            seen.finished = true;
        }
    }
}

proptest! {
    #[test]
    fn hosts_can_rely_on_an_exchange_whatever_happens(
        config in any_config(),
        life in prop_oneof![any_life(), prop::collection::vec(any_input(), 0..12)],
    ) {
        let in_shadow = config.mode == Mode::Shadow;
        let mut run = Run::new(config);
        let mut seen = Seen::default();
        for (at, input) in (0..).zip(life) {
            let before = run.log.0.len();
            let was_finished = seen.finished;
            feed(&mut run, &mut seen, input, at);
            // A call is in progress exactly while there is a query.
            prop_assert_eq!(seen.is_calling, run.exchange.query().is_some());
            prop_assert!(!was_finished || run.log.0.len() == before, "recorded after the end");
        }
        if run.exchange.finish(&mut run.log) {
            seen.cancel();
        }
        prop_assert!(!seen.is_calling, "a call is left: {:?}", seen);
        // A request is forwarded or responded to, once, and in shadow mode never.
        prop_assert!(seen.forwards + seen.responses <= usize::from(!in_shadow), "{:?}", seen);
        prop_assert!(run.log.count("routed") + run.log.count("rejected") <= 1, "{:?}", run.log);
        prop_assert!(run.log.count("used") <= 1 && run.log.count("first token") <= 1, "{:?}", run.log);
        // Every call has one end: it is recorded, cancelled, could not be made, or was followed by one with the examples.
        prop_assert!(seen.calls <= 2 && seen.cancels <= 1, "{:?}", seen);
        let ends = run.log.count("classified") + seen.cancels + seen.unmade;
        prop_assert_eq!(ends, usize::from(seen.calls > 0));
    }
}
