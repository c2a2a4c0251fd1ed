//! Any configuration: it is taken or refused with a reason, and one that is taken routes without a panic.

#![no_main]

use std::sync::LazyLock;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use llm_router_routing::classification::{Classification, Label};
use llm_router_routing::config::Config;
use llm_router_routing::cache::CachingRouter;
use llm_router_routing::model_list;
use llm_router_routing::request::{Endpoint, Request, RequestHead};
use llm_router_routing::router::{ClassifierResult, Plan};

const BODY: &[u8] = br#"{"model": "auto", "messages": [{"role": "user", "content": "Hello"}]}"#;
static ANSWER: LazyLock<Label> = LazyLock::new(|| Label::new("Chatbot", 0.5).expect("a confidence"));

fuzz_target!(|json: &[u8]| {
    match Config::from_json(json) {
        Ok(config) => route(config),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});

fn route(config: Config) {
    model_list::to_json(&config);
    let request = Request::parse(Endpoint::ChatCompletions, BODY).expect("a request");
    let head = RequestHead::new([(":path", "/v1/chat/completions")]);
    let router = CachingRouter::new(config);
    let now = Duration::from_secs(1);
    if let Ok(Plan::Classify(pending)) = router.plan(&request, &head, now, &mut |_| ()) {
        let fresh = ClassifierResult::Fresh(Classification::Label(ANSWER.clone()));
        for result in [fresh, ClassifierResult::Unavailable] {
            let _ = router.decide(&pending, result, now, &mut |_| ());
        }
    }
}
