"""The platforms of scripts/test_observability.py, and the data that Prometheus has of each."""

import dataclasses
import http.client
import json
import math
import re
import time
import urllib.parse

from processes import DemoError, reserve_ports

# Crashes, queues, invalid files and long conversations, which this test does not cause: they must have data, which may
# be zero.
MAY_BE_ZERO = (
    "queue_depth",
    "body_bytes",
    "padding_tokens",
    "deadline_exceeded",
    "lds_update_rejected",
    "reloads_total",
    "vm_reload",
    "overload:",
    "sticky_cost",
    "switch_cost",
)


class Prometheus:
    """Queries Prometheus about the time since the creation of this object."""

    def __init__(self, port):
        self.port, self.start = port, time.time()

    def get(self, path, **parameters):
        """The data of an API call."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request("GET", f"/api/v1/{path}?{urllib.parse.urlencode(parameters)}")
        response = json.loads(connection.getresponse().read())
        connection.close()
        if response["status"] != "success":
            raise DemoError(f"Prometheus: {response['error']}\n{parameters}")
        return response["data"]

    def values(self, query):
        """All values of a query over the time of the test."""
        found = self.get("query_range", query=query, start=self.start, end=time.time(), step=1)["result"]
        numbers = (float(value) for series in found for _, value in series["values"])
        return [number for number in numbers if not math.isnan(number)]

    def metrics(self):
        """The names of the router's metrics."""
        names = self.get("label/__name__/values")
        return {
            re.sub("_(bucket|sum|count)$", "", name)
            for name in names
            if name.startswith("llm_router_") and not name.startswith("llm_router_sidecar_")
        }

    def labels(self, port):
        """The router's metrics of one Envoy with the names of their labels, and the models in them."""
        series = self.get("series", **{"match[]": f'{{__name__=~"llm_router_.+", instance="127.0.0.1:{port}"}}'})
        return {(one["__name__"], *sorted(one)) for one in series}, {one.get("llm_model") for one in series}

    def llms(self):
        """The clusters that the rules treat as LLMs."""
        found = self.get("series", **{"match[]": "llm_router:llm_errors:ratio_rate5m", "start": self.start})
        return {series["envoy_cluster_name"] for series in found}

    def rules(self, kind):
        """The rules, which record or alert."""
        return [rule for group in self.get("rules", type=kind)["groups"] for rule in group["rules"]]


@dataclasses.dataclass
class Platform:
    """Envoys with the same stats names, their sidecar, and their own Prometheus.

    `llms` are the names of the LLMs' clusters there. A query that contains one of `without` has no data there, and one
    that contains one of `zero` may have only zeros: docs/observability.md says why.
    """

    name: str
    envoys: list[dict]
    sidecar: dict
    llms: set[str]
    without: tuple[str, ...] = ()
    zero: tuple[str, ...] = ()
    prometheus: Prometheus | None = None
    # The origin of each query that has no data yet, with the query.
    missing: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    port: int = dataclasses.field(init=False)

    def __post_init__(self):
        self.port = reserve_ports([self.name])[self.name]

    def expect(self, wanted):
        """Expects data for these queries, each with its origin."""
        self.missing = [each for each in wanted if not any(part in each[1] for part in self.without)]

    def problems(self):
        """Queries without data, or with only zeros although the test causes what they count."""
        self.missing = [each for each in self.missing if self._is_missing(each[1])]
        yield from (f"{self.name}: no data, or only zeros: {source}: {query}" for source, query in self.missing)
        if (found := self.prometheus.llms()) != self.llms:
            yield f"{self.name}: the LLMs are {found} and not {self.llms}"

    def _is_missing(self, query):
        values = self.prometheus.values(query)
        return not values or (max(values) <= 0 and not any(part in query for part in (*MAY_BE_ZERO, *self.zero)))
