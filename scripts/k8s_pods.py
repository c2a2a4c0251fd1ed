"""Fails unless pods stop without ending requests, and have the options, cores and keys that they use.

usage: k8s_pods.py RENDERED_YAML...
"""

import json
import pathlib
import re
import sys
from collections import Counter
from collections.abc import Iterator

import yaml

# The time that a gateway's Envoy, which ends all requests at SIGTERM, may have left after preStop.
RESERVE_SECONDS = 15
KEYS = "/etc/llm-keys"


def containers(pod: dict) -> list[dict]:
    return [*pod.get("initContainers", []), *pod.get("containers", [])]


def pre_stop(container: dict) -> int:
    return container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)


def termination(deployment: dict) -> Iterator[str]:
    is_gateway = deployment["metadata"]["labels"].get("app.kubernetes.io/component") == "gateway"
    pod = deployment["spec"]["template"]["spec"]
    grace = pod["terminationGracePeriodSeconds"]
    for container in pod["containers"]:
        name, seconds = container["name"], pre_stop(container)
        if is_gateway and not grace - RESERVE_SECONDS <= seconds < grace:
            yield f"{name}: preStop sleeps {seconds} s of a grace period of {grace} s; completions end at SIGTERM"
        drain = next((it["value"] for it in container.get("env", []) if it["name"].endswith("_DRAIN_TIMEOUT")), "0s")
        if seconds + int(drain.removesuffix("s")) >= grace:
            yield f"{name}: {seconds} s of preStop and {drain} of draining do not fit a grace period of {grace} s"


def options(container: dict) -> Iterator[str]:
    """A flag would take precedence over its environment variable, and must not be repeated."""
    name, arguments = container["name"], container.get("args", [])
    if name == "sidecar" and arguments != ["serve"]:
        yield f"{name}: args are {' '.join(arguments)}: options must be environment variables"
    repeated = [it for it, count in Counter(each["name"] for each in container.get("env", [])).items() if count > 1]
    if repeated:
        yield f"{name}: env has more than one {', '.join(repeated)}"


def cores(container: dict) -> Iterator[str]:
    """A request that is not set counts as 0."""
    for variable in container.get("env", []):
        if field := variable.get("valueFrom", {}).get("resourceFieldRef"):
            kind, resource = field["resource"].split(".")
            value = container.get("resources", {}).get(kind, {}).get(resource)
            if not re.search("[1-9]", str(value or "")):
                yield f"{container['name']}: {variable['name']} is 0: the container has no {field['resource']}"


def keys(documents: list[dict], mounts: bool) -> Iterator[str]:
    """Kubernetes does not start pods that mount a Secret that does not exist."""
    text = json.dumps([it for it in documents if it["kind"] in ("ConfigMap", "EnvoyFilter")])
    uses = f"{KEYS}/" in text
    if uses and not mounts:
        yield f"no pod mounts {KEYS}, from which Envoy reads keys"
    if mounts and not uses:
        yield f"pods mount {KEYS}, from which nothing reads a key"


def problems(documents: list[dict]) -> Iterator[str]:
    deployments = [it for it in documents if it["kind"] == "Deployment"]
    for deployment in deployments:
        yield from termination(deployment)
    # What Istio adds to the Deployment of a Gateway.
    data = [it.get("data", {}) for it in documents if it["kind"] == "ConfigMap"]
    additions = [yaml.safe_load(it["deployment"]) for it in data if "deployment" in it]
    pods = [it["spec"]["template"]["spec"] for it in [*deployments, *additions]]
    for container in (container for pod in pods for container in containers(pod)):
        yield from options(container)
        yield from cores(container)
    yield from keys(documents, any(KEYS in json.dumps(pod) for pod in pods))


def main() -> None:
    failed = False
    for path in sys.argv[1:]:
        for problem in problems([it for it in yaml.safe_load_all(pathlib.Path(path).read_text("utf-8")) if it]):
            failed = True
            print(f"{path}: {problem}", file=sys.stderr)
    print(f"pods of {len(sys.argv) - 1} files")
    sys.exit(failed)


if __name__ == "__main__":
    main()
