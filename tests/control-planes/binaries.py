"""The programs of a run, and their versions."""

import dataclasses
import pathlib
import re
import subprocess

from processes import REPO

TOOLS = REPO / ".setup/k8s/bin"
ENVOY = next(REPO.glob(".setup/venv/lib/python3*/site-packages/envoy/_bin/envoy"))


@dataclasses.dataclass(frozen=True)
class Binaries:
    """The programs of a run. The defaults are those that setup installs."""

    envoy: pathlib.Path = ENVOY
    envoy_gateway: pathlib.Path = TOOLS / "envoy-gateway"
    istio_discovery: pathlib.Path = TOOLS / "istio-discovery"
    istio_bootstrap: pathlib.Path = TOOLS / "istio-bootstrap"
    kgateway_discovery: pathlib.Path = TOOLS / "kgateway-discovery"

    @property
    def envoy_version(self) -> str:
        return _found(r"/(\d+\.\d+\.\d+)/", self.envoy, "--version")

    @property
    def envoy_gateway_version(self) -> str:
        """The version that Go recorded in the program."""
        version = r"\t(?:mod|dep)\tgithub\.com/envoyproxy/gateway\tv(\S+)"
        return _found(version, "go", "version", "-m", self.envoy_gateway)


def pinned(name: str) -> str:
    """Returns a version from scripts/k8s-versions.sh."""
    text = (REPO / "scripts/k8s-versions.sh").read_text()
    return re.search(rf"^{name}=v?(\S+)", text, re.MULTILINE)[1]


def _found(pattern: str, *command: str | pathlib.Path) -> str:
    output = subprocess.run([*map(str, command)], capture_output=True, text=True, check=True)
    return re.search(pattern, output.stdout)[1]
