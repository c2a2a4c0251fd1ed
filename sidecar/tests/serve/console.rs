//! The console's files, and who may use the admin API.

use std::collections::BTreeMap;
use std::path::Path;

use crate::sidecar::{Sidecar, minilm};

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

async fn start() -> Sidecar {
    let model = minilm();
    Sidecar::start(tempfile::tempdir().unwrap(), &["--model", model.to_str().unwrap()], &[]).await
}

/// Status, headers and body of the response to a request with these lines after its first.
async fn send(
    sidecar: &Sidecar,
    first: &str,
    lines: &[&str],
    body: &str,
) -> (u16, BTreeMap<String, String>, String) {
    let mut request = format!("{first} HTTP/1.1\r\nConnection: close\r\n");
    for line in lines {
        request += &format!("{line}\r\n");
    }
    let response = sidecar.admin(&format!("{request}\r\n{body}")).await;
    let (head, body) = response.split_once("\r\n\r\n").unwrap();
    let (status, headers) = head.split_once("\r\n").unwrap();
    let headers = headers.lines().filter_map(|line| line.split_once(": "));
    let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
    (status.split(' ').nth(1).unwrap().parse().unwrap(), headers, body.to_owned())
}

async fn status(sidecar: &Sidecar, first: &str, lines: &[&str]) -> u16 {
    send(sidecar, first, lines, "").await.0
}

#[tokio::test]
async fn every_file_is_served_with_headers_that_bind_the_browser() {
    let sidecar = start().await;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/admin/console");
    let mut paths = vec![("/console/".to_owned(), "index.html".to_owned())];
    for entry in std::fs::read_dir(&folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name != "mod.rs" && name != "index.html" {
            paths.push((format!("/console/{name}"), name));
        }
    }
    assert!(paths.len() > 10);
    for (path, name) in paths {
        let (status, headers, body) = send(&sidecar, &format!("GET {path}"), &["Host: localhost"], "").await;
        assert_eq!(status, 200, "{path}");
        assert!(body == std::fs::read_to_string(folder.join(&name)).unwrap(), "{path} is another file");
        let kind = match name.rsplit_once('.').unwrap().1 {
            "html" => "text/html; charset=utf-8",
            "css" => "text/css; charset=utf-8",
            "js" => "text/javascript; charset=utf-8",
            _ => "image/svg+xml",
        };
        for (header, value) in [
            ("content-type", kind),
            ("content-security-policy", POLICY),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("cache-control", "no-cache"),
        ] {
            assert_eq!(headers.get(header).map(String::as_str), Some(value), "{path}: {header}");
        }
    }
    for path in ["/", "/console"] {
        let (status, headers, _) = send(&sidecar, &format!("GET {path}"), &["Host: localhost"], "").await;
        assert_eq!((status, headers["location"].as_str()), (307, "console/"), "{path}");
    }
    for path in
        ["/console/mod.rs", "/console/../../Cargo.toml", "/console/%2e%2e/mod.rs", "/console/index.html"]
    {
        assert_eq!(status(&sidecar, &format!("GET {path}"), &["Host: localhost"]).await, 404, "{path}");
    }
}

#[tokio::test]
async fn pages_of_other_sites_reach_nothing_but_the_metrics_and_probes() {
    let sidecar = start().await;
    for hostile in [
        &["Host: evil.example"][..],
        &["Host: localhost", "Origin: http://evil.example"],
        &["Host: localhost", "Origin: null"],
    ] {
        for first in [
            "GET /",
            "GET /console/",
            "GET /console/main.js",
            "GET /v1/policy",
            "POST /v1/explain",
            "POST /v1/route",
            "POST /v1/classify",
        ] {
            let (status, headers, body) = send(&sidecar, first, hostile, "").await;
            assert_eq!(status, 403, "{first} {hostile:?}: {body}");
            assert!(!headers.contains_key("access-control-allow-origin"), "{headers:?}");
        }
        for first in ["GET /metrics", "GET /healthz", "GET /readyz"] {
            assert_eq!(status(&sidecar, first, hostile).await, 200, "{first} {hostile:?}");
        }
    }
    let own = sidecar.process.admin();
    let origin = format!("Origin: http://{own}");
    assert_eq!(status(&sidecar, "GET /console/", &[&format!("Host: {own}"), &origin]).await, 200);
}

#[tokio::test]
async fn a_form_of_another_site_cannot_send_json() {
    let sidecar = start().await;
    let body = r#"{"input": "hi"}"#;
    let length = format!("Content-Length: {}", body.len());
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"] {
        for path in ["/v1/classify", "/v1/explain", "/v1/policy", "/v1/route"] {
            let lines = ["Host: localhost", &length, &format!("Content-Type: {kind}")];
            assert_eq!(send(&sidecar, &format!("POST {path}"), &lines, body).await.0, 415, "{path} {kind}");
        }
    }
    // What a browser asks before it sends JSON to another origin.
    let preflight = [
        "Host: localhost",
        "Access-Control-Request-Method: POST",
        "Access-Control-Request-Headers: content-type",
    ];
    let (status, headers, _) = send(&sidecar, "OPTIONS /v1/classify", &preflight, "").await;
    assert!(status >= 400 && !headers.contains_key("access-control-allow-origin"), "{status} {headers:?}");
}

/// Checks the status of requests for the console by each host, and that metrics and probes respond for any
/// host.
async fn check_hosts(arguments: &[&str], hosts: &[(&str, u16)]) {
    let model = minilm();
    let arguments = [&["--model", model.to_str().unwrap()], arguments].concat();
    let sidecar = Sidecar::start(tempfile::tempdir().unwrap(), &arguments, &[]).await;
    for (host, expected) in hosts {
        let line = format!("Host: {host}");
        for first in ["GET /console/", "GET /"] {
            let expected = if first == "GET /" && *expected == 200 { 307 } else { *expected };
            assert_eq!(status(&sidecar, first, &[&line]).await, expected, "{first} {host}");
        }
        for first in ["GET /metrics", "GET /healthz", "GET /readyz"] {
            assert_eq!(status(&sidecar, first, &[&line]).await, 200, "{first} {host}");
        }
    }
}

#[tokio::test]
async fn a_host_name_opens_the_console_only_if_it_is_configured() {
    let names = ["llm-router-sidecar.llm-router.svc", "router.example.com:9091"];
    check_hosts(&[], &[(names[0], 403), (names[1], 403), ("10.1.2.3:9091", 200)]).await;
    let option = ["--admin-host", "llm-router-sidecar.llm-router.svc,Router.example.com"];
    let others = [("rebound.evil.example:9091", 403), ("localhost:9091", 200), ("[::1]:9091", 200)];
    let hosts: Vec<_> = names.into_iter().map(|name| (name, 200)).chain(others).collect();
    check_hosts(&option, &hosts).await;
}
