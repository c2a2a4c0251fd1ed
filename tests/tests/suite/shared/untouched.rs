//! Requests that do not ask for a completion are forwarded unchanged, on the fallback route.

use hyper::Method;
use llm_router_tests::client::Request;
use llm_router_tests::envoy::Envoy;
use llm_router_tests::for_each_host;
use llm_router_tests::host::Host;
use llm_router_tests::{TIMEOUT, serve, within};
use macro_rules_attribute::apply;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{assert_routed, bootstrap, shared_gateway};

#[apply(for_each_host!)]
async fn other_paths_and_methods_pass_as_they_are(host: Host) {
    let gateway = shared_gateway(host).await;
    for (method, path, body) in [
        (Method::GET, "/v1/files", ""),
        (Method::GET, "/v1/chat/completions", ""),
        (Method::POST, "/v1/chat/completions", ""),
        (Method::DELETE, "/v1/chat/completions/abc", ""),
        (Method::POST, "/v1/moderations?x=1", "{ \"model\": \"auto\",  \"nim-llm-router\": {} }"),
        (Method::POST, "/v1/files", "not JSON"),
    ] {
        let response = gateway.send(Request::new(method.clone(), path, body)).await;
        let received = response.received();
        assert_eq!((received.method, received.path.as_str()), (method, path));
        assert_eq!((received.body.as_ref(), received.cluster.as_str()), (body.as_bytes(), "llama-8b"));
        assert_eq!(response.header("x-llm-router-model"), "", "{path}");
    }
}

/// More than the policy's `max_body`, and than Envoy may buffer.
#[apply(for_each_host!)]
async fn an_upload_of_any_size_passes(host: Host) {
    let gateway = Envoy::start(&bootstrap(host).await).await;
    let body: Vec<u8> = (0..12_u32 << 20).map(|at| at.to_le_bytes()[1]).collect();
    let upload = Request::new(Method::POST, "/v1/audio/transcriptions", body.clone());
    for request in [upload.clone(), upload.clone().in_pieces(64 << 10), upload.http2()] {
        let response = gateway.send(request).await;
        assert_ne!(response.status, 413);
        assert!(response.received().body == body, "{} bytes arrived", response.received().body.len());
    }
}

#[apply(for_each_host!)]
async fn a_websocket_is_upgraded_at_once_and_both_sides_can_talk(host: Host) {
    let server = serve(echo_after_upgrade);
    let gateway = Envoy::start(&bootstrap(host).await.websockets().cluster("llama-8b", server)).await;
    let mut client = TcpStream::connect(gateway.address()).await.expect("a connection");
    let handshake = "GET /v1/realtime?model=x HTTP/1.1\r\nhost: gateway\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
                     sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    client.write_all(handshake.as_bytes()).await.expect("a handshake");
    let head = within(TIMEOUT, read_head(&mut client)).await;
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    for message in ["hello", "again"] {
        client.write_all(message.as_bytes()).await.expect("a message");
        let mut echo = [0; 5];
        within(TIMEOUT, client.read_exact(&mut echo)).await.expect("an echo");
        assert_eq!(echo, message.as_bytes());
    }
}

/// Takes each connection for a handshake, and sends back what comes then.
async fn echo_after_upgrade(listener: TcpListener) {
    while let Ok((mut stream, _)) = listener.accept().await {
        tokio::spawn(async move {
            read_head(&mut stream).await;
            let switched =
                "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n";
            stream.write_all(switched.as_bytes()).await.expect("a response");
            let (mut read, mut write) = stream.split();
            let _ = tokio::io::copy(&mut read, &mut write).await;
        });
    }
}

/// All up to the empty line.
async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        head.push(char::from(stream.read_u8().await.expect("a head")));
    }
    head
}

#[apply(for_each_host!)]
async fn a_path_may_have_a_prefix_and_a_query(host: Host) {
    let body = r#"{"model":"llama-70b","messages":[{"role":"user","content":"Hi"}]}"#;
    let request = Request::new(Method::POST, "/openai/v1/chat/completions?api-version=1", body);
    assert_routed(&shared_gateway(host).await.send(request).await, "llama-70b", "manual");
}
