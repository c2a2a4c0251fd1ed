"""Prints the software bill of materials, in CycloneDX's JSON: every crate that is compiled into one of the programs.

usage: sbom.py
"""

import json
import pathlib
import subprocess

from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import LicenseExpression
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

REPO = pathlib.Path(__file__).resolve().parent.parent
# What is distributed. The tests and their tools are not.
PROGRAMS = ["llm-router-filter", "llm-router-module", "llm-router-sidecar", "llm-router-trainer", "llm-router-cli"]


def metadata() -> dict:
    """What cargo knows of the workspace and its dependencies."""
    command = ["cargo", "metadata", "--format-version", "1", "--locked"]
    return json.loads(subprocess.run(command, cwd=REPO, check=True, capture_output=True, text=True).stdout)


def compiled_in(nodes: dict[str, dict], roots: list[str]) -> set[str]:
    """The packages that these are built of, without dependencies of tests and of build scripts."""
    found, waiting = set(), list(roots)
    while waiting:
        package = waiting.pop()
        if package in found:
            continue
        found.add(package)
        waiting += needed_by(nodes[package])
    return found


def needed_by(node: dict) -> list[str]:
    """The packages that one is built of."""
    return [it["pkg"] for it in node["deps"] if any(kind["kind"] is None for kind in it["dep_kinds"])]


def checksums() -> dict[tuple[str, str], str]:
    """The SHA-256 of each crate's archive, from the lock file."""
    found, entry = {}, {}
    for line in [*(REPO / "Cargo.lock").read_text(encoding="utf-8").splitlines(), "[[package]]"]:
        if line == "[[package]]":
            if "checksum" in entry:
                found[entry["name"], entry["version"]] = entry["checksum"]
            entry = {}
        elif " = " in line:
            name, value = line.split(" = ", 1)
            entry[name] = value.strip('"')
    return found


def component(package: dict, checksum: str | None) -> Component:
    """A crate."""
    licenses = [LicenseExpression(package["license"].replace("/", " OR "))] if package.get("license") else []
    return Component(
        type=ComponentType.LIBRARY,
        name=package["name"],
        version=package["version"],
        bom_ref=f"{package['name']}@{package['version']}",
        licenses=licenses,
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=checksum)] if checksum else [],
        purl=PackageURL("cargo", name=package["name"], version=package["version"]),
    )


def main() -> None:
    """Prints the document."""
    found = metadata()
    packages = {package["id"]: package for package in found["packages"]}
    nodes = {node["id"]: node for node in found["resolve"]["nodes"]}
    roots = [id_ for id_, package in packages.items() if package["name"] in PROGRAMS]
    if len(roots) != len(PROGRAMS):
        raise SystemExit(f"error: not all of {', '.join(PROGRAMS)} are in the workspace")
    known = checksums()
    bom = Bom()
    version = next(package["version"] for package in packages.values() if package["name"] == PROGRAMS[0])
    bom.metadata.component = Component(type=ComponentType.APPLICATION, name="llm-router", version=version)
    components = {}
    for id_ in compiled_in(nodes, roots):
        package = packages[id_]
        components[id_] = component(package, known.get((package["name"], package["version"])))
        bom.components.add(components[id_])
    for id_, made in components.items():
        bom.register_dependency(made, [components[it] for it in needed_by(nodes[id_])])
    bom.register_dependency(bom.metadata.component, [components[id_] for id_ in roots])
    print(JsonV1Dot6(bom).output_as_string(indent=2))


if __name__ == "__main__":
    main()
