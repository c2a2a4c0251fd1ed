//! How callers connect: a Unix socket, TLS, and TLS with client certificates.

use std::sync::Arc;

use llm_router_proto::envoy::service::ext_proc::v3::external_processor_client::ExternalProcessorClient;
use llm_router_sidecar::ext_proc::ReloadableService;
use llm_router_sidecar::ext_proc::server::{self, Settings};
use llm_router_sidecar::serve::listener::{self, Listener};
use llm_router_sidecar::serve::tls::TlsArgs;
use llm_router_sidecar::telemetry::metrics::Metrics;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use super::{BODY_MEMORY, PROMPT, Sure, body, body_answer, exchange, next, serve, service, settings};

#[tokio::test]
async fn envoy_can_connect_by_a_unix_socket() {
    let folder = tempfile::tempdir().unwrap();
    let address = format!("unix:{}", folder.path().join("s").display());
    let listener = Listener::bind(&address.parse().unwrap(), 0o600).await.unwrap();
    let Listener::Unix(listener, _file) = listener else { panic!("not a Unix socket") };
    let service = ReloadableService::new(service(None, Sure, 8, Arc::new(Metrics::new())), BODY_MEMORY);
    tokio::spawn(server::serve(listener::unix(listener), service, settings(), CancellationToken::new()));

    let channel = Endpoint::from_shared(address).unwrap().connect().await.unwrap();
    exchange(ExternalProcessorClient::new(channel), vec![body(PROMPT)]).await.unwrap();
}

/// Envoy copies it into the call's metadata. After an error, Envoy may let the request bypass the policy.
#[tokio::test]
async fn a_clients_tracestate_of_any_length_does_not_fail_the_call() {
    let mut running = serve(Sure, 8).await;
    let mut request = tonic::Request::new(futures_util::stream::iter([body(PROMPT)]));
    request.metadata_mut().insert("tracestate", format!("a={}", "x".repeat(60_000)).parse().unwrap());
    let mut answers = running.client.process(request).await.unwrap().into_inner();
    let answer = next(&mut answers).await.unwrap().unwrap();
    assert!(body_answer(&answer).header_mutation.is_some(), "{answer:?}");
}

/// A certificate authority that can make certificates for this host.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    /// Certificate and key.
    fn issue(&self) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        (params.signed_by(&key, &self.0).unwrap().pem(), key.serialize_pem())
    }
}

/// A server with a certificate of the authority. If `clients` is set, it requires client certificates of that
/// authority.
async fn serve_tls(authority: &Authority, clients: Option<&Authority>) -> u16 {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        Some(path)
    };
    let (certificate, key) = authority.issue();
    let tls = TlsArgs {
        tls_cert: file("cert", &certificate),
        tls_key: file("key", &key),
        tls_client_ca: clients.and_then(|clients| file("ca", &clients.pem())),
    };
    let settings = Settings { tls: tls.load().unwrap(), ..settings() };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let service = ReloadableService::new(service(None, Sure, 8, Arc::new(Metrics::new())), BODY_MEMORY);
    tokio::spawn(server::serve(listener::tcp(listener), service, settings, CancellationToken::new()));
    port
}

/// Whether a client that trusts the authority, and has this identity, gets a response.
async fn is_served(port: u16, authority: &Authority, identity: Option<(String, String)>) -> bool {
    let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(authority.pem()));
    let tls = match identity {
        Some((certificate, key)) => tls.identity(Identity::from_pem(certificate, key)),
        None => tls,
    };
    let endpoint = Channel::from_shared(format!("https://localhost:{port}")).unwrap();
    let Ok(channel) = endpoint.tls_config(tls).unwrap().connect().await else { return false };
    exchange(ExternalProcessorClient::new(channel), vec![body(PROMPT)]).await.is_ok()
}

#[tokio::test]
async fn with_a_certificate_only_tls_is_spoken() {
    let authority = Authority::new();
    let port = serve_tls(&authority, None).await;
    assert!(is_served(port, &authority, None).await);
    assert!(!is_served(port, &Authority::new(), None).await, "another authority's certificate was trusted");
    let plain = ExternalProcessorClient::connect(format!("http://localhost:{port}")).await.unwrap();
    assert!(exchange(plain, vec![body(PROMPT)]).await.is_err());
}

#[tokio::test]
async fn with_a_client_ca_only_its_clients_are_served() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let port = serve_tls(&authority, Some(&clients)).await;
    assert!(is_served(port, &authority, Some(clients.issue())).await);
    assert!(!is_served(port, &authority, Some(authority.issue())).await);
    assert!(!is_served(port, &authority, None).await);
}

#[tokio::test]
async fn a_key_that_does_not_fit_its_certificate_is_rejected_at_the_start() {
    let authority = Authority::new();
    let (certificate, _) = authority.issue();
    let (_, key) = authority.issue();
    let tls = tonic::transport::ServerTlsConfig::new().identity(Identity::from_pem(certificate, key));
    let settings = Settings { tls: Some(tls), ..settings() };
    let service = ReloadableService::new(service(None, Sure, 8, Arc::new(Metrics::new())), BODY_MEMORY);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let served = server::serve(listener::tcp(listener), service, settings, CancellationToken::new()).await;
    assert!(format!("{:#}", served.unwrap_err()).contains("TLS"));
}
