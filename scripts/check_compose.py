"""Checks what deploy/compose.yaml names: files, stages of Dockerfiles, variables of .env.example, and the hosts that Envoy and
Prometheus look for."""

import pathlib
import re
import sys

from ruamel.yaml import YAML

REPO = pathlib.Path(__file__).resolve().parent.parent


def read(name):
    return (REPO / name).read_text()


def example():
    """The variables of .env.example."""
    return dict(re.findall(r"^(\w+)=(.*)$", read("deploy/.env.example"), flags=re.MULTILINE))


def hosts(services):
    """The names by which services are found, with each service's profiles."""
    for name, service in services.items():
        networks = service.get("networks") or {}
        aliases = [alias for network in networks.values() for alias in network.get("aliases", [])]
        for host in [name, *aliases]:
            yield host


def problems():
    compose = YAML(typ="safe").load(read("deploy/compose.yaml"))
    services, variables = compose["services"], example()
    for name in set(re.findall(r"\$\{(\w+)", read("deploy/compose.yaml"))) - set(variables):
        yield f".env.example has no {name}"
    profiles = {profile for service in services.values() for profile in service.get("profiles", [])}
    for profile in set(variables["COMPOSE_PROFILES"].split(",")) - profiles:
        yield f".env.example: no service has the profile {profile}"
    for name, service in services.items():
        if build := service.get("build"):
            dockerfile = read(build["dockerfile"])
            if "target" in build and not re.search(rf"^FROM .+ AS {build['target']}$", dockerfile, flags=re.MULTILINE):
                yield f"{name}: {build['dockerfile']} has no stage {build['target']}"
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith(".") and not (REPO / "deploy" / source).exists():
                yield f"{name}: no {source}"
            if not source.startswith(".") and source not in compose["volumes"]:
                yield f"{name}: no volume {source}"
    known = set(hosts(services))
    wanted = set(re.findall(r"targets: \[([\w-]+):", read("deploy/observability/prometheus.yml")))
    for bootstrap in (REPO / "deploy/compose").glob("*.yaml"):
        found = re.findall(r"address: ([\w.-]+), port_value", bootstrap.read_text())
        # Those with dots are addresses, or real LLMs.
        wanted |= {host for host in found if "." not in host}
    for host in wanted - known:
        yield f"no service {host}"
    if not (REPO / "deploy/compose" / f"{variables['GATEWAY']}.yaml").exists():
        yield f".env.example: no compose/{variables['GATEWAY']}.yaml"


def main():
    found = list(problems())
    print("\n".join(f"error: compose.yaml: {problem}" for problem in found) or "compose.yaml: all that it names is there")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
