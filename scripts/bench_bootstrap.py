"""Minimal Envoy bootstraps for the benchmark, which differ in little but the filter."""

import json
import pathlib

REPO = pathlib.Path(__file__).resolve().parent.parent
FILTER = REPO / "target" / "llm_router_filter.wasm"

MAX_BODY = 10 << 20

Json = dict[str, object]


def _type(name: str) -> Json:
    return {"@type": f"type.googleapis.com/{name}"}


def _extension(name: str, type_name: str, **fields: object) -> Json:
    return {"name": name, "typed_config": {**_type(type_name), **fields}}


def _address(port: int) -> Json:
    return {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}}


def _bootstrap(port: int, filters: list[Json], routes: list[Json], clusters: list[Json]) -> Json:
    router = _extension("router", "envoy.extensions.filters.http.router.v3.Router")
    manager = _extension(
        "http",
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="http",
        normalize_path=True,
        merge_slashes=True,
        path_with_escaped_slashes_action="UNESCAPE_AND_FORWARD",
        http_filters=[*filters, router],
        route_config={
            "virtual_hosts": [
                {"name": "all", "domains": ["*"], "request_body_buffer_limit": 2 * MAX_BODY, "routes": routes}
            ]
        },
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
    message = {"role": "assistant", "content": "Hello! How can I help you today?"}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    answer = {"id": "c", "object": "chat.completion", "choices": [choice], "usage": usage}
    whole = _extension("buffer", "envoy.extensions.filters.http.buffer.v3.Buffer", max_request_bytes=2 * MAX_BODY)
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
    return _bootstrap(port, [whole], [route], [])


def plain(port: int, llm_port: int) -> Json:
    """A gateway without the router's filter."""
    routes: list[Json] = [{"match": {"prefix": "/"}, "route": {"cluster": "llm"}}]
    return _bootstrap(port, [], routes, [_cluster("llm", llm_port)])


def routing(
    port: int, llm_port: int, sidecar_port: int, cache_entries: int, filter_file: pathlib.Path = FILTER
) -> Json:
    """A gateway with the router's filter, which calls the sidecar on that port."""
    model = {"cluster": "llm", "model": "meta/llama-3.1-8b-instruct", "cost": {"input": 0.05, "output": 0.08}}
    policy = {
        "sidecar": {"cluster": "sidecar", "timeout": "5s", "on_failure": "reject"},
        "cluster_header": "x-llm-cluster",
        "limits": {"max_body": f"{MAX_BODY}B"},
        "default_policy": "task_router",
        "models": {"small": model},
        "policies": {"task_router": {"classifier": "task", "routes": {"Chatbot": "small"}, "default": "small"}},
        "cache": {"entries": cache_entries},
    }
    config = {
        "name": "llm_router",
        "allow_on_headers_stop_iteration": True,
        "failure_policy": "FAIL_RELOAD",
        "vm_config": {
            "runtime": "envoy.wasm.runtime.v8",
            "code": {"local": {"filename": str(filter_file)}},
        },
        "configuration": {**_type("google.protobuf.StringValue"), "value": json.dumps(policy)},
    }
    wasm = _extension("llm_router", "envoy.extensions.filters.http.wasm.v3.Wasm", config=config)
    chosen: Json = {
        "match": {"prefix": "/", "headers": [{"name": "x-llm-cluster", "present_match": True}]},
        "route": {"cluster_header": "x-llm-cluster"},
    }
    # Envoy applies the body limit only if a route matches before the filter has decided.
    undecided: Json = {"match": {"prefix": "/"}, "route": {"cluster": "llm"}}
    clusters = [_cluster("llm", llm_port), _cluster("sidecar", sidecar_port, http2=True)]
    return _bootstrap(port, [wasm], [chosen, undecided], clusters)
