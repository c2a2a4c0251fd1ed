"""The second half of scripts/test-observability: checks that the dashboard and the rules find data.

Drives traffic through Envoy and the sidecar, and asks a real Prometheus every query of the dashboard and every
recording rule.
"""

import http.client
import itertools
import json
import math
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.parse

from check_dashboard import OBSERVABILITY, check_layout, queries
from processes import REPO, DemoError, Processes, is_ready, replaced, reserve_ports, run_as_test

BINARIES = REPO / "target" / "release"
# How long traffic goes on at most, until everything has data.
LIMIT_SECONDS = 90
# What `$__rate_interval` is for Grafana.
RATE_INTERVAL = "10s"
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

PROMPTS = (
    "Write a Python function that adds {} numbers.",
    "Hi there, I am number {}!",
    "Why do {} stars shine at night?",
    "Write a story about {} whales.",
)


def with_ports(text, ports):
    """A bootstrap with other ports than the shipped ones."""
    return re.sub(r"port_value: (\d+)", lambda found: f"port_value: {ports[int(found[1])]}", text)


class Setup:
    """All processes, on free ports, with the shipped configuration."""

    def __init__(self, processes, work):
        self.processes, self.work = processes, work
        self.ports = reserve_ports([8001, 8002, 8003, 9091, 9901, 10000, 50051, "prometheus"])
        # Gets no traffic, but invalid policies, which it rejects.
        self.rejecting = {**self.ports, **reserve_ports([9901, 10000])}
        # Its stats have no labels, like those of gateways with a bootstrap of their own.
        self.unlabelled = {**self.ports, **reserve_ports([9901, 10000])}
        # Has the dynamic module, whose stats have labels by themselves.
        self.module = {**self.ports, **reserve_ports([9901, 10000])}

    def start(self):
        """Starts all processes and waits until they are ready."""
        # llama-70b is missing: requests to it fail over to another model.
        for name, port in (("llama-8b", 8001), ("nemotron", 8003)):
            self._start(name, BINARIES / "mock-llm", "--name", name, "--listen", f"127.0.0.1:{self.ports[port]}")
        listen = ("--listen", f"127.0.0.1:{self.ports[50051]}", "--admin", f"127.0.0.1:{self.ports[9091]}")
        self._start("sidecar", BINARIES / "llm-router-sidecar", "serve", "--model", "models/minilm", *listen)
        bootstrap = (REPO / "envoy/failover.yaml").read_text()
        self._start_envoy("envoy", with_ports(bootstrap, self.ports))
        without = re.sub(r"^stats_config:\n(?: .*\n)+", "", bootstrap, flags=re.MULTILINE)
        self._start_envoy("unlabelled-envoy", with_ports(without, self.unlabelled))
        module = (REPO / "envoy/module-failover.yaml").read_text()
        self._start_envoy("module-envoy", with_ports(module, self.module))
        for file in (REPO / "envoy/dynamic").iterdir():
            text = with_ports(file.read_text(), self.rejecting).replace("envoy/dynamic/", f"{self.work}/")
            (self.work / file.name).write_text(text)
        self._start_envoy("rejecting-envoy", (self.work / "bootstrap.yaml").read_text())
        self._start_prometheus()
        self._wait("sidecar", self.ports[9091], "/readyz")
        self._wait("envoy", self.ports[9901], "/ready")
        self._wait("rejecting-envoy", self.rejecting[9901], "/ready")
        self._wait("unlabelled-envoy", self.unlabelled[9901], "/ready")
        self._wait("module-envoy", self.module[9901], "/ready")
        self._wait("prometheus", self.ports["prometheus"], "/-/ready")

    def send_invalid_policy(self, number):
        """Gives the rejecting Envoy a policy that is invalid, and another one for each number."""
        policy = with_ports((REPO / "envoy/dynamic/policy.yaml").read_text(), self.rejecting)
        text = replaced(policy, "default_policy: task_router", f"default_policy: nope-{number}")
        (self.work / "new").write_text(text)
        # Envoy reads the file only when another one is moved over it.
        (self.work / "new").rename(self.work / "policy.yaml")

    def _start(self, name, *command):
        self.processes.start(f"observability-{name}", *command)

    def _start_envoy(self, name, bootstrap):
        path = self.work / f"{name}.yaml"
        path.write_text(bootstrap)
        options = ("--use-dynamic-base-id", "--concurrency", "1", "--log-level", "warning")
        self._start(name, pathlib.Path(sys.executable).parent / "envoy", "-c", path, *options)

    def _start_prometheus(self):
        text = (OBSERVABILITY / "prometheus.yml").read_text().replace("15s", "1s")
        envoys = ", ".join(f"127.0.0.1:{ports[9901]}" for ports in self._all_ports())
        text = replaced(replaced(text, "envoy:9901", envoys), "sidecar:9091", f"127.0.0.1:{self.ports[9091]}")
        (self.work / "prometheus.yml").write_text(text)
        shutil.copy(OBSERVABILITY / "rules.yaml", self.work)
        self._start(
            "prometheus",
            "prometheus",
            f"--config.file={self.work}/prometheus.yml",
            f"--storage.tsdb.path={self.work}/data",
            f"--web.listen-address=127.0.0.1:{self.ports['prometheus']}",
        )

    def _all_ports(self):
        return self.ports, self.rejecting, self.unlabelled, self.module

    def _wait(self, name, port, path):
        self.processes.wait_ready(f"observability-{name}", lambda: is_ready(port, path))


class Gateway:
    """Sends prompts, and counts the responses by status."""

    def __init__(self, port):
        self.port, self.statuses = port, {}

    def send(self, body, **headers):
        """Sends one request."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        body = body if isinstance(body, str) else json.dumps(body)
        connection.request("POST", "/v1/chat/completions", body, {"content-type": "application/json", **headers})
        response = connection.getresponse()
        response.read()
        connection.close()
        self.statuses[response.status] = self.statuses.get(response.status, 0) + 1

    def send_one_of_each(self, number):
        """Sends a request of each kind, with prompts that depend on the number."""
        prompts = [prompt.format(number) for prompt in PROMPTS] + [PROMPTS[0].format("two")]
        for prompt in prompts:
            stream = {"stream": True, "stream_options": {"include_usage": True}} if number % 2 else {}
            self.send({"model": "auto", "messages": [{"role": "user", "content": prompt}], **stream})
        self.send({"model": "nemotron", "messages": [{"role": "user", "content": "Hi"}]})
        self.send("not JSON")
        self.send({"model": "auto", "messages": [{"role": "user", "content": "Hi"}]}, **{"x-llm-policy": "nope"})


class Prometheus:
    """Asks about the time since this object was made."""

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
        return {re.sub("_(bucket|sum|count)$", "", name) for name in names if name.startswith("llmrouter_")}

    def labels(self, port):
        """The router's metrics of one Envoy with the names of their labels, and the models in them."""
        series = self.get("series", **{"match[]": f'{{__name__=~"llmrouter_.+", instance="127.0.0.1:{port}"}}'})
        return {(one["__name__"], *sorted(one)) for one in series}, {one.get("llm_model") for one in series}

    def recorded(self):
        """The names of the recording rules."""
        rules = (rule for group in self.get("rules", type="record")["groups"] for rule in group["rules"])
        return [rule["name"] for rule in rules]


def check_rules():
    """Each rule has a unit test, and each alert a line in the docs."""
    rules = re.findall(r"(record|alert): (\S+)", (OBSERVABILITY / "rules.yaml").read_text())
    tests = (OBSERVABILITY / "rules_test.yaml").read_text()
    if missing := [name for _, name in rules if name not in tests]:
        raise DemoError(f"deploy/observability/rules_test.yaml has no test of {', '.join(missing)}")
    check_docs(name for kind, name in rules if kind == "alert")


def check_docs(names):
    """The page on observability has each name."""
    page = (REPO / "docs/observability.md").read_text()
    if missing := [name for name in names if f"`{name}" not in page]:
        raise DemoError(f"docs/observability.md has no {', '.join(missing)}")


def all_queries(prometheus):
    """Every query of the dashboard and every recording rule, with where it is from."""
    panels = [(panel, query.replace("$__rate_interval", RATE_INTERVAL)) for panel, query in queries()]
    return panels + [("recording rule", name) for name in prometheus.recorded()]


def is_missing(prometheus, query):
    """Whether a query has no data, or only zeros although the test causes what it counts."""
    values = prometheus.values(query)
    return not values or (max(values) <= 0 and not any(part in query for part in MAY_BE_ZERO))


def label_problems(prometheus, setup):
    """Where labels differ from those of the shipped stats_tags: the module's, and those that Prometheus makes."""
    expected, models = prometheus.labels(setup.ports[9901])
    found, others = prometheus.labels(setup.module[9901])
    if found != expected or models != others:
        yield f"module: missing {expected - found}, too many {found - expected}; models are {others} and not {models}"
    found, others = prometheus.labels(setup.unlabelled[9901])
    if not expected or found != expected:
        yield f"without stats_tags: missing {expected - found}, too many {found - expected}"
    if {model.replace("-", "_") for model in models if model} != {model for model in others if model}:
        yield f"without stats_tags, models are {others} and not {models}"


def drive(setup, prometheus):
    """Sends traffic until every query has data, and both Envoys the same labels."""
    gateway, unlabelled = Gateway(setup.ports[10000]), Gateway(setup.unlabelled[10000])
    module = Gateway(setup.module[10000])
    end = time.monotonic() + LIMIT_SECONDS
    missing = all_queries(prometheus)
    print(f"{len(missing)} queries")
    for number in itertools.count():
        gateway.send_one_of_each(number)
        unlabelled.send_one_of_each(number)
        module.send_one_of_each(number)
        # More than once: Prometheus sees a counter rise only after its first look at it.
        if number % 3 == 2:
            setup.send_invalid_policy(number)
        if number % 4 == 3:
            with setup.processes.stopped("observability-sidecar"):
                gateway.send({"model": "auto", "messages": [{"role": "user", "content": f"No response to {number}"}]})
        if number % 10 == 9:
            missing = [(panel, query) for panel, query in missing if is_missing(prometheus, query)]
            problems = [f"no data, or only zeros: {panel}: {query}" for panel, query in missing]
            problems += label_problems(prometheus, setup)
            if not problems:
                print(f"all have data; responses by status: {gateway.statuses}")
                return
            if time.monotonic() > end:
                raise DemoError("\n".join(problems))


def run():
    """Runs the whole test."""
    check_layout()
    dashboard = subprocess.run([OBSERVABILITY / "dashboard.py"], check=True, capture_output=True, text=True).stdout
    if dashboard != (OBSERVABILITY / "dashboard.json").read_text():
        raise DemoError("deploy/observability/dashboard.json is not what deploy/observability/dashboard.py writes")
    check_rules()
    with tempfile.TemporaryDirectory() as folder, Processes() as processes:
        setup = Setup(processes, pathlib.Path(folder))
        setup.start()
        prometheus = Prometheus(setup.ports["prometheus"])
        drive(setup, prometheus)
        check_docs(name for name in prometheus.metrics() if ":" not in name)


if __name__ == "__main__":
    sys.exit(run_as_test(run))
