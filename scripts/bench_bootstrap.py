"""Minimal Envoy bootstraps for the benchmark. They differ in little except the filter."""

import json
import pathlib
from collections.abc import Sequence

REPO = pathlib.Path(__file__).resolve().parent.parent
WASM = REPO / "target" / "llm_router_filter.wasm"
MODULE = REPO / "target" / "libllm_router.so"

MAX_BODY = 10 << 20
BODY_LIMIT = 2 * MAX_BODY
"""How much of a body Envoy buffers for a filter."""

COMPLETION = "Hello! How can I help you today?"
"""The completion of the mock LLM."""

Json = dict[str, object]


def _type(name: str) -> Json:
    return {"@type": f"type.googleapis.com/{name}"}


def _extension(name: str, type_name: str, **fields: object) -> Json:
    return {"name": name, "typed_config": {**_type(type_name), **fields}}


def _address(port: int) -> Json:
    return {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}}


def _bootstrap(
    port: int, filters: Sequence[Json], routes: list[Json], clusters: list[Json], body_limit: int | None = BODY_LIMIT
) -> Json:
    router = _extension("router", "envoy.extensions.filters.http.router.v3.Router")
    hosts: Json = {"name": "all", "domains": ["*"], "routes": routes}
    if body_limit:
        hosts["request_body_buffer_limit"] = body_limit
    manager = _extension(
        "http",
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="http",
        normalize_path=True,
        merge_slashes=True,
        path_with_escaped_slashes_action="UNESCAPE_AND_FORWARD",
        http_filters=[*filters, router],
        route_config={"virtual_hosts": [hosts]},
    )
    listener = {"name": "listener", "address": _address(port)["address"], "filter_chains": [{"filters": [manager]}]}
    return {"static_resources": {"listeners": [listener], "clusters": clusters}}


def _cluster(name: str, port: int, http2: bool = False) -> Json:
    cluster: Json = {
        "name": name,
        "connect_timeout": "1s",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": _address(port)}]}],
        },
    }
    if http2:
        options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
        h2 = {"explicit_http_config": {"http2_protocol_options": {}}}
        cluster["typed_extension_protocol_options"] = {options: {**_type(options), **h2}}
    return cluster


def llm(port: int) -> Json:
    """A mock LLM: reads the whole request, then sends the same response to each."""
    usage = {"prompt_tokens": 12, "completion_tokens": 3, "total_tokens": 15}
    message = {"role": "assistant", "content": COMPLETION}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    answer = {"id": "c", "object": "chat.completion", "choices": [choice], "usage": usage}
    route = {
        "match": {"prefix": "/"},
        "direct_response": {"status": 200, "body": {"inline_string": json.dumps(answer)}},
        "response_headers_to_add": [
            {
                "header": {"key": "content-type", "value": "application/json"},
                "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
            }
        ],
    }
    return _bootstrap(port, [buffer_filter()], [route], [])


def plain(port: int, llm_port: int, filters: Sequence[Json] = ()) -> Json:
    """A gateway without routing by the body."""
    routes: list[Json] = [{"match": {"prefix": "/"}, "route": {"cluster": "llm"}}]
    return _bootstrap(port, filters, routes, [_cluster("llm", llm_port)])


def routing(port: int, llm_port: int, sidecar_port: int, router: Json, body_limit: int | None = BODY_LIMIT) -> Json:
    """A gateway that routes with this filter, which calls the sidecar on that port."""
    chosen: Json = {
        "match": {"prefix": "/", "headers": [{"name": "x-llm-cluster", "present_match": True}]},
        "route": {"cluster_header": "x-llm-cluster"},
    }
    # Envoy applies the body limit only if a route matches before the filter has decided.
    undecided: Json = {"match": {"prefix": "/"}, "route": {"cluster": "llm"}}
    clusters = [_cluster("llm", llm_port), _cluster("sidecar", sidecar_port, http2=True)]
    return _bootstrap(port, [router], [chosen, undecided], clusters, body_limit)


def policy(cache_entries: int) -> Json:
    """A routing policy with one model, `small`."""
    model = {"cluster": "llm", "model": "meta/llama-3.1-8b-instruct", "cost": {"input": 0.05, "output": 0.08}}
    return {
        "sidecar": {"cluster": "sidecar", "timeout": "5s", "on_failure": "reject"},
        "cluster_header": "x-llm-cluster",
        "limits": {"max_body": f"{MAX_BODY}B"},
        "default_policy": "task_router",
        "models": {"small": model},
        "policies": {"task_router": {"classifier": "task", "routes": {"Chatbot": "small"}, "default": "small"}},
        "cache": {"entries": cache_entries},
    }


def buffer_filter() -> Json:
    """Envoy's own filter that holds a request until its body is whole."""
    return _extension("buffer", "envoy.extensions.filters.http.buffer.v3.Buffer", max_request_bytes=BODY_LIMIT)


def wasm_filter(policy: Json, file: pathlib.Path) -> Json:
    """Our filter as a Wasm plugin."""
    config = {
        "name": "llm_router",
        "allow_on_headers_stop_iteration": True,
        "failure_policy": "FAIL_RELOAD",
        "vm_config": {"runtime": "envoy.wasm.runtime.v8", "code": {"local": {"filename": str(file)}}},
        "configuration": _string(policy),
    }
    return _extension("llm_router", "envoy.extensions.filters.http.wasm.v3.Wasm", config=config)


def module_filter(policy: Json, file: pathlib.Path) -> Json:
    """Our filter as a dynamic module."""
    return _extension(
        "llm_router",
        "envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter",
        dynamic_module_config={"module": {"local": {"filename": str(file)}}},
        filter_name="llm_router",
        filter_config=_string(policy),
    )


def native_filter() -> Json:
    """Envoy's ext_proc filter as in envoy/native.yaml. The sidecar has the policy."""
    return _extension(
        "llm_router",
        "envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor",
        grpc_service={"envoy_grpc": {"cluster_name": "sidecar"}},
        # A request that was not routed must not count as one that was.
        failure_mode_allow=False,
        message_timeout="5s",
        processing_mode={
            "request_header_mode": "SEND",
            "request_body_mode": "BUFFERED",
            "response_header_mode": "SEND",
        },
        allow_mode_override=True,
        mutation_rules={"allow_all_routing": True},
        metadata_options={"receiving_namespaces": {"untyped": ["llm_router"]}},
    )


def _string(value: Json) -> Json:
    return {**_type("google.protobuf.StringValue"), "value": json.dumps(value)}
