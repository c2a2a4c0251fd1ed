//! Providers behind TLS, with keys that clients do not have: `envoy/providers.yaml`. Only addresses, the authority and the
//! files of the keys are the tests' own.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use hyper::Version;
use llm_router_tests::PATIENCE;
use llm_router_tests::bootstrap::Bootstrap;
use llm_router_tests::client::{Answer, Request, chat};
use llm_router_tests::stand_in::tls::Authority;
use llm_router_tests::stand_in::{self, Hooks, Received};
use serde_json::{Value, json};
use tokio::time::{Duration, Instant, sleep};

use crate::gateway::Gateway;

/// Clusters, host names, the header of the key, and what comes before it.
const PROVIDERS: [(&str, &str, &str, &str); 4] = [
    ("openai", "api.openai.com", "authorization", "Bearer "),
    ("nvidia", "integrate.api.nvidia.com", "authorization", "Bearer "),
    ("anthropic", "api.anthropic.com", "x-api-key", ""),
    ("vllm", "vllm.example.com", "authorization", "Bearer "),
];

static AUTHORITY: LazyLock<Authority> = LazyLock::new(Authority::default);
static HOOKS: LazyLock<Arc<Hooks>> = LazyLock::new(Arc::default);

#[tokio::test]
async fn each_provider_gets_its_host_its_path_and_its_key_by_tls() {
    let gateway = start(|_, host| host).await;
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
        let answer = gateway.send(request).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let received = received(&answer);
        let (_, host, header, prefix) = provider(&received.cluster);
        assert_eq!(received.path, expected);
        assert_eq!(received.headers[header], format!("{prefix}key of {}", received.cluster));
        assert!(!received.headers.values().any(|it| it.to_str().unwrap().contains("client")), "{received:?}");
        // By ALPN, and there the host is the authority, which the stand-in's server does not repeat as a header.
        assert_eq!(received.version, Version::HTTP_2);
        assert_eq!(received.authority.as_deref(), Some(host));
    }
    // Ollama wants no key, and has no TLS.
    let answer =
        gateway.send(Request::chat(chat("qwen", "Hi")).header("authorization", "Bearer client")).await;
    assert_eq!(answer.header("x-served-by"), "ollama", "{answer:?}");
    let received = received(&answer);
    assert_eq!(serde_json::from_slice::<Value>(&received.body).unwrap()["model"], "qwen3:8b");
    assert!(!received.headers.contains_key("authorization"), "{received:?}");
}

#[tokio::test]
async fn a_request_in_anthropics_shape_goes_to_the_model_that_takes_it() {
    let gateway = start(|_, host| host).await;
    let answer = gateway.send(Request::post("/v1/messages", chat("auto", "Hi"))).await;
    assert_eq!(answer.header("x-llm-router-model"), "claude", "{answer:?}");
    assert_eq!(answer.header("x-served-by"), "anthropic");
}

#[tokio::test]
async fn a_provider_with_anothers_certificate_gets_nothing() {
    let gateway = start(|cluster, host| if cluster == "openai" { "elsewhere.example" } else { host }).await;
    let answer = gateway.send(Request::chat(chat("gpt", "Hi"))).await;
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(HOOKS.received.find(&answer.id).is_none(), "the request was sent");
    assert_routed_to(&gateway.send(Request::chat(chat("nemotron", "Hi"))).await, "nvidia");
}

#[tokio::test]
async fn a_new_key_is_taken_over_without_a_restart() {
    let gateway = start(|_, host| host).await;
    let first = gateway.send(Request::chat(chat("gpt", "Hi"))).await;
    assert_eq!(received(&first).headers["authorization"], "Bearer key of openai");
    put_key(&gateway.keys[0], "openai", "Bearer another");
    let start = Instant::now();
    while received(&gateway.send(Request::chat(chat("gpt", "Hi"))).await).headers["authorization"]
        != "Bearer another"
    {
        assert!(start.elapsed() < PATIENCE, "the new key did not come");
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn what_the_filter_leaves_alone_reaches_no_provider() {
    let gateway = start(|_, host| host).await;
    let answer = gateway.send(Request::new(hyper::Method::GET, "/v1/files", "")).await;
    assert_eq!(answer.status, 404);
    assert!(HOOKS.received.find(&answer.id).is_none(), "the request was sent");
}

struct Providers {
    gateway: Gateway,
    /// The files of the keys, as in [`PROVIDERS`].
    keys: Vec<PathBuf>,
}

impl Providers {
    async fn send(&self, request: Request) -> Answer {
        self.gateway.send(request).await
    }
}

/// `certified` says whose certificate the provider of a cluster has.
async fn start(certified: impl Fn(&str, &'static str) -> &'static str) -> Providers {
    let authority = llm_router_tests::scratch_file("authority", "pem");
    std::fs::write(&authority, AUTHORITY.pem()).expect("the authority's file");
    let mut bootstrap = Bootstrap::providers().patient().cluster("ollama", serve_plain("ollama"));
    let mut keys = Vec::new();
    for (cluster, host, _, prefix) in PROVIDERS {
        let file = llm_router_tests::scratch_file(cluster, "yaml");
        put_key(&file, cluster, &format!("{prefix}key of {cluster}"));
        let address = serve_tls(cluster, certified(cluster, host));
        bootstrap =
            bootstrap.cluster(cluster, address).authority(cluster, &authority).key_file(cluster, &file);
        keys.push(file);
    }
    Providers { gateway: Gateway::start(bootstrap, 1).await, keys }
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

fn serve_tls(cluster: &'static str, host: &'static str) -> SocketAddr {
    let hooks = Arc::clone(&HOOKS);
    llm_router_tests::serve(move |listener| {
        stand_in::serve(AUTHORITY.serve_as(host, listener), cluster.to_owned(), hooks)
    })
}

fn serve_plain(cluster: &'static str) -> SocketAddr {
    let hooks = Arc::clone(&HOOKS);
    llm_router_tests::serve(move |listener| stand_in::serve(listener, cluster.to_owned(), hooks))
}

fn received(answer: &Answer) -> Received {
    HOOKS.received.find(&answer.id).unwrap_or_else(|| panic!("no LLM got the request; {answer:?}"))
}

fn provider(cluster: &str) -> (&'static str, &'static str, &'static str, &'static str) {
    PROVIDERS.into_iter().find(|(name, ..)| *name == cluster).expect("a provider")
}

fn assert_routed_to(answer: &Answer, cluster: &str) {
    assert_eq!((answer.status.as_u16(), answer.header("x-served-by")), (200, cluster), "{answer:?}");
}
