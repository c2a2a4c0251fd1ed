//! How Envoy sends the sidecar bodies: each mode, on each Envoy.

use std::sync::Arc;

use hyper::Method;
use llm_router_tests::bootstrap::Bootstrap;
use llm_router_tests::client::{Request, Response, chat};
use llm_router_tests::envoy::Envoy;
use llm_router_tests::fakes::scripted_gateway::ScriptedGateway;
use llm_router_tests::fakes::scripted_sidecar::{ScriptedSidecar, labelled};
use llm_router_tests::host::Host;
use llm_router_tests::sidecar::Sidecar;
use llm_router_tests::versions::Version;
use llm_router_tests::{poll, version_tests};
use macro_rules_attribute::apply;
use serde_json::{Value, json};

use crate::support::{assert_rejected, assert_routed, code_of, without_sidecar};

/// Makes a test on each Envoy that we have.
macro_rules! for_each_version {
    ($($test:tt)+) => { version_tests! { [v1_37(V1_37) v1_38(V1_38) v1_39(V1_39) current(Current)] $($test)+ } };
}

/// A body mode that operators and platforms configure, by its name in `docs/native.md`.
const MODES: [&str; 5] = ["on demand", "buffered", "streamed early", "streamed on demand", "full duplex"];

fn in_mode(host_bootstrap: fn(Host) -> Bootstrap, mode: &str) -> Bootstrap {
    let host = if mode == "full duplex" { Host::ExtProcStreamed } else { Host::ExtProc };
    host_bootstrap(host).with_long_timeouts().http1_trailers().ext_proc(|filter| {
        let processing = &mut filter["processing_mode"];
        match mode {
            "buffered" => processing["request_body_mode"] = json!("BUFFERED"),
            "streamed early" => {
                processing["request_body_mode"] = json!("STREAMED");
                filter["send_body_without_waiting_for_header_response"] = json!(true);
            }
            "streamed on demand" => processing["request_body_mode"] = json!("STREAMED"),
            _ => {}
        }
    })
}

/// Envoy 1.37 does not support all fields that we ship.
fn for_version(version: Version, bootstrap: Bootstrap) -> Bootstrap {
    if version != Version::V1_37 {
        return bootstrap;
    }
    bootstrap.ext_proc(|filter| {
        filter.as_object_mut().expect("a filter").remove("allow_content_length_header");
    })
}

async fn start(version: Version, bootstrap: Bootstrap) -> ScriptedGateway {
    let sidecar = ScriptedSidecar::start(bootstrap.sidecar_policy());
    let bootstrap = for_version(version, bootstrap.sidecar(sidecar.address));
    ScriptedGateway { envoy: Envoy::start_version(version, &bootstrap, 2).await, sidecar }
}

/// One request in each way that clients send it.
fn framings(request: &Request) -> [Request; 4] {
    let pieces = request.clone().in_pieces(7000);
    [request.clone(), pieces.clone(), request.clone().http2(), pieces.http2()]
}

#[apply(for_each_version!)]
async fn each_mode_routes_prompts_and_leaves_uploads_alone(version: Version) {
    for mode in MODES {
        let gateway = start(version, in_mode(Host::bootstrap, mode)).await;
        let prompt = labelled("Code Generation");
        let body = chat("auto", &format!("{prompt}{}", " ".repeat(200_000))).to_string();
        for request in framings(&Request::chat(&body)) {
            let response = gateway.send(request).await;
            assert_routed(&response, "nemotron", "classified");
            let mut expected: Value = serde_json::from_str(&body).expect("JSON");
            expected["model"] = json!("nvidia/llama-3.3-nemotron-super-49b-v1");
            let received: Value = serde_json::from_slice(&response.received().body).expect("JSON");
            assert_eq!(received, expected, "{mode}");
        }
        for request in framings(&Request::chat(code_of((8 << 20) + 1))) {
            assert_rejected(&gateway.send(request).await, 413, Value::Null, "8388608");
        }
        // If it is faster than the sidecar, Envoy buffers it up to its limit of 9 MiB.
        let megabytes = if mode == "buffered" { 8 } else { 12_u32 };
        let upload: Vec<u8> = (0..megabytes << 20).map(|at| at.to_le_bytes()[1]).collect();
        for request in framings(&Request::new(Method::POST, "/v1/audio/transcriptions", upload.clone())) {
            let response = gateway.send(request).await;
            assert!(response.received().body == upload, "{mode}: {:?}", response.status);
            assert_eq!(response.header("x-llm-router-model"), "");
        }
        let stats = gateway.stats().await;
        assert_eq!(stats["llm_router_sidecar_body_bytes"], 0.0, "{mode}");
        assert_eq!(stats["llm_router_sidecar_missed_bodies_total"], 0.0, "{mode}");
    }
}

/// Over HTTP/2, they may follow a body whose length is announced. In `STREAMED` mode, Envoy holds them back.
#[tokio::test]
async fn each_mode_routes_a_prompt_of_announced_length_with_trailers() {
    for mode in MODES {
        let gateway = start(Version::Current, in_mode(Host::bootstrap, mode)).await;
        let prompt = labelled("Code Generation");
        let body = chat("auto", &format!("{prompt}{}", " ".repeat(100_000))).to_string();
        let request = Request::chat(&body).header("content-length", &body.len().to_string());
        let response = gateway.send(request.in_pieces(7000).trailer("x-checksum", "abc").http2()).await;
        assert_routed(&response, "nemotron", "classified");
        let received: Value = serde_json::from_slice(&response.received().body).expect("JSON");
        assert_eq!(received["model"], "nvidia/llama-3.3-nemotron-super-49b-v1", "{mode}");
    }
}

#[tokio::test]
async fn in_shadow_each_mode_leaves_each_byte_as_it_was() {
    for mode in MODES {
        let gateway = start(Version::Current, in_mode(Host::shadow_bootstrap, mode)).await;
        let body = format!(
            "{{ \"model\" : \"auto\",  \"messages\":[{{\"role\":\"user\",\"content\":{:?}}}] }}",
            labelled("Code Generation")
        );
        for request in framings(&Request::chat(&body)) {
            let response = gateway.send(request).await;
            assert_eq!(
                (response.received().body.as_ref(), response.header("x-llm-router-reason")),
                (body.as_bytes(), "shadow"),
                "{mode}"
            );
        }
        // In shadow mode, nothing is too large.
        let long = code_of((8 << 20) + 1);
        let response = gateway.send(Request::chat(&long).in_pieces(64 << 10)).await;
        // Except by Envoy, where it buffers.
        if mode == "full duplex" || mode == "streamed early" {
            assert!(response.received().body == long.as_bytes(), "{mode}: {response:?}");
        }
    }
}

/// Without `content-length`, LLM servers would get chunks, which not all of them read.
#[tokio::test]
async fn bodies_keep_a_length_that_fits() {
    for mode in ["on demand", "buffered", "full duplex"] {
        let gateway = start(Version::Current, in_mode(Host::bootstrap, mode)).await;
        let prompt = labelled("Code Generation");
        let long = format!("{prompt}{}", " ".repeat(100_000));
        for request in [
            Request::chat(chat("auto", &prompt)),
            Request::chat(chat("auto", &long)),
            Request::post("/v1/files", "{}"),
        ] {
            let received = gateway.send(request).await.received();
            let length = received.headers.get("content-length").map(|it| it.to_str().expect("a number"));
            assert_eq!(length, Some(received.body.len().to_string().as_str()), "{mode}");
        }
    }
}

/// An upload can be faster than the sidecar. Envoy must neither buffer it nor reject it as too large.
#[apply(for_each_version!)]
async fn an_upload_passes_however_late_the_sidecar_replies(version: Version) {
    for (mode, lowest) in [("on demand", 0.33), ("streamed on demand", 0.34), ("full duplex", 0.35)] {
        // A sidecar of this test alone.
        let confidence = lowest + 0.001 * f64::from(version as u8);
        let unique = |it: &mut Value| it["policies"]["task_router"]["min_confidence"] = json!(confidence);
        let bootstrap = in_mode(Host::bootstrap, mode).policy(unique).body_limit(LIMIT);
        let policy = bootstrap.sidecar_policy().expect("a policy").to_string();
        let sidecar: Arc<Sidecar> = Sidecar::with_policy(policy).await;
        let bootstrap = for_version(version, bootstrap.sidecar(sidecar.address()));
        let gateway = Envoy::start_version(version, &bootstrap, 2).await;
        let upload = Request::new(Method::POST, "/v1/audio/transcriptions", vec![b'x'; 8 * LIMIT]);
        for request in framings(&upload) {
            let response = while_stopped(&sidecar, &gateway, request).await;
            assert!(response.received().body.len() == 8 * LIMIT, "{mode}: {response:?}");
        }
        if mode == "on demand" {
            for request in framings(&Request::chat(code_of(8 * LIMIT)).in_pieces(7000)) {
                let response = while_stopped(&sidecar, &gateway, request).await;
                match response.status.as_u16() {
                    // Envoy had read all of it before it was full.
                    200 => assert_routed(&response, "nemotron", "classified"),
                    _ => assert_rejected(&response, 413, Value::Null, "larger than"),
                }
            }
        }
    }
}

/// Sends a request to a sidecar that does not run until Envoy has read half of what it may buffer.
async fn while_stopped(sidecar: &Sidecar, gateway: &Envoy, request: Request) -> Response {
    sidecar.signal("STOP");
    let before = received_bytes(gateway).await;
    let resume = async {
        poll(async || match received_bytes(gateway).await - before {
            bytes if bytes > LIMIT as f64 / 2.0 => Ok(()),
            bytes => Err(bytes),
        })
        .await;
        sidecar.signal("CONT");
    };
    tokio::join!(gateway.send(request), resume).0
}

/// The size of Envoy's buffers in a test.
const LIMIT: usize = 64 << 10;

async fn received_bytes(gateway: &Envoy) -> f64 {
    let stats = gateway.stats().await;
    let name = "envoy_http_downstream_cx_rx_bytes_total{envoy_http_conn_manager_prefix=\"gateway\"}";
    stats.get(name).copied().unwrap_or(0.0)
}

/// Its response would come too late to select a route.
#[tokio::test]
async fn where_envoy_sends_no_body_requests_go_on_as_they_came_and_are_counted() {
    let refused =
        in_mode(Host::bootstrap, "on demand").ext_proc(|filter| filter["allow_mode_override"] = json!(false));
    let gateway = start(Version::Current, refused).await;
    let request = Request::chat(chat("auto", &labelled("Code Generation")));
    for request in [request.clone(), request.http2()] {
        let response = gateway.send(request).await;
        assert_eq!(response.header("x-served-by"), "llama-8b");
        let received: Value = serde_json::from_slice(&response.received().body).expect("JSON");
        assert_eq!(received["model"], "auto");
    }
    assert_eq!(gateway.stats().await["llm_router_sidecar_missed_bodies_total"], 2.0);
}

/// Envoy no longer has the body, so it cannot forward the request.
#[tokio::test]
async fn a_streamed_prompt_fails_without_a_sidecar_and_a_request_without_a_body_does_not() {
    let unique = |it: &mut Value| it["policies"]["task_router"]["min_confidence"] = json!(0.37);
    let bootstrap = without_sidecar(Host::ExtProcStreamed).policy(unique);
    let policy = bootstrap.sidecar_policy().expect("a policy").to_string();
    let sidecar = Sidecar::with_policy(policy).await;
    // A worker that has no connection yet may still have the body when it finds out.
    let gateway = Envoy::start_with_workers(&bootstrap.sidecar(sidecar.address()), 1).await;
    let response = gateway.send(Request::chat(chat("auto", "Hi"))).await;
    assert_eq!(response.status, 200);
    sidecar.signal("STOP");
    // Its threads do not stop all at once. Envoy finds out by pinging it.
    let response = poll(async || {
        let response = gateway.send(Request::chat(chat("auto", "Hi"))).await;
        if response.status == 503 { Ok(response) } else { Err(response) }
    });
    response.await.assert_not_forwarded();
    drop(sidecar);
    let response = gateway.send(Request::new(Method::GET, "/v1/files", "")).await;
    assert_eq!(response.received().cluster, "llama-8b");
}
