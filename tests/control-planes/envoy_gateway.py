"""Envoy Gateway itself, standalone: it reads objects from a folder, translates them, and runs Envoy."""

import pathlib
import re
import shutil
import subprocess

import rendering
import world
from binaries import Binaries
from processes import REPO, DemoError, Processes, is_ready

URL = "http://127.0.0.1:80"
FILES = {"plugin.wasm": "llm_router_filter.wasm", "libllm_router-0.1.0.so": "libllm_router.so"}
"""The files that the image volume has in /filter, and where they are here."""

# The configuration of standalone Envoy Gateway, which runs no pods.
KINDS = (
    *("Gateway", "HTTPRoute", "GRPCRoute", "Backend", "HTTPRouteFilter", "EnvoyProxy"),
    *("BackendTrafficPolicy", "ClientTrafficPolicy", "EnvoyExtensionPolicy", "EnvoyPatchPolicy"),
)
CONFIGURATION = """
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: EnvoyGateway
gateway: {{ controllerName: gateway.envoyproxy.io/gatewayclass-controller }}
provider:
  type: Custom
  custom:
    resource: {{ type: File, file: {{ paths: [{objects}] }} }}
    infrastructure:
      type: Host
      host: {{ configHome: {home}/config, dataHome: {home}/data, stateHome: {home}/state, runtimeDir: {home}/run }}
extensionApis: {{ enableBackend: true, enableEnvoyPatchPolicy: true }}
"""


class EnvoyGateway:
    """Envoy Gateway, and the Envoy that it runs."""

    url = URL

    def __init__(self, processes: Processes, binaries: Binaries) -> None:
        self._processes = processes
        self._binaries = binaries
        self._home = world.WORK / "envoy-gateway"

    def start(self, objects: list[rendering.Object]) -> None:
        shutil.rmtree(self._home, ignore_errors=True)
        (self._home / "objects").mkdir(parents=True)
        envoy = self._home / f"data/envoy-versions/{self._binaries.envoy_version}/bin/envoy"
        envoy.parent.mkdir(parents=True)
        envoy.symlink_to(self._binaries.envoy)
        filters = self._home / "filter"
        filters.mkdir()
        for name, built in FILES.items():
            shutil.copy(REPO / "target" / built, filters / name)
        configuration = self._home / "configuration.yaml"
        configuration.write_text(CONFIGURATION.format(objects=self._home / "objects", home=self._home))
        self.apply(objects)
        certificates = ["certgen", "--local", "--config-home", str(self._home / "config")]
        subprocess.run([self._binaries.envoy_gateway, *certificates], check=True, capture_output=True)
        self._processes.start("control-plane", self._binaries.envoy_gateway, "server", "--config-path", configuration)

    @property
    def stats_url(self) -> str:
        """The URL of the stats. Standalone Envoy Gateway uses a random admin port and no port for Prometheus."""
        listening = subprocess.run(["ss", "-ltnpH"], check=True, capture_output=True, text=True).stdout
        for port in re.findall(r"127\.0\.0\.1:(\d+) .*\"envoy\"", listening):
            if is_ready(int(port), "/stats/prometheus"):
                return f"http://127.0.0.1:{port}/stats/prometheus"
        raise DemoError(f"no admin interface of Envoy:\n{listening}")

    def apply(self, objects: list[rendering.Object]) -> None:
        rendering.write(self._home / "objects/all.yaml", self._adapted(objects))

    def _adapted(self, objects: list[rendering.Object]) -> list[rendering.Object]:
        own = [*rendering.around("envoy-gateway"), *rendering.of_kind(objects, *KINDS)]
        adapted = [_adapted(it, self._home) for it in own]
        for proxy in rendering.of_kind(adapted, "EnvoyProxy"):
            proxy["spec"]["provider"] = {"type": "Host", "host": {"envoyVersion": self._binaries.envoy_version}}
        for kind in ("HTTPRoute", "GRPCRoute"):
            for route in rendering.of_kind(adapted, kind):
                for rule in route["spec"]["rules"]:
                    _use_backends(rule["backendRefs"])
        for policy in rendering.of_kind(adapted, "EnvoyExtensionPolicy"):
            for processor in policy["spec"].get("extProc", []):
                _use_backends(processor["backendRefs"])
        return adapted


def _use_backends(references: list[dict]) -> None:
    """Replaces Services, which have no addresses here, by Backends of the same names."""
    for reference in references:
        if reference.get("kind", "Service") == "Service":
            reference.update(group="gateway.envoyproxy.io", kind="Backend")
            reference.pop("port", None)


def _adapted(original: rendering.Object, home: pathlib.Path) -> rendering.Object:
    changed = world.with_long_calls(rendering.replaced(original, "/filter/", f"{home}/filter/"))
    spec = changed.get("spec", {})
    match changed["kind"]:
        case "EnvoyExtensionPolicy":
            for processor in spec.get("extProc", []):
                processor["messageTimeout"] = "30s"
            for module in spec.get("dynamicModule", []):
                module["config"] = world.with_long_timeouts(module["config"])
        case "EnvoyPatchPolicy":
            for patch in spec["jsonPatches"]:
                if typed := patch["operation"]["value"].get("typed_config"):
                    configuration = typed["config"]["configuration"]
                    configuration["value"] = world.with_long_timeouts(configuration["value"])
    return changed


def enforce(objects: list[rendering.Object]) -> list[rendering.Object]:
    """Removes shadow mode from the policy, as docs/kubernetes.md describes."""
    changed = [rendering.copied(it) for it in objects]
    for policy in rendering.of_kind(changed, "EnvoyExtensionPolicy"):
        for module in policy["spec"].get("dynamicModule", []):
            module["config"] = world.enforced(module["config"])
    for policy in rendering.of_kind(changed, "EnvoyPatchPolicy"):
        for patch in policy["spec"]["jsonPatches"]:
            if "typed_config" in patch["operation"]["value"]:
                configuration = patch["operation"]["value"]["typed_config"]["config"]["configuration"]
                configuration["value"] = world.enforced(configuration["value"])
    return world.with_enforced_config_map(changed)


def streamed(objects: list[rendering.Object]) -> list[rendering.Object]:
    """Has Envoy stream request bodies to the sidecars and take them back: docs/native.md.

    Envoy Gateway then demands that requests fail with the sidecars.
    """
    changed = [rendering.copied(it) for it in objects]
    for policy in rendering.of_kind(changed, "EnvoyExtensionPolicy"):
        policy["spec"]["extProc"][0] |= {"failOpen": False, "statusOnError": 503}
        mode = policy["spec"]["extProc"][0]["processingMode"]
        mode["request"]["body"] = "FullDuplexStreamed"
        mode.pop("allowModeOverride")
    return changed


def without_filter(objects: list[rendering.Object]) -> list[rendering.Object]:
    """Returns the objects that are left after `kubectl delete`."""
    return [it for it in objects if it["kind"] not in {"EnvoyExtensionPolicy", "EnvoyPatchPolicy"}]
