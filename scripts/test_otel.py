"""The second half of scripts/test-otel: sends requests, and compares the collector's exports with the counts.

usage: test_otel.py COLLECTOR
"""

import collections
import http.server
import json
import pathlib
import re
import sys
import tempfile
import textwrap
import threading
import time

from check_dashboard import OBSERVABILITY
from observed_envoys import as_envoy_gateway
from processes import REPO, DemoError, Processes, is_ready, replaced, reserve_ports, run_as_test
from test_observability import BINARIES, Gateway, with_ports

LIMIT_SECONDS = 60
REQUESTS = 6
INPUT = "gen_ai.client.inference.usage.input_tokens"
OUTPUT = "gen_ai.client.inference.usage.output_tokens"
FIRST_CHUNK = "gen_ai.client.inference.time_to_first_chunk"
# The attributes of each metric, apart from the model.
ATTRIBUTES = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai"}
TOKENS = {**ATTRIBUTES, "gen_ai.token.modality": "unknown"}
USAGE = ("gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens")
EXPECTED = {INPUT: ("{token}", TOKENS), OUTPUT: ("{token}", TOKENS), FIRST_CHUNK: ("s", ATTRIBUTES)}
MODELS = ("llama-8b", "nemotron")
# Envoy's format strings for the decision of each host.
DECISIONS = {
    "wasm": r"%FILTER_STATE(wasm.llm_router.\1:PLAIN)%",
    "module": r"%FILTER_STATE(llm_router.\1:PLAIN)%",
    "native": r"%DYNAMIC_METADATA(llm_router:decision:\1)%",
}
OWN_TAGS = ("gen_ai.", "llm_router.")
COLLECTOR_CLUSTER = """\
  - name: otel-collector
    connect_timeout: 1s
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: { http2_protocol_options: {} }
    load_assignment:
      cluster_name: otel-collector
      endpoints:
      - lb_endpoints: [{ endpoint: { address: { socket_address: { address: 127.0.0.1, port_value: %d } } } }]
"""


class Backend(http.server.ThreadingHTTPServer):
    """Receives OTLP as JSON, and keeps the spans and the last value of each metric of each instance."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Receiver)
        self.metrics = collections.defaultdict(dict)
        # The attributes of each span, by its service.
        self.spans = collections.defaultdict(list)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def take(self, request):
        """Stores the contents of one export."""
        for resource in request.get("resourceSpans", ()):
            service = attributes(resource["resource"])["service.name"]
            self.spans[service] += [attributes(span) for scope in resource["scopeSpans"] for span in scope["spans"]]
        for resource in request.get("resourceMetrics", ()):
            instance = attributes(resource["resource"])["service.instance.id"]
            newest = collections.defaultdict(list)
            for metric in (metric for scope in resource["scopeMetrics"] for metric in scope["metrics"]):
                newest[metric["name"]].append(metric)
            self.metrics[instance].update(newest)


class Receiver(http.server.BaseHTTPRequestHandler):
    """Passes requests to the backend."""

    def do_POST(self):
        """Receives one export."""
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.take(json.loads(body))
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_):
        """Keeps the output of the test readable."""


def attributes(holder):
    """The attributes of a resource, a data point or a span."""
    return {each["key"]: value_of(**each["value"]) for each in holder.get("attributes", ())}


def value_of(stringValue=None, intValue=None, **others):  # noqa: N803, as in OTLP
    """The value of an attribute. JSON has integers as text."""
    return int(intValue) if intValue is not None else next(iter(others.values()), stringValue)


def points(metric):
    """The data points of a counter or a histogram, by model, with their other attributes."""
    for point in (metric.get("sum") or metric.get("histogram") or {"dataPoints": ()})["dataPoints"]:
        labels = attributes(point)
        yield labels.pop("gen_ai.request.model", None), labels, point


class Setup:
    """LLMs, sidecars, Envoys and the collector, on free ports."""

    def __init__(self, processes, work, collector):
        self.processes, self.work, self.collector = processes, work, collector
        self.backend = Backend()
        llms = reserve_ports([8001, 8002, 8003])
        self.sidecar = reserve_ports([9091, 50051])
        self.collector_port = reserve_ports(["collector"])["collector"]
        native = {**llms, **self.sidecar}
        # The names of Envoys, with their bootstrap and ports.
        self.envoys = {
            "wasm": (self._traced("wasm", "envoy/wasm.yaml"), self._envoy(native)),
            "module": (self._traced("module", "envoy/module.yaml"), self._envoy(native)),
            "unlabelled": (self._unlabelled(), self._envoy(native)),
            "native": (self._traced("native", "envoy/native.yaml"), self._envoy(native)),
        }
        self.llms = llms

    @staticmethod
    def _envoy(ports):
        return {**ports, **reserve_ports([9901, 10000])}

    def _traced(self, name, file):
        """Adds the tracing of docs/opentelemetry.md, with the page's replacement of the Wasm filter's filter state."""
        page = (REPO / "docs/opentelemetry.md").read_text()
        tracing = textwrap.indent(re.search(r"```yaml\n(tracing:.*?)```", page, re.DOTALL)[1], " " * 10)
        tracing = replaced(tracing, "service_name: llm-gateway", f"service_name: {name}")
        tracing = re.sub(r"%FILTER_STATE\(wasm\.llm_router\.(\w+):PLAIN\)%", DECISIONS[name], tracing)
        before = "          stat_prefix: gateway\n"
        bootstrap = replaced((REPO / file).read_text(), before, f"{before}{tracing}")
        bootstrap = bootstrap.replace("# response_body_mode", "response_body_mode")
        return replaced(bootstrap, "  clusters:\n", f"  clusters:\n{COLLECTOR_CLUSTER % self.collector_port}")

    def _unlabelled(self):
        listeners = self.work / "listeners.yaml"
        listeners.write_text("resources: []\n")
        return as_envoy_gateway((REPO / "envoy/wasm.yaml").read_text(), listeners)

    def start(self):
        """Starts all processes and waits until they are ready."""
        for name, port in (("llama-8b", 8001), ("llama-70b", 8002), ("nemotron", 8003)):
            self._start(name, BINARIES / "mock-llm", "--name", name, "--listen", f"127.0.0.1:{self.llms[port]}")
        listen = ("--listen", f"127.0.0.1:{self.sidecar[50051]}", "--admin", f"127.0.0.1:{self.sidecar[9091]}")
        options = ("--model", "models/e5", "--policy", "envoy/policy.yaml", *listen)
        endpoint = f"OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:{self.collector_port}"
        self._start("sidecar", "env", endpoint, BINARIES / "llm-router-sidecar", "serve", *options)
        for name, (bootstrap, ports) in self.envoys.items():
            path = self.work / f"{name}.yaml"
            path.write_text(with_ports(bootstrap, {**ports, self.collector_port: self.collector_port}))
            options = ("--use-dynamic-base-id", "--concurrency", "1", "--log-level", "warning")
            self._start(name, pathlib.Path(sys.executable).parent / "envoy", "-c", path, *options)
        self._start_collector()
        self.processes.wait_ready("otel-sidecar", lambda: is_ready(self.sidecar[9091], "/readyz"))
        for name, (_, ports) in self.envoys.items():
            self.processes.wait_ready(f"otel-{name}", lambda at=ports: is_ready(at[9901], "/ready"))

    def _start_collector(self):
        text = (OBSERVABILITY / "otel-collector.yaml").read_text()
        targets = ", ".join(self.instance(name) for name in self.envoys)
        text = replaced(replaced(text, "envoy:9901", targets), "sidecar:9091", self.instance("sidecar"))
        text = replaced(text, "scrape_interval: 15s", "scrape_interval: 1s")
        text = replaced(text, "0.0.0.0:4317", f"127.0.0.1:{self.collector_port}")
        # The test reads JSON.
        text = replaced(text, "  otlp_http:\n", "  otlp_http:\n    encoding: json\n    compression: none\n")
        # The port of its own metrics may be in use.
        text = replaced(text, "service:\n", "service:\n  telemetry: { metrics: { level: none } }\n")
        (self.work / "collector.yaml").write_text(text)
        endpoint = f"OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:{self.backend.server_address[1]}"
        self._start("collector", "env", endpoint, self.collector, "--config", self.work / "collector.yaml")

    def instance(self, name):
        """The name that Prometheus gives to a scraped instance."""
        port = self.sidecar[9091] if name == "sidecar" else self.envoys[name][1][9901]
        return f"127.0.0.1:{port}"

    def _start(self, name, *command):
        self.processes.start(f"otel-{name}", *command)


def send(gateway):
    """Sends streams to two models."""
    for model in MODELS:
        for number in range(REQUESTS):
            message = {"role": "user", "content": f"Request {number}"}
            stream = {"stream": True, "stream_options": {"include_usage": True}}
            gateway.send({"model": model, "messages": [message], **stream})
    if gateway.statuses != {200: REQUESTS * len(MODELS)}:
        raise DemoError(f"responses by status: {gateway.statuses}")


def span_problems(spans):
    """Differences between the spans of Envoys and the sidecar, and the requests."""
    if not any(span.get("gen_ai.operation.name") == "classify" for span in spans["llm-router-sidecar"]):
        yield f"spans of the sidecar: {spans['llm-router-sidecar']}"
    for host in DECISIONS:
        own = [{name: span[name] for name in span if name.startswith(OWN_TAGS)} for span in spans[host]]
        for model in MODELS:
            expected = {"gen_ai.request.model": model, "llm_router.reason": "manual", **ATTRIBUTES}
            found = [span for span in own if expected.items() <= span.items()]
            if len(found) < REQUESTS:
                yield f"{host}: spans of {model}: {own}"
            names = {*expected, *(USAGE if host != "native" else ())}
            for span in found:
                if set(span) != names or not all(isinstance(span[name], int) for name in USAGE if name in names):
                    yield f"{host}: span of {model}: {span}"


def problems(metrics, spelled):
    """Differences between an instance's metrics and the requests. `spelled` returns its spelling of a model's name."""
    for name, (unit, labels) in EXPECTED.items():
        found = {}
        for metric in metrics.get(name, ()):
            if metric.get("unit") != unit:
                yield f"{name}: unit {metric.get('unit')}"
            if name != FIRST_CHUNK and not metric.get("sum", {}).get("isMonotonic"):
                yield f"{name}: no counter: {sorted(metric)}"
            for model, others, point in points(metric):
                if others != labels:
                    yield f"{name}: attributes {others}"
                found[model] = point
        if set(found) != {spelled(model) for model in MODELS}:
            yield f"{name}: models {set(found)}"
            continue
        for model, point in found.items():
            yield from (f"{name} of {model}: {each}" for each in value_problems(name, point))
    if renamed := [name for name in metrics if re.search("put_tokens_total|time_to_first_token", name)]:
        yield f"old names {renamed}"
    if not any(name.endswith("requests_total") for name in metrics):
        yield f"no metrics without a convention: {sorted(metrics)}"


def value_problems(name, point):
    """Whether a data point agrees with the mock LLMs and the clock."""
    if name == FIRST_CHUNK:
        if int(point["count"]) != REQUESTS:
            yield f"{point['count']} streams"
        # On this machine it is less than a second. If it were in milliseconds, the sum would be hundreds.
        if not 0 <= point["sum"] < 10 or max(point["explicitBounds"]) > 4000:
            yield f"not seconds: {point}"
    elif point["asDouble"] < REQUESTS:
        yield f"{point['asDouble']} tokens"


def metric_problems(setup, sources):
    """Differences between the metrics of all instances and the requests."""
    for name, spelled in sources.items():
        metrics = setup.backend.metrics[setup.instance(name)]
        yield from (f"{name}: {problem}" for problem in problems(metrics, spelled))


def run():
    """Runs the whole test."""
    with tempfile.TemporaryDirectory() as folder, Processes() as processes:
        setup = Setup(processes, pathlib.Path(folder), pathlib.Path(sys.argv[1]))
        setup.start()
        for _, ports in setup.envoys.values():
            send(Gateway(ports[10000]))
        # No model is named, so the sidecar classifies.
        Gateway(setup.envoys["wasm"][1][10000]).send({"messages": [{"role": "user", "content": "Hi"}]})
        sources = dict.fromkeys(("wasm", "module"), str)
        # The sidecar counts for the Envoy in native mode.
        sources |= {"sidecar": str, "unlabelled": lambda model: model.replace("-", "_")}
        end = time.monotonic() + LIMIT_SECONDS
        while found := [*span_problems(setup.backend.spans), *metric_problems(setup, sources)]:
            processes.check()
            if time.monotonic() > end:
                raise DemoError("\n".join(found))
            time.sleep(0.5)
        print(f"the collector exports {', '.join(EXPECTED)} of {', '.join(sources)}")


if __name__ == "__main__":
    sys.exit(run_as_test(run))
