//! Clients' own keys and cookies end at the gateway, unless its configuration lets one pass.

use hyper::Method;
use llm_router_tests::client::{Request, chat};
use llm_router_tests::envoy::Envoy;
use llm_router_tests::fakes::scripted_gateway::ScriptedGateway;
use llm_router_tests::for_each_host;
use llm_router_tests::host::Host;
use macro_rules_attribute::apply;

use crate::support::{CODE, bootstrap, shared_gateway};

const CREDENTIALS: [&str; 6] =
    ["authorization", "proxy-authorization", "x-api-key", "api-key", "x-goog-api-key", "cookie"];

#[apply(for_each_host!)]
async fn none_reaches_an_llm_whether_a_request_is_routed_or_not(host: Host) {
    let gateway = shared_gateway(host).await;
    for request in requests() {
        assert_arrive(&gateway, request, &[]).await;
    }
}

#[apply(for_each_host!)]
async fn none_reaches_an_llm_in_shadow(host: Host) {
    let gateway = ScriptedGateway::start(host.shadow_bootstrap().with_long_timeouts(), 1).await;
    for request in requests() {
        assert_arrive(&gateway.envoy, request, &[]).await;
    }
}

#[apply(for_each_host!)]
async fn one_that_the_route_lets_pass_arrives_alone(host: Host) {
    let gateway = Envoy::start(&bootstrap(host).await.pass_credentials(&["authorization"])).await;
    for request in requests() {
        assert_arrive(&gateway, request, &["authorization"]).await;
    }
}

/// A classified one, one that names its model, one that the router leaves alone.
fn requests() -> [Request; 3] {
    [
        Request::chat(chat("auto", CODE)),
        Request::chat(chat("llama-8b", CODE)),
        Request::new(Method::POST, "/v1/files", "a file"),
    ]
}

/// Sends the request with all credentials, in a case that no server tells apart, and checks which arrive.
async fn assert_arrive(gateway: &Envoy, request: Request, expected: &[&str]) {
    let request =
        CREDENTIALS.iter().fold(request, |it, name| it.header(&name.to_uppercase(), "of the client"));
    let response = gateway.send(request).await;
    let received = response.received();
    let arrived: Vec<_> =
        CREDENTIALS.into_iter().filter(|name| received.headers.contains_key(*name)).collect();
    assert_eq!(arrived, expected, "{received:?}");
}
