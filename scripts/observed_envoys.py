"""Our bootstraps with the stats names of other control planes' Envoys, for scripts/test_observability.py."""

import json
import pathlib
import re
from collections.abc import Callable

# The ports of Istio's bootstrap: stats for Prometheus, and the admin interface.
ISTIO_STATS_PORT = 15090
ISTIO_ADMIN_PORT = 15000
ADMIN_PORT = 9901
LLMS = ("llama-8b", "llama-70b", "nemotron")
SIDECAR = "llm-router-sidecar"
# The clusters of the rules of k8s/overlays/envoy-gateway/routes.yaml, and of the EnvoyExtensionPolicy. The backend of
# one rule has filters. tests/control-planes checks the names with Envoy Gateway itself.
ENVOY_GATEWAY_STAT_NAMES = {
    "llama-70b": "httproute/llm-router/llms/rule/0",
    "llama-8b": "httproute/llm-router/llms/rule/1",
    "nemotron": "httproute/llm-router/llms/rule/2/backend/0",
    SIDECAR: "/llm-router/llm-router/extproc/0",
}


def as_istio(bootstrap: str, istio: dict) -> str:
    """One of our files with Istio's stats names. A bootstrap also gets Istio's selection of stats, and its ports.

    `istio` is the bootstrap that Istio gives an Envoy.
    """
    text = with_stat_names(without_stats_config(bootstrap), istio_stat_name)
    # The filter's configuration has its namespace before its name.
    text = re.sub(r"name: llm_router\n( +(?:typed_config|config_discovery):)", r"name: llm-router.llm_router\n\1", text)
    if "admin:" not in text:
        return text
    listener = named(istio["static_resources"]["listeners"], f"0.0.0.0_{ISTIO_STATS_PORT}")
    listener["address"]["socket_address"]["address"] = "127.0.0.1"
    cluster = named(istio["static_resources"]["clusters"], "prometheus_stats")
    if "static_resources:" not in text:
        text += "static_resources:\n  listeners:\n  clusters:\n"
    for key, resource in ("listeners", listener), ("clusters", cluster):
        text = text.replace(f"\n  {key}:\n", f"\n  {key}:\n  - {in_one_line(resource)}\n", 1)
    return f"stats_config: {json.dumps(istio['stats_config'])}\n{text}"


def as_envoy_gateway(bootstrap: str, listeners: pathlib.Path) -> str:
    """One of our bootstraps with Envoy Gateway's names of clusters, and Envoy's default names of stats.

    `listeners` is a file with more listeners, because there they come by discovery, which has stats.
    """
    text = with_stat_names(without_stats_config(bootstrap), ENVOY_GATEWAY_STAT_NAMES.__getitem__)
    discovery = f"lds_config: {{ path_config_source: {{ path: {listeners} }} }}"
    return f"{text}\nnode: {{ id: gateway, cluster: gateway }}\ndynamic_resources: {{ {discovery} }}\n"


def istio_stat_name(cluster: str) -> str:
    """The name of a Service's cluster. Our EnvoyFilter adds the sidecar's, which has just its name."""
    return cluster if cluster == SIDECAR else f"outbound|8000||{cluster}.llm-router.svc.cluster.local;"


def with_stat_names(text: str, name_of: Callable[[str], str]) -> str:
    """Clusters with other names in stats."""
    cluster = re.compile(rf"name: ({'|'.join((*LLMS, SIDECAR))})\n( +)connect_timeout:")
    return cluster.sub(
        lambda at: f"name: {at[1]}\n{at[2]}alt_stat_name: '{name_of(at[1])}'\n{at[2]}connect_timeout:", text
    )


def without_stats_config(bootstrap: str) -> str:
    """A bootstrap whose stats get no labels of ours."""
    return re.sub(r"^stats_config:\n(?: .*\n)+", "", bootstrap, flags=re.MULTILINE)


def named(resources: list, name: str) -> dict:
    """A copy of the resource of this name."""
    return json.loads(json.dumps(next(resource for resource in resources if resource["name"] == name)))


def in_one_line(resource: dict) -> str:
    """A resource as YAML, with ports in the form of our bootstraps."""
    text = json.dumps(resource).replace('"port_value"', "port_value")
    return text.replace(f"port_value: {ISTIO_ADMIN_PORT}", f"port_value: {ADMIN_PORT}")
