"""Our own Envoy, with the files that the kubelet would mount into its pod."""

import shutil

import rendering
import world
import yaml
from binaries import Binaries
from processes import REPO, Processes

# Paths in the pod, and where the files are here.
FOLDERS = {"/etc/envoy": "envoy", "/etc/llm-router": "policy", "/etc/llm-keys": "keys", "/filter": "filter"}


class OwnEnvoy:
    """The pods of the Deployment llm-gateway, without a control plane."""

    url = "http://127.0.0.1:10000"

    def __init__(self, processes: Processes, binaries: Binaries) -> None:
        self._processes = processes
        self._binaries = binaries
        self._home = world.WORK / "own-envoy"

    def start(self, objects: list[rendering.Object]) -> None:
        for folder in FOLDERS.values():
            (self._home / folder).mkdir(parents=True, exist_ok=True)
        shutil.copy(rendering.AROUND / "llm-keys.yaml", self._home / "keys/nvidia.yaml")
        shutil.copy(REPO / "target/llm_router_filter.wasm", self._home / "filter/plugin.wasm")
        # The name of the ConfigMap ends with a hash of its content.
        [gateway] = [it for it in rendering.of_kind(objects, "ConfigMap") if "bootstrap.yaml" in it["data"]]
        for name, text in gateway["data"].items():
            self._write(f"envoy/{name}", yaml.safe_load(text))
        self.apply(objects)
        options = ["--concurrency", "2", "--log-level", "warning", "--use-dynamic-base-id"]
        self._processes.start("envoy", self._binaries.envoy, "-c", self._home / "envoy/bootstrap.yaml", *options)

    def apply(self, objects: list[rendering.Object]) -> None:
        discovered = yaml.safe_load(rendering.find(objects, "ConfigMap", "llm-policy")["data"]["policy.yaml"])
        configuration = _configuration(discovered)
        configuration["value"] = world.with_long_timeouts(configuration["value"])
        self._write("policy/policy.yaml", discovered)

    def _write(self, name: str, content: dict) -> None:
        for there, here in FOLDERS.items():
            content = rendering.replaced(content, there, str(self._home / here))
        content = rendering.replaced(content, "/run/llm-router", str(world.WORK))
        rendering.write(self._home / name, [world.with_long_calls(content)])


def _configuration(discovered: dict) -> dict:
    return discovered["resources"][0]["typed_config"]["config"]["configuration"]


def enforce(objects: list[rendering.Object]) -> list[rendering.Object]:
    """Removes shadow mode from the policy, as docs/kubernetes.md describes."""
    changed = [rendering.copied(it) for it in objects]
    policy = rendering.find(changed, "ConfigMap", "llm-policy")
    discovered = yaml.safe_load(policy["data"]["policy.yaml"])
    configuration = _configuration(discovered)
    configuration["value"] = world.enforced(configuration["value"])
    policy["data"]["policy.yaml"] = yaml.safe_dump(discovered)
    return changed
