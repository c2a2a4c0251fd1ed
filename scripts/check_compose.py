"""Checks that what deploy/compose.yaml names exists.

That is: files, stages of Dockerfiles, variables of .env.example, and the hosts in the configurations of Envoy and
Prometheus.
"""

import pathlib
import re
import sys

from ruamel.yaml import YAML

REPO = pathlib.Path(__file__).resolve().parent.parent
DEPLOY = REPO / "deploy"


def read(name):
    """The text of a file of the repository."""
    return (REPO / name).read_text()


def hosts(services):
    """The host names under which services are found."""
    for name, service in services.items():
        yield name
        for network in (service.get("networks") or {}).values():
            yield from network.get("aliases", [])


def wanted_hosts():
    """The host names that Prometheus and Envoy's bootstraps use."""
    yield from re.findall(r"targets: \[([\w-]+):", read("deploy/observability/prometheus.yml"))
    for bootstrap in (DEPLOY / "compose").glob("*.yaml"):
        for host in re.findall(r"address: ([\w.-]+), port_value", bootstrap.read_text()):
            # Those with dots are addresses, or real LLMs.
            if "." not in host:
                yield host


def service_problems(name, service, volumes):
    """What is wrong with one service."""
    if build := service.get("build"):
        stage = rf"^FROM .+ AS {build.get('target')}$"
        if not (REPO / build["dockerfile"]).is_file():
            yield f"{name}: no {build['dockerfile']}"
        elif "target" in build and not re.search(stage, read(build["dockerfile"]), flags=re.MULTILINE):
            yield f"{name}: {build['dockerfile']} has no stage {build['target']}"
    for volume in service.get("volumes", []):
        source = volume.split(":")[0]
        if source.startswith("."):
            if not (DEPLOY / source).exists():
                yield f"{name}: no {source}"
        elif source not in volumes:
            yield f"{name}: no volume {source}"


def problems():
    """What is wrong with the compose file and .env.example."""
    text = read("deploy/compose.yaml")
    compose = YAML(typ="safe").load(text)
    services = compose["services"]
    variables = dict(re.findall(r"^(\w+)=(.*)$", read("deploy/.env.example"), flags=re.MULTILINE))
    for name in set(re.findall(r"\$\{(\w+)", text)) - set(variables):
        yield f".env.example has no {name}"
    profiles = {profile for service in services.values() for profile in service.get("profiles", [])}
    for profile in set(variables["COMPOSE_PROFILES"].split(",")) - profiles:
        yield f".env.example: no service has the profile {profile}"
    for name, service in services.items():
        yield from service_problems(name, service, compose["volumes"])
    for host in set(wanted_hosts()) - set(hosts(services)):
        yield f"no service {host}"
    if not (DEPLOY / f"compose/{variables['GATEWAY']}.yaml").exists():
        yield f".env.example: no compose/{variables['GATEWAY']}.yaml"


def main():
    """Prints all problems."""
    found = list(problems())
    print("\n".join(f"error: compose.yaml: {problem}" for problem in found) or "compose.yaml: no problems found")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
