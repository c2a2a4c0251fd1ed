//! Bodies of a megabyte that repeat one part: whatever the part is, their cost grows with their length only, so that none
//! takes longer than scripts/fuzz allows; and
//! however long they are, a model's edits have the last word.

#![no_main]

use libfuzzer_sys::fuzz_target;
use llm_router_fuzz::{EDITS, MODEL, check_edits_as_read};
use llm_router_routing::request::{Endpoint, PromptSettings, Request};

const SIZE: usize = 1 << 20;

// An input is what comes before, the part, and what comes after, with NUL between them, which no body can have.
fuzz_target!(|input: &[u8]| {
    let mut pieces = input.splitn(3, |byte| *byte == 0);
    let (Some(before), Some(part), Some(after)) = (pieces.next(), pieces.next(), pieces.next()) else {
        return;
    };
    if part.is_empty() {
        return;
    }
    let body = [before, &part.repeat(SIZE / part.len()), after].concat();
    let settings = PromptSettings::of_known_agents(16 << 10);
    for endpoint in [Endpoint::ChatCompletions, Endpoint::Responses, Endpoint::Messages] {
        let Ok(request) = Request::parse(endpoint, &body) else { continue };
        request.prompt(&settings).to_body();
        request.human_turns(&settings).prompt(0).to_body();
        request.fingerprint(&settings);
        let edited = request.into_rewrite().for_model(MODEL, &EDITS, &body).apply(&body);
        check_edits_as_read(&body, &edited);
    }
});
