"""Writes the JSON schemas with which kubeconform validates k8s/, strictly and without a network.

usage: k8s_schemas.py KUBERNETES CRDS OUT

KUBERNETES is a version that the package kubernetes-validate has, CRDS a folder of CustomResourceDefinitions. The
schemas become OUT/kubernetes/KIND-GROUP-VERSION.json and OUT/GROUP/KIND_VERSION.json.
"""

import json
import pathlib
import sys
from typing import Any

import kubernetes_validate
import yaml


def write_kubernetes(version: str, out: pathlib.Path) -> None:
    """Copies the package's strict schemas. Their references, which only the package resolves, become relative."""
    out.mkdir(parents=True)
    for source in pathlib.Path(
        *kubernetes_validate.__path__, "kubernetes-json-schema", f"v{version}-local-strict"
    ).iterdir():
        text = source.read_text("utf-8").replace('"/api/_definitions.json#', '"_definitions.json#')
        schema = json.loads(text)
        schema.pop("$id", None)
        (out / source.name).write_text(json.dumps(schema), "utf-8")


def strict(schema: Any) -> Any:
    """A CRD's schema as JSON Schema. Kubernetes drops unknown fields; this schema rejects them."""
    if isinstance(schema, list):
        return [strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    result = {key: strict(value) for key, value in schema.items() if key not in ("format", "default", "properties")}
    if "properties" in schema:
        # The keys are names of properties. Some properties are named `format` or `default`.
        result["properties"] = {name: strict(value) for name, value in schema["properties"].items()}
    if schema.get("x-kubernetes-int-or-string"):
        result["type"] = ["integer", "string"]
    known = isinstance(schema.get("properties"), dict) and schema.get("type") == "object"
    if known and not schema.get("x-kubernetes-preserve-unknown-fields"):
        result.setdefault("additionalProperties", False)
    if schema.get("nullable") and isinstance(result.get("type"), str):
        result["type"] = [result["type"], "null"]
    return result


def write_custom_resource(definition: dict[str, Any], out: pathlib.Path) -> None:
    """Writes a schema for each version of a CustomResourceDefinition."""
    spec = definition["spec"]
    folder = out / spec["group"]
    folder.mkdir(exist_ok=True)
    for version in spec["versions"]:
        schema = strict(version["schema"]["openAPIV3Schema"])
        schema["properties"] |= {"apiVersion": {}, "kind": {}, "metadata": {"type": "object"}}
        path = folder / f"{spec['names']['kind'].lower()}_{version['name']}.json"
        path.write_text(json.dumps(schema), "utf-8")


def main() -> None:
    """Writes all schemas."""
    version, crds, out = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])
    write_kubernetes(version, out / "kubernetes")
    for file in sorted(crds.glob("*.yaml")):
        for document in yaml.load_all(file.read_text("utf-8"), yaml.CSafeLoader):
            if document and document["kind"] == "CustomResourceDefinition":
                write_custom_resource(document, out)


if __name__ == "__main__":
    main()
