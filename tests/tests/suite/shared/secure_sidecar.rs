//! Mutual TLS to the sidecar, as `docs/security.md` says.

use std::path::PathBuf;

use llm_router_tests::client::{Request, chat};
use llm_router_tests::envoy::Envoy;
use llm_router_tests::host::Host;
use llm_router_tests::sidecar::Sidecar;
use llm_router_tests::tls::Authority;
use llm_router_tests::{for_each_host, repository, scratch_file};
use macro_rules_attribute::apply;
use serde_json::{Value, json};

use crate::support::{CODE, assert_routed, without_sidecar};

#[apply(for_each_host!)]
async fn only_an_envoy_with_a_certificate_is_served_by_a_sidecar_that_it_can_verify(host: Host) {
    let (ours, others) = (Authority::default(), Authority::default());
    let (certificate, key) = files("sidecar", ours.issue("llm-router-sidecar"));
    let [our_ca, other_ca] = [&ours, &others].map(|authority| file("ca", "pem", &authority.pem()));
    let bootstrap = without_sidecar(host);
    let policy = bootstrap.sidecar_policy().map(|policy| file("policy", "json", &policy.to_string()));
    let mut options = vec![("--tls-cert", &certificate), ("--tls-key", &key), ("--tls-client-ca", &our_ca)];
    options.extend(policy.iter().map(|policy| ("--policy", policy)));
    let sidecar = Sidecar::with_options(&options).await;
    let envoys = [
        (files("envoy", ours.issue("envoy")), &our_ca, true),
        (files("stranger", others.issue("envoy")), &our_ca, false),
        (files("misled", ours.issue("envoy")), &other_ca, false),
    ];
    for ((certificate, key), authority, served) in envoys {
        let mut socket = transport_socket();
        let tls = &mut socket["typed_config"]["common_tls_context"];
        tls["tls_certificates"][0]["certificate_chain"]["filename"] = json!(certificate);
        tls["tls_certificates"][0]["private_key"]["filename"] = json!(key);
        tls["validation_context"]["trusted_ca"]["filename"] = json!(authority);
        let bootstrap = bootstrap.clone().sidecar(sidecar.address());
        let gateway = Envoy::start(&bootstrap.transport_socket("llm-router-sidecar", socket)).await;
        let response = gateway.send(Request::chat(chat("auto", CODE))).await;
        if served {
            assert_routed(&response, "nemotron", "classified");
        } else if host == Host::ExtProcStreamed {
            // Envoy has given the body away.
            assert_eq!(response.status, 503);
        } else {
            // The default model of the policy, and the fallback route of an Envoy that does not decide itself.
            assert_eq!((response.status.as_u16(), response.header("x-served-by")), (200, "llama-8b"));
            assert_ne!(response.header("x-llm-router-reason"), "classified");
        }
    }
}

/// The last YAML of the page.
fn transport_socket() -> Value {
    let page = std::fs::read_to_string(repository().join("docs/security.md")).expect("the page");
    let (_, yaml) = page.rsplit_once("```yaml\n").expect("the transport socket");
    let (yaml, _) = yaml.split_once("```").expect("its end");
    let mut cluster: Value = serde_saphyr::from_str(yaml).expect("YAML");
    cluster["transport_socket"].take()
}

fn files(name: &str, (certificate, key): (String, String)) -> (PathBuf, PathBuf) {
    (file(name, "pem", &certificate), file(name, "pem", &key))
}

fn file(name: &str, ending: &str, text: &str) -> PathBuf {
    let path = scratch_file(name, ending);
    std::fs::write(&path, text).expect("a file for Envoy or the sidecar");
    path
}
