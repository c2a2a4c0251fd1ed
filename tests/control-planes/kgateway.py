"""kgateway's own translation of the objects, and an Envoy that gets the result."""

import shutil
import signal

import rendering
import world
from binaries import Binaries
from istio import with_defaults
from processes import REPO, Processes

URL = "http://127.0.0.1:80"
POLICIES = ("GatewayExtension", "TrafficPolicy")
KINDS = ("Gateway", "HTTPRoute", "GatewayParameters", "ListenerPolicy", "BackendConfigPolicy", *POLICIES)


class Kgateway:
    """kgateway's translator, and an Envoy that starts as in kgateway's Deployment."""

    url = URL
    stats_url = "http://127.0.0.1:19000/stats/prometheus"

    def __init__(self, processes: Processes, binaries: Binaries) -> None:
        self._processes = processes
        self._binaries = binaries
        self._home = world.WORK / "kgateway"

    def start(self, objects: list[rendering.Object]) -> None:
        definitions = self._home / "crds"
        shutil.rmtree(self._home, ignore_errors=True)
        definitions.mkdir(parents=True)
        for definition in (REPO / ".setup/k8s/crds").glob("gateway.kgateway.dev_*.yaml"):
            shutil.copy(definition, definitions)
        self._write(objects)
        files = ["-crds", definitions, "-objects", self._home / "objects.yaml"]
        pods = rendering.AROUND / "kgateway-pods.yaml"
        self._processes.start("control-plane", self._binaries.kgateway_discovery, *files, "-pods", pods)
        self._processes.wait_ready("control-plane", lambda: self._processes.has_logged("control-plane", "ready"))
        bootstrap = rendering.AROUND / "kgateway-envoy.yaml"
        options = ["--concurrency", "2", "--log-level", "warning", "--use-dynamic-base-id"]
        self._processes.start("envoy", self._binaries.envoy, "-c", bootstrap, *options)

    def apply(self, objects: list[rendering.Object]) -> None:
        self._write(objects)
        self._processes.send_signal("control-plane", signal.SIGHUP)

    def _write(self, objects: list[rendering.Object]) -> None:
        own = [with_defaults(_adapted(rendering.copied(it))) for it in rendering.of_kind(objects, *KINDS)]
        sidecars = rendering.find(objects, "Service", "llm-router-sidecar")
        rendering.write(self._home / "objects.yaml", [*rendering.around("kgateway"), sidecars, *own])


def _adapted(changed: rendering.Object) -> rendering.Object:
    if changed["kind"] == "GatewayExtension":
        changed["spec"]["extProc"]["messageTimeout"] = "30s"
    return changed


def enforce(objects: list[rendering.Object]) -> list[rendering.Object]:
    """Removes shadow mode from the policy, as docs/kubernetes.md describes."""
    return world.with_enforced_config_map([rendering.copied(it) for it in objects])


def without_filter(objects: list[rendering.Object]) -> list[rendering.Object]:
    """Returns the objects that are left after `kubectl delete`."""
    return [it for it in objects if it["kind"] not in POLICIES]
