"""Writes the configurations of the dynamic module, envoy/module*, from those of the Wasm filter, so both stay alike.

usage: scripts/module_bootstraps.py [--check]

  --check   write nothing; fail if a file is not what would be written
"""

import pathlib
import re
import sys

ENVOY = pathlib.Path(__file__).resolve().parent.parent / "envoy"
BOOTSTRAPS = ["wasm", "shadow", "failover", "limits", "providers", "replicas"]
DYNAMIC = [f"dynamic/{name}" for name in ["bootstrap", "clusters", "listeners", "policy"]]
FILTERS = {"failover": 2, "dynamic/bootstrap": 0, "dynamic/clusters": 0, "dynamic/listeners": 0}
"""How many filters of ours a file has, if not one."""

WASM = re.compile(
    r"""^(?P<indent>\ +)"@type":\ type\.googleapis\.com/envoy\.extensions\.filters\.http\.wasm\.v3\.Wasm\n
    (?P=indent)config:\n
    (?P=indent)\ \ name:\ (?P<name>\w+)\n
    (?P<options>(?:(?P=indent)\ \ (?!configuration:).*\n)+)
    (?:(?P=indent)\ \ configuration:\n
    (?P<configuration>(?:(?P=indent)\ \ \ \ .*\n|\n)+))?""",
    re.MULTILINE | re.VERBOSE,
)
STATS = re.compile(r"(?:^#.*\n)+^stats_config:\n(?:^  .*\n)+\n", re.MULTILINE)
LIMIT = re.compile(r"(?:^ +#.*\n)+^ +request_body_buffer_limit: .*\n", re.MULTILINE)

WASM_TYPE = "envoy.extensions.filters.http.wasm.v3.Wasm"
MODULE_TYPE = "envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter"
MODULE = """\
{indent}"@type": type.googleapis.com/envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter
{indent}dynamic_module_config:
{indent}  # A new version needs a new file name: Envoy keeps the code that it has loaded from a path.
{indent}  module: {{ local: {{ filename: target/libllm_router.so }} }}
{indent}filter_name: {name}
"""
FAILOVER_MODULE = """\
{indent}"@type": type.googleapis.com/envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter
{indent}dynamic_module_config:
{indent}  module: {{ local: {{ filename: target/libllm_router.so }} }}
{indent}# The filter in front of the LLMs; the other, which decides, is llm_router.
{indent}filter_name: failover
"""


def file_name(name: str) -> str:
    return "module.yaml" if name == "wasm" else f"module-{name}.yaml"


def replace_names(text: str) -> str:
    for name in BOOTSTRAPS:
        text = text.replace(f"envoy/{name}.yaml", f"envoy/{file_name(name)}")
    return text.replace("envoy/dynamic/", "envoy/module-dynamic/")


def filter_block(match: re.Match[str]) -> str:
    indent, configuration = match["indent"], match["configuration"]
    if configuration is None:
        return FAILOVER_MODULE.format(indent=indent)
    block = MODULE.format(indent=indent, name=match["name"])
    dedented = re.sub(r"^  ", "", configuration, flags=re.MULTILINE)
    return f"{block}{indent}filter_config:\n{dedented}"


def converted(name: str) -> str:
    text = (ENVOY / f"{name}.yaml").read_text()
    text = STATS.sub("", text)
    text, filters = WASM.subn(filter_block, text)
    if filters != FILTERS.get(name, 1):
        raise SystemExit(f"envoy/{name}.yaml: {filters} Wasm filters were found")
    text = LIMIT.sub("", text)
    text = text.replace("wasm.llm_router.", "llm_router.")
    text = replace_names(text.replace(WASM_TYPE, MODULE_TYPE))
    text = text.replace("our Wasm filter chooses", "our filter, a dynamic module, chooses")
    text = re.sub(r" +(?=\(from the repository root)", "   ", text)
    text = text.replace("where target/llm_router_filter.wasm lies", "where target/libllm_router.so lies")
    text = text.replace("1.35 or newer for allow_on_headers_stop_iteration", "1.38 or newer")
    source = f"# Written by scripts/module_bootstraps.py from envoy/{name}.yaml.\n"
    if "asm" in text:
        raise SystemExit(f"envoy/{name}.yaml: what is left names Wasm")
    return source + text


def main() -> int:
    stale = []
    for name in BOOTSTRAPS + DYNAMIC:
        path, text = ENVOY / file_name(name), converted(name)
        if path.exists() and path.read_text() == text:
            continue
        stale.append(file_name(name))
        if "--check" not in sys.argv:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
    if stale and "--check" in sys.argv:
        print(f"not as written by scripts/module_bootstraps.py: {', '.join(stale)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
