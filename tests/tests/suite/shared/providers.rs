//! Providers behind TLS, with keys that clients do not have: `envoy/providers.yaml` and
//! `envoy/module-providers.yaml`. Only addresses, the authority and the
//! files of the keys are the tests' own.

use std::path::PathBuf;
use std::sync::LazyLock;

use hyper::Version;
use llm_router_tests::client::{Request, Response, chat};
use llm_router_tests::fakes::scripted_gateway::ScriptedGateway;
use llm_router_tests::host::Host;
use llm_router_tests::mock_llms::{serve_plain, serve_tls};
use llm_router_tests::tls::Authority;
use llm_router_tests::{for_each_host_inside_envoy, poll, scratch_file};
use macro_rules_attribute::apply;
use serde_json::{Value, json};

/// Clusters, host names, the header of the key, and what comes before it.
const PROVIDERS: [(&str, &str, &str, &str); 4] = [
    ("openai", "api.openai.com", "authorization", "Bearer "),
    ("nvidia", "integrate.api.nvidia.com", "authorization", "Bearer "),
    ("anthropic", "api.anthropic.com", "x-api-key", ""),
    ("vllm", "vllm.example.com", "authorization", "Bearer "),
];

static AUTHORITY: LazyLock<Authority> = LazyLock::new(Authority::default);

#[apply(for_each_host_inside_envoy!)]
async fn each_provider_gets_its_host_its_path_and_its_key_by_tls(host: Host) {
    let gateway = start(host, |_, host| host).await;
    let paths = [
        ("gpt", "/v1/chat/completions", "/v1/chat/completions"),
        ("gpt", "/v1/responses", "/v1/responses"),
        ("nemotron", "/team-a/v1/chat/completions", "/team-a/v1/chat/completions"),
        ("claude", "/v1/messages", "/v1/messages"),
        ("llama-70b", "/v1/chat/completions", "/llama-70b/v1/chat/completions"),
    ];
    for (model, path, expected) in paths {
        let mut body = chat(model, "Hi");
        body["input"] = json!("Hi");
        let request =
            Request::post(path, body).header("authorization", "Bearer client").header("x-api-key", "client");
        let response = gateway.send(request).await;
        assert_eq!(response.status, 200, "{response:?}");
        let received = response.received();
        let (_, host, header, prefix) = provider(&received.cluster);
        assert_eq!(received.path, expected);
        assert_eq!(received.headers[header], format!("{prefix}key of {}", received.cluster));
        assert!(
            !received.headers.values().any(|it| it.to_str().expect("text").contains("client")),
            "{received:?}"
        );
        // By ALPN. There, the host is the authority, which the mock LLM's server does not repeat as a header.
        assert_eq!(received.version, Version::HTTP_2);
        assert_eq!(received.authority.as_deref(), Some(host));
    }
    // Ollama wants no key, and has no TLS.
    let response =
        gateway.send(Request::chat(chat("qwen", "Hi")).header("authorization", "Bearer client")).await;
    assert_eq!(response.header("x-served-by"), "ollama", "{response:?}");
    let received = response.received();
    assert_eq!(serde_json::from_slice::<Value>(&received.body).expect("JSON")["model"], "qwen3:8b");
    assert!(!received.headers.contains_key("authorization"), "{received:?}");
}

#[apply(for_each_host_inside_envoy!)]
async fn a_request_in_anthropics_shape_goes_to_the_model_that_takes_it(host: Host) {
    let gateway = start(host, |_, host| host).await;
    let response = gateway.send(Request::post("/v1/messages", chat("auto", "Hi"))).await;
    assert_eq!(response.header("x-llm-router-model"), "claude", "{response:?}");
    assert_eq!(response.header("x-served-by"), "anthropic");
}

#[apply(for_each_host_inside_envoy!)]
async fn a_provider_with_the_certificate_of_another_receives_nothing(host: Host) {
    let gateway =
        start(host, |cluster, host| if cluster == "openai" { "elsewhere.example" } else { host }).await;
    let response = gateway.send(Request::chat(chat("gpt", "Hi"))).await;
    assert_eq!(response.status, 503, "{response:?}");
    response.assert_not_forwarded();
    assert_routed_to(&gateway.send(Request::chat(chat("nemotron", "Hi"))).await, "nvidia");
}

#[apply(for_each_host_inside_envoy!)]
async fn a_new_key_is_taken_over_without_a_restart(host: Host) {
    let gateway = start(host, |_, host| host).await;
    let first = gateway.send(Request::chat(chat("gpt", "Hi"))).await;
    assert_eq!(first.received().headers["authorization"], "Bearer key of openai");
    put_key(&gateway.keys[0], "openai", "Bearer another");
    poll(async || {
        let response = gateway.send(Request::chat(chat("gpt", "Hi"))).await;
        let key = response.received().headers["authorization"].clone();
        if key == "Bearer another" { Ok(()) } else { Err(key) }
    })
    .await;
}

#[apply(for_each_host_inside_envoy!)]
async fn what_the_filter_does_not_route_reaches_no_provider(host: Host) {
    let gateway = start(host, |_, host| host).await;
    let response = gateway.send(Request::new(hyper::Method::GET, "/v1/files", "")).await;
    assert_eq!(response.status, 404);
    response.assert_not_forwarded();
}

struct Providers {
    gateway: ScriptedGateway,
    /// The files of the keys, as in [`PROVIDERS`].
    keys: Vec<PathBuf>,
}

impl Providers {
    async fn send(&self, request: Request) -> Response {
        self.gateway.send(request).await
    }
}

/// `certified` says whose certificate the provider of a cluster has.
async fn start(host: Host, certified: impl Fn(&str, &'static str) -> &'static str) -> Providers {
    let authority = scratch_file("authority", "pem");
    std::fs::write(&authority, AUTHORITY.pem()).expect("the authority's file");
    let mut bootstrap =
        host.providers_bootstrap().with_long_timeouts().cluster("ollama", serve_plain("ollama"));
    let mut keys = Vec::new();
    for (cluster, host, _, prefix) in PROVIDERS {
        let file = scratch_file(cluster, "yaml");
        put_key(&file, cluster, &format!("{prefix}key of {cluster}"));
        let address = serve_tls(cluster, certified(cluster, host), &AUTHORITY);
        bootstrap =
            bootstrap.cluster(cluster, address).authority(cluster, &authority).key_file(cluster, &file);
        keys.push(file);
    }
    Providers { gateway: ScriptedGateway::start(bootstrap, 1).await, keys }
}

fn put_key(file: &std::path::Path, name: &str, value: &str) {
    let secret = json!({ "resources": [{
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
        "name": name, "generic_secret": { "secret": { "inline_string": value } },
    }] });
    let new = file.with_extension("new");
    std::fs::write(&new, secret.to_string()).expect("the key's file");
    std::fs::rename(new, file).expect("the key's file in its place");
}

fn provider(cluster: &str) -> (&'static str, &'static str, &'static str, &'static str) {
    PROVIDERS.into_iter().find(|(name, ..)| *name == cluster).expect("a provider")
}

fn assert_routed_to(response: &Response, cluster: &str) {
    assert_eq!((response.status.as_u16(), response.header("x-served-by")), (200, cluster), "{response:?}");
}
