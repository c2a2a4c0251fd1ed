"""Fails unless HTTPRoutes have a rule for each model of the policy, and no rule that passes on a client's credentials.

usage: k8s_routes.py RENDERED_YAML...
"""

import pathlib
import sys
from collections.abc import Iterator

import yaml

CREDENTIALS = {"authorization", "proxy-authorization", "x-api-key", "api-key", "x-goog-api-key", "cookie"}


def policies(value: object) -> Iterator[dict]:
    """The policies in an object, wherever they are."""
    if isinstance(value, dict):
        if {"models", "policies"} <= value.keys():
            yield value
        for item in value.values():
            yield from policies(item)
    elif isinstance(value, list):
        for item in value:
            yield from policies(item)
    elif isinstance(value, str) and "\n" in value and "models:" in value:
        yield from policies(yaml.safe_load(value))


def matched(rules: list[dict], header: str) -> set[str]:
    matches = [match for rule in rules for match in rule.get("matches", [])]
    return {it["value"] for match in matches for it in match.get("headers", []) if it["name"].lower() == header}


def removed(rule: dict) -> set[str]:
    modifiers = [it["requestHeaderModifier"] for it in rule.get("filters", []) if "requestHeaderModifier" in it]
    return {name.lower() for it in modifiers for name in it.get("remove", [])}


def problems(documents: list[dict]) -> Iterator[str]:
    routes = [it for it in documents if it["kind"] == "HTTPRoute"]
    rules = [rule for route in routes for rule in route["spec"]["rules"]]
    for number, rule in enumerate(rules, start=1):
        if missing := CREDENTIALS - removed(rule):
            yield f"rule {number} passes on the client's {', '.join(sorted(missing))}"
    found = list(policies(documents))
    if not found:
        yield "no policy"
    for policy in found:
        models = policy["models"].values()
        if header := policy.get("model_header"):
            wanted = {it["model"] for it in models}
        else:
            header, wanted = policy.get("cluster_header", "x-llm-cluster"), {it["cluster"] for it in models}
        if missing := wanted - matched(rules, header):
            yield f"no rule for {header}: {', '.join(sorted(missing))}"


def main() -> None:
    checked, failed = 0, False
    for path in sys.argv[1:]:
        documents = [it for it in yaml.safe_load_all(pathlib.Path(path).read_text("utf-8")) if it]
        if not any(it["kind"] == "HTTPRoute" for it in documents):
            continue
        checked += 1
        for problem in problems(documents):
            failed = True
            print(f"{path}: {problem}", file=sys.stderr)
    print(f"HTTPRoutes of {checked} files")
    sys.exit(failed or not checked)


if __name__ == "__main__":
    main()
