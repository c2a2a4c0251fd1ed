//! Rules with conditions on what Envoy knows about a request: its route, the client's address, and the claims of its token. No header can
//! fake them.

use std::sync::LazyLock;

use llm_router_tests::bootstrap::Bootstrap;
use llm_router_tests::client::{Request, chat};
use llm_router_tests::fakes::scripted_gateway::ScriptedGateway;
use llm_router_tests::fakes::scripted_sidecar::labelled;
use llm_router_tests::for_each_host;
use llm_router_tests::host::{Host, PerHost};
use llm_router_tests::jwt::Issuer;
use llm_router_tests::tls::Authority;
use macro_rules_attribute::apply;
use serde_json::{Value, json};

use crate::support::{assert_rejected, assert_routed, without_sidecar};

const JWT: &str = "envoy.filters.http.jwt_authn";

static ISSUER: LazyLock<Issuer> = LazyLock::new(Issuer::default);

async fn gateway(host: Host) -> &'static ScriptedGateway {
    static SHARED: PerHost<ScriptedGateway> = PerHost::new();
    SHARED.get_or_start(host, || ScriptedGateway::start(bootstrap(host), 1)).await
}

/// A rule for each condition: a request that names the condition goes to nemotron if the condition matches.
pub(crate) fn bootstrap(host: Host) -> Bootstrap {
    let claims = |claims: Value| json!({ "metadata": { JWT: { "payload": claims } } });
    let attributes = |attributes: Value| json!({ "attribute": attributes });
    let conditions = [
        ("claims", claims(json!({ "tenant": ["acme", "corp"], "level": 3, "admin": true }))),
        ("group", claims(json!({ "https://corp.example/groups": "dev" }))),
        ("route", attributes(json!({ "xds.route_name": "llms" }))),
        ("decided", attributes(json!({ "xds.route_name": { "prefix": "dec" } }))),
        ("local", attributes(json!({ "source.address": ["127.0.0.0/8", "::1"], "connection.mtls": false }))),
        ("elsewhere", attributes(json!({ "source.address": "10.0.0.0/8" }))),
    ];
    let rule = |(name, when): &(&str, Value)| {
        let named = json!({ "header": { "x-condition": name } });
        json!({ "when": { "all": [named, when] }, "model": "nemotron" })
    };
    let guard = json!({
        "when": { "header": { "x-condition": "guard" }, "not": claims(json!({ "tenant": "acme" })) },
        "reject": { "status": 403, "message": "unknown tenant" },
    });
    let rules: Value = conditions.iter().map(rule).chain([guard]).collect();
    let bootstrap = without_sidecar(host).route_names(&["decided", "llms"]).without_early_mutations();
    with_claims(host, bootstrap.at_the_edge().policy(|policy| policy["rules"] = rules))
}

/// Verifies tokens, and shows the host their claims, and the attributes above.
fn with_claims(host: Host, bootstrap: Bootstrap) -> Bootstrap {
    // The dynamic module sees what is in metadata's members only as filter state.
    let state = json!({
        "object_key": format!("llm_router.metadata.{JWT}"), "factory_key": "envoy.string", "skip_if_empty": true,
        "format_string": { "omit_empty_values": true, "text_format_source": {
            "inline_string": format!("%DYNAMIC_METADATA({JWT})%"),
        } },
    });
    let as_state = json!({ "name": "envoy.filters.http.set_filter_state", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.set_filter_state.v3.Config",
        "on_request_headers": [state],
    } });
    let filters = [ISSUER.filter()].into_iter().chain((host == Host::Module).then_some(as_state));
    bootstrap.add_first_filters(filters).ext_proc(|filter| {
        filter["request_attributes"] = json!(["xds.route_name", "source.address", "connection.mtls"]);
        filter["metadata_options"]["forwarding_namespaces"] = json!({ "untyped": [JWT] });
    })
}

#[apply(for_each_host!)]
async fn rules_match_the_clients_certificate(host: Host) {
    let authority = Authority::default();
    let of_batch_jobs = json!({
        "connection.uri_san_peer_certificate": { "prefix": "spiffe://corp/ns/batch/" },
        "connection.subject_peer_certificate": "CN=client",
    });
    let of_any_client = json!({
        "connection.mtls": true, "connection.tls_version": ["TLSv1.2", "TLSv1.3"],
        "connection.requested_server_name": "gateway",
    });
    let names: Value = [&of_batch_jobs, &of_any_client]
        .into_iter()
        .flat_map(|attributes| attributes.as_object().expect("attributes").keys().cloned())
        .collect();
    let rules = json!([
        { "when": { "attribute": of_batch_jobs }, "model": "llama-70b" },
        { "when": { "attribute": of_any_client }, "model": "nemotron" },
    ]);
    let bootstrap = without_sidecar(host)
        .downstream_socket(authority.downstream_socket("gateway"))
        .ext_proc(|filter| filter["request_attributes"] = names)
        .policy(|policy| policy["rules"] = rules);
    let gateway = ScriptedGateway::start(bootstrap, 1).await;
    for (uri, model) in
        [("spiffe://corp/ns/batch/sa/jobs", "llama-70b"), ("spiffe://corp/ns/batches/sa/jobs", "nemotron")]
    {
        let request = request("none").tls(authority.client(uri));
        // A mesh's proxies forward a certificate in a header, which is not an attribute.
        let request = request.header("x-forwarded-client-cert", "URI=spiffe://corp/ns/batch/sa/jobs");
        assert_routed(&gateway.send(request).await, model, "rule");
    }
}

pub(crate) fn request(condition: &str) -> Request {
    Request::chat(chat("auto", &labelled("Chatbot"))).header("x-condition", condition)
}

pub(crate) fn with_token(condition: &str, claims: Value) -> Request {
    request(condition).header("authorization", &format!("Bearer {}", ISSUER.token(claims)))
}

#[apply(for_each_host!)]
async fn rules_match_a_tokens_claims(host: Host) {
    let gateway = gateway(host).await;
    let claims =
        json!({ "tenant": "acme", "level": 3, "admin": true, "https://corp.example/groups": ["ops", "dev"] });
    for condition in ["claims", "group"] {
        assert_routed(&gateway.send(with_token(condition, claims.clone())).await, "nemotron", "rule");
        assert_routed(&gateway.send(with_token(condition, claims.clone()).http2()).await, "nemotron", "rule");
        assert_routed(&gateway.send(request(condition)).await, "llama-8b", "classified");
    }
    for (condition, claim, value) in [
        ("claims", "tenant", json!("other")),
        ("claims", "level", json!("3")),
        ("claims", "admin", json!(false)),
        ("claims", "admin", Value::Null),
        ("group", "https://corp.example/groups", json!(["ops"])),
        ("group", "https://corp.example/groups", json!([["dev"]])),
    ] {
        let mut claims = claims.clone();
        claims[claim] = value;
        assert_routed(&gateway.send(with_token(condition, claims)).await, "llama-8b", "classified");
    }
}

#[apply(for_each_host!)]
async fn a_guard_rejects_whom_no_token_vouches_for(host: Host) {
    let gateway = gateway(host).await;
    let tenant = |tenant: &str| with_token("guard", json!({ "tenant": tenant }));
    assert_routed(&gateway.send(tenant("acme")).await, "llama-8b", "classified");
    for request in [tenant("other"), request("guard"), request("guard").header("tenant", "acme")] {
        assert_rejected(&gateway.send(request).await, 403, Value::Null, "unknown tenant");
    }
    let forged = Issuer::default().token(json!({ "tenant": "acme" }));
    let forged = gateway.send(request("guard").header("authorization", &format!("Bearer {forged}"))).await;
    assert_eq!(forged.status, 401, "Envoy's own rejection: {forged:?}");
}

#[apply(for_each_host!)]
async fn rules_match_the_route_by_which_a_request_came(host: Host) {
    let gateway = gateway(host).await;
    assert_routed(&gateway.send(request("route")).await, "nemotron", "rule");
    assert_routed(&gateway.send(request("decided")).await, "llama-8b", "classified");
    // By the cluster header, Envoy chooses the other route. Other headers of the router could have the same effect.
    for header in ["x-llm-cluster", "x-llm-z"] {
        for condition in ["route", "decided"] {
            let spoofed = gateway.send(request(condition).header(header, "llama-70b")).await;
            assert_rejected(&spoofed, 400, header, "is reserved for the router");
        }
    }
    let named = request("route").header("x-llm-policy", "task_router");
    assert_routed(&gateway.send(named).await, "llama-8b", "classified");
    for name in ["xds.route_name", "attribute", "xds-route-name"] {
        let named = request("decided").header(name, "decided");
        assert_routed(&gateway.send(named).await, "llama-8b", "classified");
    }
}

#[apply(for_each_host!)]
async fn rules_match_where_a_request_came_from(host: Host) {
    let gateway = gateway(host).await;
    assert_routed(&gateway.send(request("local")).await, "nemotron", "rule");
    for header in ["x-forwarded-for", "x-real-ip", "forwarded", "source.address"] {
        for (condition, model, reason) in
            [("local", "nemotron", "rule"), ("elsewhere", "llama-8b", "classified")]
        {
            let response = gateway.send(request(condition).header(header, "10.0.0.1")).await;
            assert_routed(&response, model, reason);
        }
    }
}
