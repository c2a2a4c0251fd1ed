"""The second half of scripts/test-observability: drives traffic through Envoy and the sidecar, and asks Prometheus for all that
the dashboard and the rules ask for."""

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
from processes import REPO, DemoError, Processes, free_ports, is_ready, replaced, run_as_test

BINARIES = REPO / "target" / "release"
TRAFFIC_SECONDS = 20
# What `$__rate_interval` is to Grafana.
RATE_INTERVAL = "10s"
# The test does not bring these about: a crash, a queue, a file that is not valid. They must have data, which may be zero.
MAY_BE_ZERO = ("queue_depth", "body_bytes", "padding_tokens", "deadline_exceeded", "lds_update_rejected", "reloads_total",
               "vm_reload", "overload:")

PROMPTS = ("Write a Python function that adds {} numbers.", "Hi there, I am number {}!",
           "Why do {} stars shine at night?", "Write a story about {} whales.")


def with_ports(text, ports):
    return re.sub(r"port_value: (\d+)", lambda found: f"port_value: {ports[int(found[1])]}", text)


class Setup:
    """All processes, on free ports, with what we ship as their configuration."""

    def __init__(self, processes, work):
        self.processes, self.work = processes, work
        self.ports = free_ports([8001, 8002, 8003, 9091, 9901, 10000, 50051, "prometheus"])
        # It has no traffic; a policy that is not valid comes to it later.
        self.refusing = {**self.ports, **free_ports([9901, 10000])}
        # Its stats have no labels, as those of gateways whose bootstrap is not ours.
        self.unlabelled = {**self.ports, **free_ports([9901, 10000])}

    def start(self):
        # Not llama-70b, who therefore fails, and for whom another stands in.
        for name, port in (("llama-8b", 8001), ("nemotron", 8003)):
            self._start(name, BINARIES / "llm-stand-in", "--name", name, "--listen", f"127.0.0.1:{self.ports[port]}")
        listen = ("--listen", f"127.0.0.1:{self.ports[50051]}", "--admin", f"127.0.0.1:{self.ports[9091]}")
        self._start("sidecar", BINARIES / "llm-router-sidecar", "serve", "--model", "models/minilm", *listen)
        bootstrap = (REPO / "envoy/failover.yaml").read_text()
        self._start_envoy("envoy", with_ports(bootstrap, self.ports))
        without = re.sub(r"^stats_config:\n(?: .*\n)+", "", bootstrap, flags=re.M)
        self._start_envoy("unlabelled-envoy", with_ports(without, self.unlabelled))
        for file in (REPO / "envoy/dynamic").iterdir():
            text = with_ports(file.read_text(), self.refusing).replace("envoy/dynamic/", f"{self.work}/")
            (self.work / file.name).write_text(text)
        self._start_envoy("refusing-envoy", (self.work / "bootstrap.yaml").read_text())
        self._start_prometheus()
        self._wait("sidecar", self.ports[9091], "/readyz")
        self._wait("envoy", self.ports[9901], "/ready")
        self._wait("refusing-envoy", self.refusing[9901], "/ready")
        self._wait("unlabelled-envoy", self.unlabelled[9901], "/ready")
        self._wait("prometheus", self.ports["prometheus"], "/-/ready")

    def refuse_a_policy(self, number):
        policy = with_ports((REPO / "envoy/dynamic/policy.yaml").read_text(), self.refusing)
        text = replaced(policy, "default_policy: task_router", f"default_policy: nope-{number}")
        (self.work / "new").write_text(text)
        # Envoy looks for nothing but a move.
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
        envoys = ", ".join(f"127.0.0.1:{ports[9901]}" for ports in (self.ports, self.refusing, self.unlabelled))
        text = replaced(replaced(text, "envoy:9901", envoys), "sidecar:9091", f"127.0.0.1:{self.ports[9091]}")
        (self.work / "prometheus.yml").write_text(text)
        shutil.copy(OBSERVABILITY / "rules.yaml", self.work)
        self._start("prometheus", "prometheus", f"--config.file={self.work}/prometheus.yml",
                    f"--storage.tsdb.path={self.work}/data", f"--web.listen-address=127.0.0.1:{self.ports['prometheus']}")

    def _wait(self, name, port, path):
        self.processes.wait_ready(f"observability-{name}", lambda: is_ready(port, path))


class Gateway:
    """Sends prompts, and counts what comes back by status."""

    def __init__(self, port):
        self.port, self.statuses = port, {}

    def send(self, body, **headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        body = body if isinstance(body, str) else json.dumps(body)
        connection.request("POST", "/v1/chat/completions", body, {"content-type": "application/json", **headers})
        answer = connection.getresponse()
        answer.read()
        connection.close()
        self.statuses[answer.status] = self.statuses.get(answer.status, 0) + 1

    def send_one_of_each(self, number):
        prompts = [prompt.format(number) for prompt in PROMPTS] + [PROMPTS[0].format("two")]
        for prompt in prompts:
            stream = {"stream": True, "stream_options": {"include_usage": True}} if number % 2 else {}
            self.send({"model": "auto", "messages": [{"role": "user", "content": prompt}], **stream})
        self.send({"model": "nemotron", "messages": [{"role": "user", "content": "Hi"}]})
        self.send("not JSON")
        self.send({"model": "auto", "messages": [{"role": "user", "content": "Hi"}]}, **{"x-llm-policy": "nope"})


def drive(setup):
    gateway, unlabelled = Gateway(setup.ports[10000]), Gateway(setup.unlabelled[10000])
    end = time.monotonic() + TRAFFIC_SECONDS
    for number in itertools.count():
        if time.monotonic() > end:
            break
        gateway.send_one_of_each(number)
        unlabelled.send_one_of_each(number)
        # Not once only: it may come before Prometheus has looked for the first time.
        if number % 3 == 2:
            setup.refuse_a_policy(number)
        if number % 4 == 3:
            with setup.processes.stopped("observability-sidecar"):
                gateway.send({"model": "auto", "messages": [{"role": "user", "content": f"Nobody hears {number}"}]})
    return gateway.statuses


class Prometheus:
    """Asks for the time of the test."""

    def __init__(self, port):
        self.port, self.start = port, time.time()

    def get(self, path, **parameters):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request("GET", f"/api/v1/{path}?{urllib.parse.urlencode(parameters)}")
        answer = json.loads(connection.getresponse().read())
        connection.close()
        if answer["status"] != "success":
            raise DemoError(f"Prometheus: {answer['error']}\n{parameters}")
        return answer["data"]

    def values(self, query):
        """All numbers that a query had in the time of the test."""
        found = self.get("query_range", query=query, start=self.start, end=time.time(), step=1)["result"]
        numbers = (float(value) for series in found for _, value in series["values"])
        return [number for number in numbers if not math.isnan(number)]

    def metrics(self):
        """The names of our metrics, histograms by theirs."""
        names = self.get("label/__name__/values")
        return {re.sub("_(bucket|sum|count)$", "", name) for name in names if name.startswith("llmrouter_")}

    def labels(self, port):
        """Our metrics of one Envoy, with the names of their labels, and one of its models by its name there."""
        series = self.get("series", **{"match[]": f'{{__name__=~"llmrouter_.+", instance="127.0.0.1:{port}"}}'})
        return {(one["__name__"], *sorted(one)) for one in series}, {one.get("llm_model") for one in series}

    def recorded(self):
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
    page = (REPO / "docs/observability.md").read_text()
    if missing := [name for name in names if f"`{name}" not in page]:
        raise DemoError(f"docs/observability.md has no {', '.join(missing)}")


def missing_data(prometheus):
    """What has no data: the problem, by query."""
    asked = [(panel, query.replace("$__rate_interval", RATE_INTERVAL)) for panel, query in queries()]
    asked += [("recording rule", name) for name in prometheus.recorded()]
    for panel, query in asked:
        values = prometheus.values(query)
        if not values:
            yield f"no data: {panel}: {query}"
        elif max(values) <= 0 and not any(part in query for part in MAY_BE_ZERO):
            yield f"zero all the time: {panel}: {query}"
    print(f"asked Prometheus for {len(asked)} queries")


def check_labels(prometheus, setup):
    """Prometheus makes the labels that an Envoy does not."""
    (expected, models), (found, others) = (prometheus.labels(ports[9901]) for ports in (setup.ports, setup.unlabelled))
    if not expected or found != expected:
        raise DemoError(f"without stats_tags: missing {expected - found}, too many {found - expected}")
    if {model.replace("-", "_") for model in models if model} != {model for model in others if model}:
        raise DemoError(f"without stats_tags, models are {others} and not {models}")


def run():
    check_layout()
    made = subprocess.run([OBSERVABILITY / "dashboard.py"], check=True, capture_output=True, text=True).stdout
    if made != (OBSERVABILITY / "dashboard.json").read_text():
        raise DemoError("deploy/observability/dashboard.json is not what deploy/observability/dashboard.py writes")
    check_rules()
    with tempfile.TemporaryDirectory() as folder, Processes() as processes:
        setup = Setup(processes, pathlib.Path(folder))
        setup.start()
        prometheus = Prometheus(setup.ports["prometheus"])
        statuses = drive(setup)
        # Envoy's histograms come with its next flush, and the next scrape.
        time.sleep(6)
        print(f"answers by status: {statuses}")
        problems = list(missing_data(prometheus))
        check_labels(prometheus, setup)
        check_docs(name for name in prometheus.metrics() if ":" not in name)
    if problems:
        raise DemoError("\n".join(problems))


if __name__ == "__main__":
    sys.exit(run_as_test(run))
