"""Validates Kubernetes manifests against the schemas of Kubernetes and of custom resources, strictly: unknown fields are errors.

usage: k8s_validate.py CRDS MANIFEST...    (CRDS: a folder of CustomResourceDefinitions; -: standard input)
"""

import pathlib
import sys

import jsonschema
import kubernetes_validate
import yaml

KUBERNETES = "1.37"


class Loader(yaml.SafeLoader):
    """Refuses what YAML's own readers pass over: a key that is there twice."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=True) for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        twice = {key for key in keys if keys.count(key) > 1}
        if twice:
            raise yaml.constructor.ConstructorError(None, None, f"twice: {', '.join(map(str, twice))}", node.start_mark)
        return super().construct_mapping(node, deep)


def documents(path):
    text = sys.stdin.read() if path == "-" else pathlib.Path(path).read_text()
    return [document for document in yaml.load_all(text, Loader) if document]


def strict(schema):
    """A CRD's schema as JSON Schema that knows what Kubernetes does beyond: unknown fields are dropped there, so refused here."""
    if isinstance(schema, list):
        return [strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: strict(value) for key, value in schema.items() if key not in ("format", "default")}
    if schema.get("x-kubernetes-int-or-string"):
        made["type"] = ["integer", "string"]
    known = isinstance(schema.get("properties"), dict) and schema.get("type") == "object"
    if known and not schema.get("x-kubernetes-preserve-unknown-fields"):
        made.setdefault("additionalProperties", False)
    if schema.get("nullable") and isinstance(made.get("type"), str):
        made["type"] = [made["type"], "null"]
    return made


def custom_resources(folder, kinds):
    """The schemas of these kinds: the definitions are megabytes of YAML, of which most is not needed."""
    schemas = {}
    texts = [text for file in pathlib.Path(folder).glob("*.yaml") for text in file.read_text().split("\n---\n")]
    for text in texts:
        if any(f"\n    kind: {kind}\n" in text for kind in kinds):
            crd = yaml.load(text, yaml.CSafeLoader)
            for version in crd["spec"]["versions"]:
                schema = strict(version["schema"]["openAPIV3Schema"])
                schema["properties"] |= {"apiVersion": {}, "kind": {}, "metadata": {"type": "object"}}
                key = f"{crd['spec']['group']}/{version['name']}", crd["spec"]["names"]["kind"]
                schemas[key] = schema
    return schemas


def errors(document, schemas):
    key = document.get("apiVersion"), document.get("kind")
    if key in schemas:
        for error in jsonschema.Draft7Validator(schemas[key]).iter_errors(document):
            error = jsonschema.exceptions.best_match([error])
            yield f"{'.'.join(map(str, error.absolute_path))}: {error.message[:300]}"
        return
    try:
        kubernetes_validate.validate(document, KUBERNETES, strict=True)
    except kubernetes_validate.ValidationError as error:
        yield f"{'.'.join(map(str, error.path))}: {error.message[:300]}"
    except kubernetes_validate.SchemaNotFoundError:
        yield f"no schema for {key[0]} {key[1]}"


def main():
    manifests = {path: documents(path) for path in sys.argv[2:]}
    schemas = custom_resources(sys.argv[1], {str(it.get("kind")) for found in manifests.values() for it in found})
    wrong = 0
    for path, found in manifests.items():
        for document in found:
            name = f"{document.get('kind')}/{document.get('metadata', {}).get('name')}"
            for error in errors(document, schemas):
                wrong += 1
                print(f"error: {path}: {name}: {error}", file=sys.stderr)
        print(f"{path}: {len(found)} objects")
        if not found:
            wrong += 1
            print(f"error: {path}: nothing in it", file=sys.stderr)
    sys.exit(wrong > 0)


main()
