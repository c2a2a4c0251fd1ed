"""Compares the objects of two sets of manifests. Ignores their order, and the Namespace, which Helm does not create.

usage: k8s_same.py MANIFEST MANIFEST
"""

import json
import pathlib
import sys

import yaml


def objects(path):
    found = {}
    for document in yaml.safe_load_all(pathlib.Path(path).read_text()):
        if not document or document["kind"] == "Namespace":
            continue
        # Policies in ConfigMaps are compared by content, not as text.
        data = document.get("data", {})
        for name, text in data.items():
            data[name] = yaml.safe_load(text)
        found[f"{document['kind']}/{document['metadata']['name']}"] = flat(document)
    return found


def flat(value, path=""):
    if isinstance(value, dict) and value:
        return {k: v for key, item in value.items() for k, v in flat(item, f"{path}.{key}").items()}
    if isinstance(value, list) and value:
        return {k: v for index, item in enumerate(value) for k, v in flat(item, f"{path}[{index}]").items()}
    return {path.lstrip("."): json.dumps(value)}


def main():
    left, right = (objects(path) for path in sys.argv[1:])
    different = 0
    for name in sorted(left.keys() | right.keys()):
        one, other = left.get(name, {}), right.get(name, {})
        for path in sorted(one.keys() | other.keys()):
            if one.get(path) != other.get(path):
                different += 1
                print(f"{name}: {path}: {one.get(path, 'absent')} is not {other.get(path, 'absent')}", file=sys.stderr)
    print(f"{sys.argv[1]} and {sys.argv[2]}: {len(left)} objects, {different} differences")
    sys.exit(different > 0)


main()
