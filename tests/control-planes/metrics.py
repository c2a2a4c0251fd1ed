"""What the gateways of real control planes export to Prometheus.

scripts/test-observability gives its Envoys the same names, and shows that the dashboard and the alerts have data then.
"""

import re
import urllib.request
from collections.abc import Iterable, Iterator

import checks
import pools
from observed_envoys import ENVOY_GATEWAY_STAT_NAMES, LLMS, istio_stat_name

SCRAPED_SECONDS = 10
"""How long Envoy may take to export its counts: twice its interval."""

Series = tuple[str, frozenset[tuple[str, str]]]


def check(url: str, expected: set[Series]) -> None:
    """Waits for the series."""

    def has_all() -> None:
        missing = expected - set(_scraped(url))
        checks.expect(not missing, f"{url} lacks {sorted(name + str(dict(labels)) for name, labels in missing)}")

    checks.eventually(has_all, SCRAPED_SECONDS)


def of_istio(is_discovered: bool, has_pools: bool) -> set[Series]:
    """The series of an Istio gateway. `is_discovered`: the filter's configuration comes by discovery."""
    inside = [pools.cluster(llm) if has_pools else istio_stat_name(llm).rstrip(";") for llm in LLMS[:2]]
    # A ServiceEntry defines the host and the port of the third LLM.
    clusters = [*inside, "outbound|443||integrate.api.nvidia.com"]
    expected = _of_clusters("cluster_name", "response_code", clusters)
    if is_discovered:
        expected.add(_series("envoy_extension_config_discovery_http_filter_llm_router_llm_router_update_rejected"))
    return expected | {_series("envoy_listener_manager_lds_update_rejected")}


def of_envoy_gateway() -> set[Series]:
    """The series of a gateway of Envoy Gateway."""
    expected = _of_clusters(
        "envoy_cluster_name", "envoy_response_code", [ENVOY_GATEWAY_STAT_NAMES[llm] for llm in LLMS]
    )
    return expected | {_series("envoy_listener_manager_lds_update_rejected")}


def of_kgateway() -> set[Series]:
    """The series of a kgateway gateway."""
    clusters = [f"kube_llm-router_{llm}_8000" for llm in LLMS]
    return _of_clusters("envoy_cluster_name", "envoy_response_code", clusters)


def _of_clusters(cluster_label: str, code_label: str, clusters: Iterable[str]) -> set[Series]:
    expected = set()
    for labels in ({cluster_label: cluster} for cluster in clusters):
        expected.add(_series("envoy_cluster_upstream_rq", **labels, **{code_label: "200"}))
        expected.add(_series("envoy_cluster_upstream_rq_retry", **labels))
        expected.add(_series("envoy_cluster_upstream_rq_time_count", **labels))
    return expected


def _series(name: str, **labels: str) -> Series:
    return name, frozenset(labels.items())


def _scraped(url: str) -> Iterator[Series]:
    with urllib.request.urlopen(url, timeout=5) as response:
        for line in response.read().decode().splitlines():
            if found := re.match(r"([a-z_:0-9]+)\{(.*)\} ", line):
                yield found[1], frozenset(re.findall(r'(\w+)="([^"]*)"', found[2]))
