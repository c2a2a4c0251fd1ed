//! Policies with few-shot examples: the filter sends them to the sidecar once, when the sidecar requests them.

use llm_router_tests::client::{Request, Response, chat};
use llm_router_tests::envoy::Envoy;
use llm_router_tests::fakes::few_shot_sidecar::{Examples, FewShotSidecar, Sent};
use llm_router_tests::for_each_host_inside_envoy;
use llm_router_tests::host::Host;
use macro_rules_attribute::apply;
use serde_json::json;

use crate::support::assert_routed;

#[apply(for_each_host_inside_envoy!)]
async fn a_prompt_goes_to_the_route_of_the_most_similar_examples(host: Host) {
    let sidecar = FewShotSidecar::start(Examples::Kept);
    let envoy = gateway(host, &sidecar).await;
    for (prompt, model, label) in [
        ("Hello, where is my invoice?", "llama-70b", "billing"),
        ("I clicked, and it crashed", "nemotron", "tech"),
        ("A refund please!", "llama-70b", "billing"),
    ] {
        let response = send(&envoy, "support", prompt).await;
        assert_routed(&response, model, "classified");
        assert_eq!(response.header("x-llm-router-label"), label);
        assert_eq!(response.header("x-llm-router-confidence"), "0.750");
    }
    let calls = sidecar.calls();
    let Sent::Digest(digest) = calls[0].clone() else { panic!("{calls:?}") };
    let billing = ["where is my invoice", "refund please"].map(str::to_owned).to_vec();
    let routes = [("billing".to_owned(), billing), ("tech".to_owned(), vec!["it crashed".to_owned()])];
    assert_eq!(
        calls[1..],
        [Sent::Examples(digest.clone(), routes.into()), Sent::Digest(digest.clone()), Sent::Digest(digest),]
    );
}

#[apply(for_each_host_inside_envoy!)]
async fn a_sidecar_that_forgets_examples_is_sent_them_once_a_request(host: Host) {
    let sidecar = FewShotSidecar::start(Examples::Forgotten);
    let envoy = gateway(host, &sidecar).await;
    for requests in 1..=2 {
        assert_routed(&send(&envoy, "support", "it crashed").await, "llama-8b", "classifier_unavailable");
        assert_eq!(sidecar.calls().len(), 2 * requests);
    }
}

#[apply(for_each_host_inside_envoy!)]
async fn a_policy_without_examples_sends_none(host: Host) {
    let sidecar = FewShotSidecar::start(Examples::Forgotten);
    let envoy = gateway(host, &sidecar).await;
    assert_routed(&send(&envoy, "auto", "it crashed").await, "llama-8b", "classifier_unavailable");
    assert_eq!(sidecar.calls(), [Sent::Nothing]);
}

async fn gateway(host: Host, sidecar: &FewShotSidecar) -> Envoy {
    let bootstrap = host.bootstrap().with_long_timeouts().sidecar(sidecar.address).policy(|it| {
        it["policies"]["support"] = json!({ "classifier": "examples", "default": "llama-8b", "routes": {
            "billing": { "model": "llama-70b", "examples": ["where is my invoice", "refund please"] },
            "tech": { "model": "nemotron", "examples": ["it crashed"] },
        } });
    });
    Envoy::start_with_workers(&bootstrap, 1).await
}

async fn send(envoy: &Envoy, policy: &str, prompt: &str) -> Response {
    envoy.send(Request::chat(chat(policy, prompt))).await
}
