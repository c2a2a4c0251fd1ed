//! Mutual TLS to the sidecar, as `docs/security.md` says.

use std::path::{Path, PathBuf};

use llm_router_tests::bootstrap::Bootstrap;
use llm_router_tests::client::{Request, chat};
use llm_router_tests::envoy::Envoy;
use llm_router_tests::fleet::FLEET;
use llm_router_tests::sidecar::Sidecar;
use llm_router_tests::stand_in::tls::Authority;
use serde_json::Value;

use crate::{CODE, assert_routed};

#[tokio::test]
async fn only_an_envoy_with_a_certificate_asks_a_sidecar_that_it_can_verify() {
    let (ours, others) = (Authority::default(), Authority::default());
    let (certificate, key) = files("sidecar", ours.issue("llm-router-sidecar"));
    let [our_ca, other_ca] = [&ours, &others].map(|authority| file("ca", &authority.pem()));
    let options = [("--tls-cert", &certificate), ("--tls-key", &key), ("--tls-client-ca", &our_ca)];
    let sidecar = Sidecar::with_options(&options).await;
    let envoys = [
        (files("envoy", ours.issue("envoy")), &our_ca, "classified"),
        (files("stranger", others.issue("envoy")), &our_ca, "fallback"),
        (files("misled", ours.issue("envoy")), &other_ca, "fallback"),
    ];
    for ((certificate, key), authority, reason) in envoys {
        let mut socket = transport_socket();
        let tls = &mut socket["typed_config"]["common_tls_context"];
        tls["tls_certificates"][0]["certificate_chain"]["filename"] = path(&certificate);
        tls["tls_certificates"][0]["private_key"]["filename"] = path(&key);
        tls["validation_context"]["trusted_ca"]["filename"] = path(authority);
        let bootstrap = FLEET.behind(Bootstrap::wasm()).patient().sidecar(sidecar.address);
        let gateway = Envoy::start(&bootstrap.transport_socket("llm-router-sidecar", socket)).await;
        let answer = gateway.send(Request::chat(chat("auto", CODE))).await;
        assert_routed(&answer, if reason == "classified" { "nemotron" } else { "llama-8b" }, reason);
    }
}

/// The last YAML of the page.
fn transport_socket() -> Value {
    let page =
        std::fs::read_to_string(llm_router_tests::repository().join("docs/security.md")).expect("the page");
    let (_, yaml) = page.rsplit_once("```yaml\n").expect("the transport socket");
    let (yaml, _) = yaml.split_once("```").expect("its end");
    let mut cluster: Value = serde_saphyr::from_str(yaml).expect("YAML");
    cluster["transport_socket"].take()
}

fn files(name: &str, (certificate, key): (String, String)) -> (PathBuf, PathBuf) {
    (file(name, &certificate), file(name, &key))
}

fn file(name: &str, text: &str) -> PathBuf {
    let path = llm_router_tests::scratch_file(name, "pem");
    std::fs::write(&path, text).expect("a file for Envoy or the sidecar");
    path
}

fn path(file: &Path) -> Value {
    serde_json::json!(file)
}
