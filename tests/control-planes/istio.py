"""Istio's own translation of the objects, and an Envoy that gets the result."""

import json
import pathlib
import shutil
import signal
import subprocess
import urllib.request

import pools
import rendering
import world
from binaries import TOOLS, Binaries
from processes import REPO, Processes

URL = "http://127.0.0.1:80"
ADMIN = 15000
STATS = "http://127.0.0.1:15090/stats/prometheus"


class Istio:
    """Istio's discovery server, and an Envoy that starts as Istio's agent would start it."""

    url = URL
    stats_url = STATS

    def __init__(self, processes: Processes, binaries: Binaries) -> None:
        self._processes = processes
        self._binaries = binaries
        self._home = world.WORK / "istio"

    def start(self, objects: list[rendering.Object]) -> None:
        (self._home / "keys").mkdir(parents=True, exist_ok=True)
        shutil.copy(rendering.AROUND / "llm-keys.yaml", self._home / "keys/nvidia.yaml")
        routes = [with_defaults(rendering.copied(it)) for it in rendering.of_kind(objects, "Gateway", "HTTPRoute")]
        routes = [pools.with_status(it) if it["kind"] == "HTTPRoute" else it for it in routes]
        around = [*rendering.around("istio"), *_sidecars(objects), *pools.around(objects)]
        rendering.write(self._home / "kubernetes.yaml", [*around, *routes])
        self._write_own(objects)
        files = ["-kubernetes", self._home / "kubernetes.yaml", "-istio", self._home / "istio.yaml"]
        # Metadata exchange is a filter of Istio's own Envoy.
        environment = ["env", "PILOT_ENABLE_METADATA_EXCHANGE=false", "ENABLE_GATEWAY_API_INFERENCE_EXTENSION=true"]
        discovery = self._binaries.istio_discovery
        self._processes.start("control-plane", *environment, discovery, *files, *pools.arguments())
        self._processes.wait_ready("control-plane", lambda: self._processes.has_logged("control-plane", "ready"))
        bootstrap = self._write_bootstrap(objects)
        options = ["--concurrency", "2", "--log-level", "warning", "--use-dynamic-base-id"]
        self._processes.start("envoy", self._binaries.envoy, "-c", bootstrap, *options)

    def _write_bootstrap(self, objects: list[rendering.Object]) -> pathlib.Path:
        """Writes a bootstrap that records, names and serves stats like Istio's own."""
        gateway = self._home / "gateway.yaml"
        rendering.write(gateway, [rendering.find(objects, "Gateway", "llm-gateway")])
        template = TOOLS.parent / "istio-bootstrap.tmpl"
        command = [self._binaries.istio_bootstrap, "-template", template, "-gateway", gateway]
        istio = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        [bootstrap] = rendering.around("istio-envoy")
        bootstrap["stats_config"] = istio["stats_config"]
        for kind, name in ("listeners", "0.0.0.0_15090"), ("clusters", "prometheus_stats"):
            resource = next(it for it in istio["static_resources"][kind] if it["name"] == name)
            bootstrap["static_resources"].setdefault(kind, []).append(resource)
        file = self._home / "envoy.yaml"
        rendering.write(file, [bootstrap])
        return file

    def apply(self, objects: list[rendering.Object]) -> None:
        self._write_own(objects)
        self._processes.send_signal("control-plane", signal.SIGHUP)

    def _write_own(self, objects: list[rendering.Object]) -> None:
        own = rendering.of_kind(objects, "EnvoyFilter", "ServiceEntry", "DestinationRule")
        own = [_adapted(rendering.replaced(it, "/etc/llm-keys", str(self._home / "keys"))) for it in own]
        rendering.write(self._home / "istio.yaml", [*own, *rendering.around("stock-envoy")])


def _adapted(changed: rendering.Object) -> rendering.Object:
    """Uses a local file in place of the image that Istio's agent would fetch, and long timeouts."""
    for patch in changed["spec"].get("configPatches", []):
        value = patch["patch"].get("value", {})
        typed = value.get("typed_config", {})
        if "vm_config" in typed.get("config", {}):
            typed["config"]["vm_config"]["code"] = {"local": {"filename": str(REPO / "target/llm_router_filter.wasm")}}
            configuration = typed["config"]["configuration"]
            configuration["value"] = world.with_long_timeouts(configuration["value"])
        if "message_timeout" in typed:
            typed["message_timeout"] = "30s"
    return world.with_long_calls(changed)


def _sidecars(objects: list[rendering.Object]) -> list[rendering.Object]:
    """Returns the sidecars' Service, and the EndpointSlice that Kubernetes would create."""
    service = rendering.find(objects, "Service", "llm-router-sidecar")
    labels = {"kubernetes.io/service-name": "llm-router-sidecar"}
    endpoints = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "llm-router-sidecar-1", "namespace": rendering.NAMESPACE, "labels": labels},
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["127.0.0.1"], "conditions": {"ready": True}}],
        "ports": [{"name": "grpc", "port": world.SIDECAR_PORT, "protocol": "TCP"}],
    }
    return [service, endpoints]


def with_defaults(route: rendering.Object) -> rendering.Object:
    """Adds the defaults that an API server would add."""
    if route["kind"] != "HTTPRoute":
        return route
    for parent in route["spec"]["parentRefs"]:
        parent.setdefault("group", "gateway.networking.k8s.io")
        parent.setdefault("kind", "Gateway")
    for rule in route["spec"]["rules"]:
        for match in rule.setdefault("matches", [{}]):
            match.setdefault("path", {"type": "PathPrefix", "value": "/"})
            for header in match.get("headers", []):
                header.setdefault("type", "Exact")
        for backend in rule["backendRefs"]:
            backend.setdefault("group", "")
            backend.setdefault("kind", "Service")
            backend.setdefault("weight", 1)
    return route


def enforce(objects: list[rendering.Object]) -> list[rendering.Object]:
    """Removes shadow mode from the policy, as docs/install-istio.md describes."""
    changed = [rendering.copied(it) for it in objects]
    for own_filter in rendering.of_kind(changed, "EnvoyFilter"):
        for patch in own_filter["spec"]["configPatches"]:
            value = patch["patch"].get("value", {})
            config = value.get("typed_config", {}).get("config", {})
            if "configuration" in config:
                config["configuration"]["value"] = world.enforced(config["configuration"]["value"])
                config["failure_policy"] = "FAIL_RELOAD"
            if "config_discovery" in value:
                value["config_discovery"]["type_urls"] = value["config_discovery"]["type_urls"][:1]
    return world.with_enforced_config_map(changed)


def without_image(objects: list[rendering.Object]) -> list[rendering.Object]:
    """Returns what Envoy gets if Istio's agent cannot fetch the image: a filter that rejects every request."""
    changed = [rendering.copied(it) for it in objects]
    refusing = {"@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC", "rules": {}}
    for own_filter in rendering.of_kind(changed, "EnvoyFilter"):
        for patch in own_filter["spec"]["configPatches"]:
            if patch["applyTo"] == "EXTENSION_CONFIG":
                patch["patch"]["value"]["typed_config"] = refusing
    return changed


def has_refused_a_filter() -> bool:
    """Whether Envoy has rejected the configuration that discovery sent in place of the filter."""
    url = f"http://127.0.0.1:{ADMIN}/stats?filter=extension_config_discovery.*update_rejected"
    with urllib.request.urlopen(url) as stats:
        return any(int(line.split()[-1]) > 0 for line in stats.read().decode().splitlines())


def without_filter(objects: list[rendering.Object]) -> list[rendering.Object]:
    """Returns the objects that are left after `kubectl delete envoyfilter llm-router`."""
    return [it for it in objects if (it["kind"], it["metadata"]["name"]) != ("EnvoyFilter", "llm-router")]
