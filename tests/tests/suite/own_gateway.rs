//! The pods of `k8s/overlays/envoy`: with files that the kubelet changes while they run, and with a sidecar in the pod.

use std::net::SocketAddr;
use std::sync::LazyLock;

use llm_router_tests::client::{Request, Response, chat};
use llm_router_tests::envoy::Envoy;
use llm_router_tests::mock_llms::{MOCK_LLMS, serve_tls};
use llm_router_tests::pod::{Pod, send_to};
use llm_router_tests::sidecar::Sidecar;
use llm_router_tests::tls::Authority;
use llm_router_tests::{TIMEOUT, poll, scratch_file};
use serde_json::{Value, json};

use crate::support::{CODE, GREETING, assert_routed, code_of};

/// The provider outside of the cluster.
const PROVIDER: &str = "integrate.api.nvidia.com";

static AUTHORITY: LazyLock<Authority> = LazyLock::new(Authority::default);

#[tokio::test]
async fn our_own_gateway_takes_over_a_policy_and_a_key_that_the_kubelet_brings() {
    let sidecar = Sidecar::shared().await.address();
    let pod = Pod::new("envoy", |cluster| send_to(cluster, sidecar));
    let gateway = start_pod(&pod).await;
    assert_shadow(&gateway).await;
    pod.policy(enforce);
    until(&gateway, |response| response.header("x-llm-router-reason") == "classified").await;
    assert_routes(&gateway).await;
    pod.key("nvidia", "Bearer another");
    until(&gateway, |response| key_of(response) == "Bearer another").await;
    // The way back.
    pod.policy(with_long_timeouts);
    until(&gateway, |response| response.header("x-llm-router-reason") == "shadow").await;
}

#[tokio::test]
async fn a_sidecar_in_the_gateways_pod_is_called_by_a_socket() {
    let socket = scratch_file("sidecar", "sock");
    let _sidecar = Sidecar::on_socket(&socket).await;
    let pod = Pod::new("sidecar-container", |cluster| {
        let address =
            &mut cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"];
        assert_eq!(address["pipe"]["path"], "/run/llm-router/sidecar.sock");
        address["pipe"]["path"] = json!(socket);
    });
    pod.policy(enforce);
    assert_routes(&start_pod(&pod).await).await;
}

async fn start_pod(pod: &Pod) -> Envoy {
    pod.key("nvidia", "Bearer key");
    let clusters = [
        ("llama-8b", MOCK_LLMS.address("llama-8b")),
        ("llama-70b", MOCK_LLMS.address("llama-70b")),
        ("nemotron", provider()),
    ];
    Envoy::start(&pod.bootstrap(&clusters, &authority())).await
}

/// The provider, behind TLS with its own certificate.
fn provider() -> SocketAddr {
    serve_tls("nemotron", PROVIDER, &AUTHORITY)
}

fn authority() -> std::path::PathBuf {
    let file = scratch_file("authority", "pem");
    std::fs::write(&file, AUTHORITY.pem()).expect("the authority's file");
    file
}

/// Removes shadow mode from the policy, as the docs describe.
fn enforce(policy: &mut Value) {
    assert_eq!(policy.as_object_mut().expect("a policy").remove("mode"), Some(json!("shadow")));
    with_long_timeouts(policy);
}

/// The tests keep the machine busy, and a late classification would look like a wrong one.
fn with_long_timeouts(policy: &mut Value) {
    policy["sidecar"]["timeout"] = json!(format!("{}s", TIMEOUT.as_secs()));
    policy["cache"] = json!({ "entries": 0 });
}

async fn assert_shadow(gateway: &Envoy) {
    let response = gateway.send(Request::chat(chat("auto", CODE))).await;
    assert_eq!((response.status.as_u16(), response.header("x-served-by")), (200, "llama-8b"), "{response:?}");
    assert_eq!(response.header("x-llm-router-model"), "nemotron", "{response:?}");
    assert_eq!(response.header("x-llm-router-reason"), "shadow");
    let spoofed = gateway.send(Request::chat(chat("auto", CODE)).header("x-llm-cluster", "llama-70b")).await;
    assert_eq!(spoofed.header("x-served-by"), "llama-8b", "{spoofed:?}");
}

async fn assert_routes(gateway: &Envoy) {
    // To a provider: by TLS, with its host and its key, and without the client's key.
    let code = Request::chat(chat("auto", CODE)).header("authorization", "Bearer client");
    let response = gateway.send(code).await;
    assert_routed(&response, "nemotron", "classified");
    let received = response.received();
    assert_eq!(received.headers["authorization"], "Bearer key");
    let host = received.authority.as_deref().or_else(|| received.headers.get("host")?.to_str().ok());
    assert_eq!(host, Some(PROVIDER));
    let body: Value = serde_json::from_slice(&received.body).expect("JSON");
    assert_eq!(body["model"], "nvidia/llama-3.3-nemotron-super-49b-v1");

    assert_eq!(
        gateway.send(Request::chat(chat("auto", GREETING))).await.header("x-llm-router-model"),
        "llama-8b"
    );
    assert_routed(&gateway.send(Request::chat(chat("llama-70b", CODE))).await, "llama-70b", "manual");

    // A client does not choose a cluster, not even on a path that we do not route.
    let spoofed = Request::chat(chat("llama-70b", CODE)).header("x-llm-cluster", "llama-8b");
    assert_routed(&gateway.send(spoofed).await, "llama-70b", "manual");
    let other = Request::new(hyper::Method::GET, "/v1/files", "").header("x-llm-cluster", "llama-70b");
    assert_eq!(gateway.send(other).await.header("x-served-by"), "llama-8b");

    // Above Envoy's own limit of 1 MiB.
    let large = gateway.send(Request::chat(code_of(3 << 20))).await;
    assert_routed(&large, "nemotron", "classified");
    let large = gateway.send(Request::chat(code_of(3 << 20)).http2()).await;
    assert_routed(&large, "nemotron", "classified");
    assert_eq!(gateway.send(Request::chat(code_of((8 << 20) + 1))).await.status, 413);
}

fn key_of(response: &Response) -> String {
    let received = response.attempts().pop();
    let key = received.as_ref().and_then(|it| it.headers.get("authorization")?.to_str().ok());
    key.unwrap_or_default().to_owned()
}

/// Sends requests until a response shows that a change is applied.
async fn until(gateway: &Envoy, holds: impl Fn(&Response) -> bool) {
    poll(async || {
        let response = gateway.send(Request::chat(chat("auto", CODE))).await;
        assert_eq!(response.status, 200, "{response:?}");
        if holds(&response) { Ok(()) } else { Err(response) }
    })
    .await;
}
