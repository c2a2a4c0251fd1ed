"""Writes the configurations of the dynamic module, envoy/module* and deploy/compose/module-*, from the Wasm filter's.

usage: scripts/module_bootstraps.py [--check]

  --check   write nothing; fail if a file differs from what the script would write
"""

import pathlib
import re
import sys
import tomllib

REPO = pathlib.Path(__file__).resolve().parent.parent
SOURCES = [
    *(f"envoy/{name}.yaml" for name in ["wasm", "shadow", "failover", "limits", "providers", "replicas"]),
    *(f"envoy/dynamic/{name}.yaml" for name in ["bootstrap", "clusters", "listeners", "policy"]),
    *(f"deploy/compose/{name}.yaml" for name in ["mock-llms", "providers"]),
]
FILTERS = {
    "envoy/failover.yaml": 2,
    "envoy/dynamic/bootstrap.yaml": 0,
    "envoy/dynamic/clusters.yaml": 0,
    "envoy/dynamic/listeners.yaml": 0,
}
"""The number of our filters in a file, if it is not one."""

WASM = re.compile(
    r"""^(?P<indent>\ +)"@type":\ type\.googleapis\.com/envoy\.extensions\.filters\.http\.wasm\.v3\.Wasm\n
    (?P=indent)config:\n
    (?P=indent)\ \ name:\ (?P<name>\w+)\n
    (?P<options>(?:(?P=indent)\ \ (?!configuration:).*\n)+)
    (?:(?P=indent)\ \ configuration:\n
    (?P<configuration>(?:(?P=indent)\ \ \ \ .*\n|\n)+))?""",
    re.MULTILINE | re.VERBOSE,
)
STATS = re.compile(r"(?:^#.*\n)*^stats_config:\n(?:^  .*\n)+\n", re.MULTILINE)
LIMIT = re.compile(r"(?:^ +#.*\n)*^ +request_body_buffer_limit: .*\n", re.MULTILINE)

WASM_TYPE = "envoy.extensions.filters.http.wasm.v3.Wasm"
MODULE_TYPE = "envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter"
MODULE = """\
{indent}"@type": type.googleapis.com/envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter
{indent}dynamic_module_config:
{indent}  # A new version needs a new file name: Envoy keeps the code that it has loaded from a path.
{indent}  module: {{ local: {{ filename: {file} }} }}
{indent}filter_name: {name}
"""
FAILOVER_MODULE = """\
{indent}"@type": type.googleapis.com/envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter
{indent}dynamic_module_config:
{indent}  module: {{ local: {{ filename: {file} }} }}
{indent}# The filter in front of the LLMs. The filter that decides is llm_router.
{indent}filter_name: failover
"""


def target(source: str) -> str:
    """The path of what is written."""
    if source.startswith("envoy/dynamic/"):
        return source.replace("dynamic/", "module-dynamic/")
    folder, name = source.rsplit("/", 1)
    return f"{folder}/module.yaml" if name == "wasm.yaml" else f"{folder}/module-{name}"


def module_file(source: str) -> str:
    """Where Envoy finds the module."""
    if not source.startswith("deploy/"):
        return "target/libllm_router.so"
    version = tomllib.loads((REPO / "Cargo.toml").read_text())["workspace"]["package"]["version"]
    return f"/etc/llm-router/libllm_router-{version}.so"


def filter_block(match: re.Match[str], file: str) -> str:
    indent, configuration = match["indent"], match["configuration"]
    if configuration is None:
        return FAILOVER_MODULE.format(indent=indent, file=file)
    block = MODULE.format(indent=indent, name=match["name"], file=file)
    dedented = re.sub(r"^  ", "", configuration, flags=re.MULTILINE)
    return f"{block}{indent}filter_config:\n{dedented}"


def converted(source: str) -> str:
    text = (REPO / source).read_text()
    text = STATS.sub("", text)
    text, filters = WASM.subn(lambda match: filter_block(match, module_file(source)), text)
    if filters != FILTERS.get(source, 1):
        raise SystemExit(f"{source}: {filters} Wasm filters were found")
    text = LIMIT.sub("", text)
    text = text.replace("wasm.llm_router.", "llm_router.")
    text = text.replace(WASM_TYPE, MODULE_TYPE).replace("envoy/dynamic/", "envoy/module-dynamic/")
    for other in SOURCES:
        text = text.replace(other, target(other))
    text = text.replace("our Wasm filter chooses", "our filter, a dynamic module, chooses")
    text = re.sub(r" +(?=\(from the repository root)", "   ", text)
    text = text.replace("where target/llm_router_filter.wasm lies", "where target/libllm_router.so lies")
    text = text.replace("1.35 or newer for allow_on_headers_stop_iteration", "1.38 or newer")
    text = text.replace("needs Envoy 1.35 or newer;", "needs Envoy 1.38 or newer;")
    if "asm" in text:
        raise SystemExit(f"{source}: the converted text still mentions Wasm")
    return f"# Written by scripts/module_bootstraps.py from {source}.\n{text}"


def main() -> int:
    stale = []
    for source in SOURCES:
        path, text = REPO / target(source), converted(source)
        if path.exists() and path.read_text() == text:
            continue
        stale.append(target(source))
        if "--check" not in sys.argv:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
    if stale and "--check" in sys.argv:
        print(f"not as written by scripts/module_bootstraps.py: {', '.join(stale)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
