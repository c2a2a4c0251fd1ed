//! Hostile clients: headers that they send with the router's names have no effect and are not forwarded.

use hyper::Method;
use llm_router_tests::client::{Request, chat};
use llm_router_tests::for_each_host;
use llm_router_tests::host::Host;
use macro_rules_attribute::apply;

use crate::support::{CODE, GREETING, assert_routed, shared_gateway};

const SPOOFED: [(&str, &str); 6] = [
    ("x-llm-cluster", "nemotron"),
    ("X-LLM-Cluster", "nemotron"),
    ("x-llm-task", "Code Generation"),
    ("x-llm-task-confidence", "1"),
    ("x-llm-router-model", "nemotron"),
    ("x-llm-router-reason", "manual"),
];

#[apply(for_each_host!)]
async fn a_clients_cluster_header_has_no_effect(host: Host) {
    let gateway = shared_gateway(host).await;
    for request in [
        spoofed(Request::chat(chat("auto", GREETING))),
        spoofed(Request::chat(chat("auto", GREETING))).http2(),
    ] {
        assert_routed(&gateway.send(request).await, "llama-8b", "classified");
    }
}

#[apply(for_each_host!)]
async fn a_clients_cluster_header_has_no_effect_where_the_filter_leaves_requests_alone(host: Host) {
    let gateway = shared_gateway(host).await;
    for request in [
        Request::new(Method::GET, "/v1/files", ""),
        Request::new(Method::POST, "/v1/moderations", "{}"),
        Request::new(Method::POST, "/v1/chat/completions", ""),
    ] {
        let response = gateway.send(spoofed(request)).await;
        assert_eq!(response.header("x-served-by"), "llama-8b", "the fallback route's cluster");
    }
}

#[apply(for_each_host!)]
async fn no_routing_header_of_the_client_reaches_an_llm(host: Host) {
    let gateway = shared_gateway(host).await;
    for request in [
        Request::chat(chat("auto", CODE)),
        Request::chat(chat("auto", CODE)).http2(),
        Request::chat(chat("llama-70b", CODE)),
        Request::chat(chat("auto", CODE)).in_pieces(10).trailer("x-llm-task", "Chatbot").http2(),
        Request::new(Method::GET, "/v1/files", ""),
        Request::new(Method::POST, "/v1/moderations", "{}"),
        Request::new(Method::POST, "/v1/chat/completions", ""),
    ] {
        let response = gateway.send(spoofed(request).header("x-llm-policy", "task_router")).await;
        let received = response.received();
        for (name, value) in received.headers.iter().chain(&received.trailers) {
            let ours = name.as_str().starts_with("x-llm-") && name != "x-llm-cluster";
            assert!(!ours, "{name}: {value:?} reached {}", received.path);
        }
        // The filter's own, if there is one: it says where the request went.
        let clusters: Vec<_> = received.headers.get_all("x-llm-cluster").iter().collect();
        assert!(
            clusters.iter().all(|it| *it == received.cluster.as_str()) && clusters.len() < 2,
            "{clusters:?}"
        );
    }
}

fn spoofed(request: Request) -> Request {
    SPOOFED.iter().fold(request, |it, (name, value)| it.header(name, value))
}
