//! Any configuration: it is taken or refused with a reason, and one that is taken routes without a panic.

#![no_main]

use std::sync::LazyLock;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use llm_router_routing::cache::{CachingRouter, Plan};
use llm_router_routing::classification::{Classification, Label, Prediction};
use llm_router_routing::config::Config;
use llm_router_routing::model_list;
use llm_router_routing::request::{Endpoint, Request, RequestHead};
use llm_router_routing::requirements::Api;

const BODY: &[u8] = br#"{"model": "auto", "messages": [{"role": "user", "content": "Hello"}]}"#;
static ANSWER: LazyLock<Label> = LazyLock::new(|| Label::new("Chatbot", 0.5).expect("a confidence"));

fuzz_target!(|json: &[u8]| {
    match Config::from_json(json) {
        Ok(config) => route(config),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});

fn route(config: Config) {
    for api in [Api::Openai, Api::Anthropic] {
        model_list::list(&config, api);
    }
    let request = Request::parse(Endpoint::ChatCompletions, BODY).expect("a request");
    let head = RequestHead::new([(":path", "/v1/chat/completions")]);
    let router = CachingRouter::new(config);
    let now = Duration::from_secs(1);
    for label in [Some(ANSWER.clone()), None] {
        let mut plan = router.plan(&request, &head, now, &mut |_| ());
        while let Ok(Plan::Classify(mut pending, wanted)) = plan {
            for classifier in &wanted.classifiers {
                let prediction = label.clone().map(Classification::Label).map(Prediction::from);
                router.learn(&mut pending, &wanted, classifier, prediction, now);
            }
            plan = router.decide(*pending, now, &mut |_| ());
        }
    }
}
