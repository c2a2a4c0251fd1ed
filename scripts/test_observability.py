"""The second half of scripts/test-observability: checks that the dashboard and the rules find data.

Drives traffic through Envoys and sidecars, and asks a real Prometheus every query of the dashboard, every recording
rule, and what the alerts read: once for our bootstraps, and once for each platform that names stats otherwise.

usage: test_observability.py ISTIO_BOOTSTRAP

  ISTIO_BOOTSTRAP   the bootstrap that Istio gives the Envoys of our Gateway
"""

import http.client
import itertools
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

from check_dashboard import OBSERVABILITY, check_layout, queries
from observed_envoys import (
    ENVOY_GATEWAY_STAT_NAMES,
    ISTIO_STATS_PORT,
    LLMS,
    as_envoy_gateway,
    as_istio,
    istio_stat_name,
)
from observed_platforms import Platform, Prometheus
from processes import REPO, DemoError, Processes, is_ready, replaced, reserve_ports, run_as_test

BINARIES = REPO / "target" / "release"
# How long traffic goes on at most, until everything has data.
LIMIT_SECONDS = 90
# What `$__rate_interval` is for Grafana.
RATE_INTERVAL = "10s"
# Without our filter in Envoy there is no fallback to other models, no Wasm, and no policy that Envoy could reject.
NOT_IN_NATIVE_MODE = ("failovers", "vm_reload", "extension_config_discovery")
# In native mode, a sidecar that does not respond does not count its failures either.
NOT_CAUSED_IN_NATIVE_MODE = ('outcome="failed"', "unclassified")

PROMPTS = (
    "Write a Python function that adds {} numbers.",
    "Hi there, I am number {}!",
    "Why do {} stars shine at night?",
    "Write a story about {} whales.",
)


def with_ports(text, ports):
    """A bootstrap with other ports than the shipped ones."""
    return re.sub(r"port_value: (\d+)", lambda found: f"port_value: {ports[int(found[1])]}", text)


def with_candidate(text):
    """A policy with a candidate that is compared with it."""
    candidate = "by_domain: { classifier: domain, routes: { computer science: nemotron }, default: llama-8b }"
    changed = rf"\1{candidate}\n\1task_router:\n\1  candidate: by_domain\n"
    text, count = re.subn(r"^( +)task_router:\n", changed, text, flags=re.MULTILINE)
    if count != 1:
        raise DemoError(f"{count} policies task_router, and not one")
    return text


class Setup:
    """All processes, on free ports, with the shipped configuration."""

    def __init__(self, processes, work, istio):
        self.processes, self.work, self.istio = processes, work, istio
        ports = reserve_ports([8001, 8002, 8003, 9091, 50051])
        self.ports = self._envoy(ports)
        # These get no traffic, only invalid policies, which they reject.
        self.rejecting, self.istio_rejecting = self._envoy(ports), self._envoy(ports)
        # Has the dynamic module, whose stats have labels by themselves.
        self.module = self._envoy(ports)
        self.on_istio, self.on_envoy_gateway = self._envoy(ports), self._envoy(ports)
        # Has no filter of ours: its own sidecar decides, and counts.
        self.native = self._envoy({**ports, **reserve_ports([9091, 50051])})
        istio = {istio_stat_name(llm).rstrip(";") for llm in LLMS}
        rules = {ENVOY_GATEWAY_STAT_NAMES[llm] for llm in LLMS}
        self.platforms = [
            Platform("bootstraps", [self.ports, self.rejecting, self.module], self.ports, set(LLMS)),
            Platform("istio", [self.on_istio, self.istio_rejecting], self.ports, istio),
            # There, the policy comes with the listener.
            Platform("envoy-gateway", [self.on_envoy_gateway], self.ports, rules, ("extension_config_discovery",)),
            Platform("native", [self.native], self.native, rules, NOT_IN_NATIVE_MODE, NOT_CAUSED_IN_NATIVE_MODE),
        ]

    def serving(self):
        """The ports of the Envoys that get traffic."""
        return self.ports, self.module, self.on_istio, self.on_envoy_gateway, self.native

    @staticmethod
    def _envoy(ports):
        return {**ports, **reserve_ports([9901, 10000, ISTIO_STATS_PORT])}

    def start(self):
        """Starts all processes and waits until they are ready."""
        # llama-70b is missing: requests to it fail over to another model.
        for name, port in (("llama-8b", 8001), ("nemotron", 8003)):
            self._start(name, BINARIES / "mock-llm", "--name", name, "--listen", f"127.0.0.1:{self.ports[port]}")
        self._start_sidecar("sidecar", self.ports)
        policy = self.work / "native-policy.yaml"
        policy.write_text(with_candidate((REPO / "envoy/policy.yaml").read_text()))
        self._start_sidecar("native-sidecar", self.native, "--policy", policy)
        bootstrap = with_candidate((REPO / "envoy/failover.yaml").read_text())
        self._start_envoy("envoy", bootstrap, self.ports)
        self._start_envoy("istio-envoy", as_istio(bootstrap, self.istio), self.on_istio)
        listeners = self.work / "listeners.yaml"
        listeners.write_text("resources: []\n")
        self._start_envoy("envoy-gateway-envoy", as_envoy_gateway(bootstrap, listeners), self.on_envoy_gateway)
        module = with_candidate((REPO / "envoy/module-failover.yaml").read_text())
        self._start_envoy("module-envoy", module, self.module)
        native = replaced((REPO / "envoy/native.yaml").read_text(), "# response_body_mode", "response_body_mode")
        self._start_envoy("native-envoy", as_envoy_gateway(native, listeners), self.native)
        self._start_rejecting("rejecting-envoy", lambda text: text, self.rejecting)
        self._start_rejecting("istio-rejecting-envoy", lambda text: as_istio(text, self.istio), self.istio_rejecting)
        for platform in self.platforms:
            self._start_prometheus(platform)
        self._wait("sidecar", self.ports[9091], "/readyz")
        self._wait("native-sidecar", self.native[9091], "/readyz")
        for platform in self.platforms:
            for ports in platform.envoys:
                self.processes.wait_ready(f"an Envoy of {platform.name}", lambda at=ports: is_ready(at[9901], "/ready"))
            self._wait(f"prometheus-{platform.name}", platform.port, "/-/ready")
            platform.prometheus = Prometheus(platform.port)

    def send_invalid_policy(self, number):
        """Gives the rejecting Envoys a policy that is invalid, and another one for each number."""
        for policy in self.work.glob("*/policy.yaml"):
            valid = policy.with_name("valid").read_text()
            text = replaced(valid, "default_policy: task_router", f"default_policy: nope-{number}")
            new = policy.with_name("new")
            new.write_text(text)
            # Envoy reads the file only when another one is moved over it.
            new.rename(policy)

    def _start(self, name, *command):
        self.processes.start(f"observability-{name}", *command)

    def _start_sidecar(self, name, ports, *options):
        listen = ("--listen", f"127.0.0.1:{ports[50051]}", "--admin", f"127.0.0.1:{ports[9091]}")
        self._start(name, BINARIES / "llm-router-sidecar", "serve", "--model", "models/e5", *options, *listen)

    def _start_envoy(self, name, bootstrap, ports):
        path = self.work / f"{name}.yaml"
        path.write_text(with_ports(bootstrap, ports))
        options = ("--use-dynamic-base-id", "--concurrency", "1", "--log-level", "warning")
        self._start(name, pathlib.Path(sys.executable).parent / "envoy", "-c", path, *options)

    def _start_rejecting(self, name, changed, ports):
        folder = self.work / name
        folder.mkdir()
        texts = {file.name: changed(file.read_text()) for file in (REPO / "envoy/dynamic").iterdir()}
        texts = {file: text.replace("envoy/dynamic/", f"{folder}/") for file, text in texts.items()}
        bootstrap = texts.pop("bootstrap.yaml")
        for file, text in texts.items():
            (folder / file).write_text(with_ports(text, ports))
        shutil.copy(folder / "policy.yaml", folder / "valid")
        self._start_envoy(name, bootstrap, ports)

    def _start_prometheus(self, platform):
        text = (OBSERVABILITY / "prometheus.yml").read_text().replace("15s", "1s")
        port = ISTIO_STATS_PORT if platform.name == "istio" else 9901
        envoys = ", ".join(f"127.0.0.1:{ports[port]}" for ports in platform.envoys)
        sidecar = f"127.0.0.1:{platform.sidecar[9091]}"
        text = replaced(replaced(text, "envoy:9901", envoys), "sidecar:9091", sidecar)
        folder = self.work / f"prometheus-{platform.name}"
        folder.mkdir()
        (folder / "prometheus.yml").write_text(text)
        shutil.copy(OBSERVABILITY / "rules.yaml", folder)
        self._start(
            folder.name,
            "prometheus",
            f"--config.file={folder}/prometheus.yml",
            f"--storage.tsdb.path={folder}/data",
            f"--web.listen-address=127.0.0.1:{platform.port}",
        )

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
    """Every query of the dashboard, every recording rule and each metric of an alert, with where it is from."""
    panels = [(panel, query.replace("$__rate_interval", RATE_INTERVAL)) for panel, query in queries()]
    recorded = [("recording rule", rule["name"]) for rule in prometheus.rules("record")]
    alerts = [(rule["name"], metric) for rule in prometheus.rules("alert") for metric in metrics_of(rule["query"])]
    return panels + recorded + alerts


def metrics_of(expression):
    """The metrics of an expression, with their labels."""
    return re.findall(r"(?<![a-z_:])(?:llm_?router|envoy|up)(?:[a-z_:0-9]+)?(?:\{[^}]*\})?", expression)


def label_problems(setup):
    """Where labels differ from those of the shipped stats_tags: the module's, and those that Prometheus makes."""
    bootstraps, istio, envoy_gateway, _ = setup.platforms
    expected, models = bootstraps.prometheus.labels(setup.ports[9901])
    if not expected:
        yield "no metrics of our bootstraps"
    found, others = bootstraps.prometheus.labels(setup.module[9901])
    if found != expected or models != others:
        yield f"module: missing {expected - found}, too many {found - expected}; models are {others} and not {models}"
    for platform, port in (istio, setup.on_istio[ISTIO_STATS_PORT]), (envoy_gateway, setup.on_envoy_gateway[9901]):
        found, others = platform.prometheus.labels(port)
        if found != expected:
            yield f"{platform.name}: missing {expected - found}, too many {found - expected}"
        if {model.replace("-", "_") for model in models if model} != {model for model in others if model}:
            yield f"{platform.name}: models are {others} and not {models}"


def drive(setup):
    """Sends traffic until every query has data, and all Envoys the same labels."""
    wanted = all_queries(setup.platforms[0].prometheus)
    for platform in setup.platforms:
        platform.expect(wanted)
        print(f"{platform.name}: {len(platform.missing)} queries")
    gateways = [Gateway(ports[10000]) for ports in setup.serving()]
    end = time.monotonic() + LIMIT_SECONDS
    for number in itertools.count():
        for gateway in gateways:
            gateway.send_one_of_each(number)
        # More than once, because Prometheus sees an increase only after its first scrape of a counter.
        if number % 3 == 2:
            setup.send_invalid_policy(number)
        if number % 4 == 3:
            send_without_sidecars(setup, gateways, number)
        if number % 10 == 9:
            found = [problem for platform in setup.platforms for problem in platform.problems()]
            found += label_problems(setup)
            if not found:
                print(f"all have data; responses by status: {gateways[0].statuses}")
                return
            if time.monotonic() > end:
                raise DemoError("\n".join(found))


def send_without_sidecars(setup, gateways, number):
    """Sends requests that the sidecars do not classify in time."""
    body = {"model": "auto", "messages": [{"role": "user", "content": f"No response to {number}"}]}
    with setup.processes.stopped("observability-sidecar"), setup.processes.stopped("observability-native-sidecar"):
        for gateway in gateways:
            gateway.send(body)


def run():
    """Runs the whole test."""
    check_layout()
    dashboard = subprocess.run([OBSERVABILITY / "dashboard.py"], check=True, capture_output=True, text=True).stdout
    if dashboard != (OBSERVABILITY / "dashboard.json").read_text():
        raise DemoError("deploy/observability/dashboard.json is not what deploy/observability/dashboard.py writes")
    check_rules()
    with tempfile.TemporaryDirectory() as folder, Processes() as processes:
        setup = Setup(processes, pathlib.Path(folder), json.loads(pathlib.Path(sys.argv[1]).read_text()))
        setup.start()
        drive(setup)
        check_docs(name for name in setup.platforms[0].prometheus.metrics() if ":" not in name)


if __name__ == "__main__":
    sys.exit(run_as_test(run))
