"""Checks docs/admin-api.yaml against a real sidecar, and against the code.

- It is valid OpenAPI, and has the version, the routes and the kinds of steps of the code.
- Every example of a request gets the status that it documents, and a response that the schema allows. A field without
  documentation is an error.
- Requests of other sites, in other formats and of other sizes get errors as documented.

usage: tests/admin-api/main.py
"""

import copy
import http.client
import json
import pathlib
import re
import sys
import tomllib

import jsonschema
import openapi_spec_validator
import yaml

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "scripts"))

from processes import REPO, DemoError, Processes, is_ready, reserve_ports, run_as_test

DOCUMENT = REPO / "docs" / "admin-api.yaml"
SOURCES = REPO / "sidecar" / "src" / "admin"
STEPS = REPO / "routing" / "src" / "explain" / "step.rs"
SIDECAR = REPO / "target" / "release" / "llm-router-sidecar"
POLICY = REPO / "tests" / "admin-api" / "policy.yaml"
MAX_BODY = 1 << 20

Headers = dict[str, str]
Response = tuple[int, str, bytes]


class Document:
    """The OpenAPI document."""

    def __init__(self) -> None:
        self.value = yaml.safe_load(DOCUMENT.read_text(encoding="utf-8"))
        openapi_spec_validator.validate(self.value)
        self._strict = without_further_fields(self.value["components"])

    def operations(self) -> list[tuple[str, str, dict]]:
        """Every method in upper case, path and operation."""
        paths = self.value["paths"].items()
        return [(method.upper(), path, operation) for path, item in paths for method, operation in item.items()]

    def documented(self, operation: dict, status: int) -> dict:
        """The response that an operation has for a status."""
        responses = operation["responses"]
        found = responses.get(str(status), responses.get("default"))
        if found is None:
            raise DemoError(f"{operation['operationId']} has no response {status}")
        if "$ref" in found:
            found = self.value["components"]["responses"][found["$ref"].rsplit("/", 1)[1]]
        return found

    def errors(self, schema: dict, value: object) -> list[str]:
        """The violations of a schema of the document by a value."""
        schema = {"components": self._strict, **without_further_fields(schema)}
        found = jsonschema.Draft202012Validator(schema).iter_errors(value)
        return [f"{error.json_path}: {error.message}" for error in found]

    def check(self, operation: dict, expected: int, response: Response, sent: str) -> None:
        """Compares a response with the documented one."""
        status, kind, body = response
        if status != expected:
            raise DemoError(f"{sent}: status {status} instead of {expected}: {body.decode()[:300]}")
        contents = self.documented(operation, status).get("content", {})
        if not contents:
            return
        if kind not in contents:
            raise DemoError(f"{sent}: the content type is {kind!r}")
        value = json.loads(body) if kind == "application/json" else body.decode()
        if errors := self.errors(contents[kind]["schema"], value):
            raise DemoError(f"{sent}: {'; '.join(errors)}\n{body.decode()[:2000]}")


def without_further_fields(schema: object) -> object:
    """A schema whose objects have documented fields only, so that the document cannot lack one."""
    if isinstance(schema, list):
        return [without_further_fields(it) for it in schema]
    if not isinstance(schema, dict):
        return schema
    strict = {key: without_further_fields(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict):
        strict.setdefault("additionalProperties", False)
    return strict


def routes_of_the_code() -> set[tuple[str, str]]:
    """Methods and paths for which the server has a handler, but for the console's files."""
    found = set()
    for name in ("mod.rs", "console/mod.rs"):
        source = (SOURCES / name).read_text(encoding="utf-8").split("#[cfg(test)]")[0]
        for path, handlers in re.findall(r'\.route\(\s*"([^"]+)",(.*)$', source, re.MULTILINE):
            methods = re.findall(r"\b(get|post|put|patch|delete)\(", handlers)
            found |= {(method.upper(), path) for method in methods}
    return found


def kinds_of_the_code() -> set[str]:
    source = STEPS.read_text(encoding="utf-8").split("pub enum Detail {")[1].split("\n}")[0]
    names = re.findall(r"^    ([A-Z]\w+)(?: \{|,)$", source, re.MULTILINE)
    return {re.sub(r"(?<!^)([A-Z])", r"_\1", name).lower() for name in names}


def check_equal(what: str, documented: set, found: set) -> None:
    if not found or documented != found:
        raise DemoError(f"{what}: only documented: {documented - found}; only in the code: {found - documented}")


def check_code(document: Document) -> None:
    version = tomllib.loads((REPO / "Cargo.toml").read_text(encoding="utf-8"))["workspace"]["package"]["version"]
    check_equal("version", {document.value["info"]["version"]}, {version})
    documented = {(method, path) for method, path, _ in document.operations()}
    check_equal("routes", documented, routes_of_the_code())
    kinds = document.value["components"]["schemas"]["Step"]["properties"]["kind"]["enum"]
    check_equal("kinds of steps", set(kinds), kinds_of_the_code())


def send(port: int, method: str, path: str, body: bytes | None = None, headers: Headers | None = None) -> Response:
    """The status, the content type without parameters, and the body of a response."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    kind = {"content-type": "application/json"} if body is not None else {}
    try:
        connection.request(method, path, body, {**kind, **(headers or {})})
        response = connection.getresponse()
        return response.status, (response.getheader("content-type") or "").split(";")[0], response.read()
    finally:
        connection.close()


def send_examples(document: Document, ports: dict[bool, int]) -> int:
    """Sends every example, and every request without a body, to the sidecar that it is for. Returns their number."""
    count = 0
    for method, path, operation in document.operations():
        content = operation.get("requestBody", {}).get("content", {}).get("application/json")
        if content is None:
            first = int(next(iter(operation["responses"])))
            document.check(operation, first, send(ports[True], method, path), f"{method} {path}")
            count += 1
            continue
        for name, example in content["examples"].items():
            sent = f"{method} {path}, example {name}"
            status = example.get("x-status", 200)
            invalid = document.errors(content["schema"], example["value"])
            if bool(invalid) != (status == 422):
                raise DemoError(f"{sent}: its status is {status}, and the request has these errors: {invalid}")
            body = json.dumps(example["value"]).encode()
            response = send(ports[example.get("x-policy", True)], method, path, body)
            document.check(operation, status, response, sent)
            count += 1
    return count


def send_invalid(document: Document, ports: dict[bool, int]) -> int:
    """Sends requests that no operation accepts. Returns their number."""
    count = 0
    for method, path, operation in document.operations():
        if not path.startswith("/v1/"):
            continue
        wrong = [(403, b"{}", {"origin": "http://another.example"})]
        if method == "POST":
            wrong += [
                (400, b"{", {}),
                (413, b'"' + b"x" * MAX_BODY + b'"', {}),
                (415, b"{}", {"content-type": "text/plain"}),
            ]
        for status, body, headers in wrong:
            sent = f"{method} {path} for status {status}"
            response = send(ports[True], method, path, body if method == "POST" else None, headers)
            document.check(operation, status, response, sent)
        count += len(wrong)
    operation = document.value["paths"]["/v1/policy"]["get"]
    document.check(operation, 404, send(ports[False], "GET", "/v1/policy"), "GET /v1/policy without a policy")
    return count + 1


def check_strictness(document: Document) -> None:
    """A field that the document lacks must be found: otherwise this test finds nothing."""
    schema = {"$ref": "#/components/schemas/Policy"}
    valid = {
        "mode": "enforce",
        "default_policy": "p",
        "on_unknown_model": "route",
        "models": [],
        "aliases": {},
        "rules": [],
        "policies": [],
    }
    for change in ({"further": 1}, {"mode": "off"}, {"models": [{}]}):
        if not document.errors(schema, {**copy.deepcopy(valid), **change}):
            raise DemoError(f"{change} was not found")
    if errors := document.errors(schema, valid):
        raise DemoError(str(errors))


def main() -> None:
    document = Document()
    check_strictness(document)
    check_code(document)
    ports = reserve_ports([True, False])
    with Processes() as processes:
        for has_policy, port in ports.items():
            folder = REPO / "target" / "admin-api"
            folder.mkdir(parents=True, exist_ok=True)
            socket = folder / f"{'with' if has_policy else 'without'}-policy.sock"
            command = [SIDECAR, "serve", "--model", REPO / "models/minilm", "--device", "cpu", "--workers", "1"]
            command += ["--listen", f"unix:{socket}", "--admin", f"127.0.0.1:{port}"]
            if has_policy:
                command += ["--policy", POLICY]
            processes.start(socket.stem, *command)
        for has_policy, port in ports.items():
            name = f"{'with' if has_policy else 'without'}-policy"
            processes.wait_ready(name, lambda port=port: is_ready(port, "/readyz"))
        count = send_examples(document, ports) + send_invalid(document, ports)
    print(f"{len(document.operations())} operations, {count} requests: all responses are as documented")


if __name__ == "__main__":
    sys.exit(run_as_test(main))
