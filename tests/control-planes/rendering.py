"""The objects that `kubectl apply -k` and `helm install` would apply."""

import copy
import json
import pathlib
import shutil
import subprocess

import yaml
from binaries import TOOLS, pinned
from processes import REPO, DemoError

AROUND = REPO / "tests/control-planes/around"
NAMESPACE = "llm-router"

Object = dict


def overlay(folder: pathlib.Path) -> list[Object]:
    kustomize = TOOLS / "kustomize"
    build = [kustomize, "build"] if kustomize.exists() else [TOOLS / "kubectl", "kustomize"]
    return _objects(*build, folder)


def chart(folder: pathlib.Path, *options: str) -> list[Object]:
    helm = [TOOLS / "helm", "template", "llm-router", folder, "--namespace", NAMESPACE, "--kube-version"]
    return _objects(*helm, pinned("KUBERNETES_OLDEST"), *options)


def _objects(*command: str | pathlib.Path) -> list[Object]:
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise DemoError(f"{' '.join(map(str, command))}\n{done.stderr}")
    return [it for it in yaml.safe_load_all(done.stdout) if it]


def around(name: str) -> list[Object]:
    """Reads a file of around/."""
    return list(yaml.safe_load_all((AROUND / f"{name}.yaml").read_text()))


def of_kind(objects: list[Object], *kinds: str) -> list[Object]:
    return [it for it in objects if it["kind"] in kinds]


def find(objects: list[Object], kind: str, name: str) -> Object | None:
    return next((it for it in of_kind(objects, kind) if it["metadata"]["name"] == name), None)


def copied(original: Object) -> Object:
    return copy.deepcopy(original)


def replaced(original: Object, old: str, new: str) -> Object:
    """Returns a copy in which a text is replaced everywhere."""
    return json.loads(json.dumps(original).replace(old, new))


def replaced_all(texts: list[str], replacements: dict[str, str]) -> list[str]:
    for old, new in replacements.items():
        texts = [text.replace(old, new) for text in texts]
    return texts


class _Dumper(yaml.SafeDumper):
    """Writes no anchors, which some YAML parsers reject."""

    def ignore_aliases(self, _: object) -> bool:
        return True


def write(file: pathlib.Path, objects: list[Object]) -> None:
    """Writes the objects atomically: a reader sees all of them or none."""
    new = file.with_name(f".{file.name}.new")
    with new.open("w") as out:
        yaml.dump_all(objects, out, Dumper=_Dumper)
    shutil.move(new, file)
