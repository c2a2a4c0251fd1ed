"""The processes that the benchmark measures, and those that they need."""

import contextlib
import json
import os
import pathlib
import socket
import time

import bench_bootstrap
import bench_load
from bench_bootstrap import MODULE, REPO, WASM, Json
from bench_load import Gateway
from processes import LOGS, DemoError, Processes, is_ready, reserve_ports

FOLDER = LOGS.parent / "bench"
BINARIES = REPO / "target" / "release"

CACHE = 1000
"""Entries of a decision cache that is in use."""

PROMPT = "Hello! How are you today? Tell me, in a few words, what the weather is like where you live. "

PLAIN, BUFFER, WASM_HOST, MODULE_HOST, NATIVE = (
    "plain Envoy",
    "Envoy's buffer filter",
    "Wasm filter",
    "dynamic module",
    "ext_proc and sidecar",
)


class Setting:
    """Starts gateways in front of one mock LLM."""

    def __init__(self, processes: Processes, llm: Gateway | None = None) -> None:
        FOLDER.mkdir(parents=True, exist_ok=True)
        self.processes = processes
        self.llm = llm or self._envoy("llm", bench_bootstrap.llm)

    def gateway(self, host: str, sidecar: Gateway, cache: int = CACHE) -> Gateway:
        """A gateway of this kind. If it routes, it calls this sidecar, and caches this number of decisions."""
        if host == PLAIN:
            return self._envoy("plain", bench_bootstrap.plain, self.llm.port)
        if host == BUFFER:
            return self._envoy("buffer", bench_bootstrap.plain, self.llm.port, [bench_bootstrap.buffer_filter()])
        policy = bench_bootstrap.policy(cache)
        limit: int | None = bench_bootstrap.BODY_LIMIT
        if host == NATIVE:
            router = bench_bootstrap.native_filter()
        elif (file := filters()[host]).suffix == ".wasm":
            router = bench_bootstrap.wasm_filter(policy, file)
        else:
            # The module sets the limit by its policy.
            router, limit = bench_bootstrap.module_filter(policy, file), None
        name = f"{host}-{cache}-{sidecar.port}".replace(" ", "-")
        arguments = (self.llm.port, sidecar.port, router, limit)
        return self._envoy(name, bench_bootstrap.routing, *arguments, helper=sidecar.pid)

    def envoy(self, config: pathlib.Path, port: int, helper: int | None = None) -> Gateway:
        """Starts Envoy with a configuration that listens on this port."""
        name = f"bench-envoy-{config.stem}"
        options = ("--use-dynamic-base-id", "--disable-hot-restart", "--log-level", "warning", "--concurrency", "1")
        begin = time.monotonic()
        pid = self.processes.start(name, REPO / ".setup/venv/bin/envoy", "--config-path", config, *options)
        self.processes.wait_ready(name, lambda: accepts(port), every=0.001)
        return Gateway(pid, port, helper, (time.monotonic() - begin) * 1e3)

    def _envoy(self, name: str, bootstrap, *arguments: object, helper: int | None = None) -> Gateway:
        (port,) = reserve_ports([name]).values()
        config = FOLDER / f"{name}.json"
        config.write_text(json.dumps(bootstrap(port, *arguments)))
        return self.envoy(config, port, helper)

    def sidecar(self, name: str, policy: Json | pathlib.Path) -> Gateway:
        """Starts the sidecar with the shipped model."""
        port, admin = reserve_ports([name, "admin"]).values()
        if not isinstance(policy, pathlib.Path):
            file = FOLDER / f"{name}.json"
            file.write_text(json.dumps(policy))
            policy = file
        name = f"bench-{name}"
        serve = ("serve", "--model", "models/e5", "--policy", policy)
        listen = ("--listen", f"127.0.0.1:{port}", "--admin", f"127.0.0.1:{admin}")
        pid = self.processes.start(name, BINARIES / "llm-router-sidecar", *serve, *listen)
        self.processes.wait_ready(name, lambda: is_ready(admin, "/readyz"))
        return Gateway(pid, port)

    def trivial(self) -> Gateway:
        """Starts a sidecar that responds immediately."""
        (port,) = reserve_ports(["trivial"]).values()
        pid = self.processes.start("bench-trivial", BINARIES / "trivial-sidecar", "--listen", f"127.0.0.1:{port}")
        self.processes.wait_ready("bench-trivial", lambda: accepts(port))
        return Gateway(pid, port)


def filters() -> dict[str, pathlib.Path]:
    """The filters to measure: the built ones, and other builds that the environment names."""
    found = {WASM_HOST: WASM, MODULE_HOST: MODULE}
    for host, variable in ((WASM_HOST, "BEFORE"), (MODULE_HOST, "BEFORE_MODULE")):
        if file := os.environ.get(variable):
            found[f"{host} before"] = pathlib.Path(file).resolve()
    for file in found.values():
        if not file.is_file():
            raise DemoError(f"there is no {file}")
    return found


def script(name: str, model: str, size: int, headers: dict[str, str] | None = None) -> pathlib.Path:
    """Writes the script for a conversation of about this many bytes, with turns of some kilobytes."""
    turn = (PROMPT + 'fn main() {\n\tprintln!("grüße, world");\n}\n') * 30
    turns = [turn[:size]] * max(1, size // len(turn))
    roles = ("user", "assistant")
    # The last one is the user's, which is classified.
    texts = [*turns, PROMPT]
    messages = [{"role": roles[(len(texts) - 1 - i) % 2], "content": text} for i, text in enumerate(texts)]
    body = {
        "model": model,
        "messages": messages[-1:] if size < 2048 else messages,
        "stream": False,
        "temperature": 0.7,
    }
    body["user"] = "x" * max(0, 960 - len(json.dumps(body)))
    return bench_load.write_script(FOLDER / name, json.dumps(body, ensure_ascii=False), headers)


def accepts(port: int) -> bool:
    """Whether something listens on the port."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False
