"""Other LLM gateways beside ours: each passes the same request, for a model by name, to the same mock LLM."""

import dataclasses
import json
import pathlib
import re
import secrets
import urllib.error
import urllib.request
from collections.abc import Callable

import bench_bootstrap
import bench_report
from bench_load import Gateway, LoadError, memory_mb
from bench_setting import FOLDER, MODULE_HOST, NATIVE, PLAIN, WASM_HOST, Setting, script
from bench_turns import Estimate, Variant, cpu_us, difference, measure, median, p50_ms
from processes import DemoError, Processes, is_ready, replaced, reserve_ports

REPO = bench_bootstrap.REPO
INSTALLED = REPO / ".setup" / "gateway-peers"
PINS = REPO / "scripts" / "gateway-peers"
KEY = f"sk-{secrets.token_hex(24)}"
"""The clients' key. LiteLLM does not start with a weak one."""

DIRECT = "the mock LLM itself"
SHIPPED = {WASM_HOST: "wasm.yaml", MODULE_HOST: "module.yaml", NATIVE: "native.yaml"}
"""Our hosts as in envoy/: with the access log, and with what it reads from the filter."""
MODEL = "llama-8b"
"""A model of the shipped policy."""


@dataclasses.dataclass(frozen=True)
class Peer:
    """How to start another gateway, and how to ask it for a model of the mock LLM."""

    name: str
    package: str
    command: Callable[[int, str], list[object]]
    """The command for a port to listen on and the mock LLM's URL."""
    ready: str
    """A path that responds once the gateway is ready."""
    model: str = "small"
    headers: Callable[[str], dict[str, str]] = lambda _: {}
    """Headers in addition to the key, for the mock LLM's URL."""


def _litellm(port: int, llm: str) -> list[object]:
    config = FOLDER / "litellm.json"
    parameters = {"model": "openai/small", "api_base": f"{llm}/v1", "api_key": "unused"}
    config.write_text(
        json.dumps(
            {
                "model_list": [{"model_name": "small", "litellm_params": parameters}],
                "general_settings": {"master_key": "os.environ/LITELLM_MASTER_KEY"},
            }
        )
    )
    # The prices of models come with the package; by default it downloads newer ones.
    settings = [f"LITELLM_MASTER_KEY={KEY}", "LITELLM_LOCAL_MODEL_COST_MAP=True", "LITELLM_LOG=ERROR"]
    litellm = INSTALLED / "python" / "bin" / "litellm"
    return ["env", *settings, litellm, "--config", config, "--host", "127.0.0.1", "--port", port, "--num_workers", 1]


def _portkey(port: int, _: str) -> list[object]:
    server = INSTALLED / "node" / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"
    return ["env", "NODE_ENV=production", "node", server, "--headless", f"--port={port}"]


def _ferro(port: int, llm: str) -> list[object]:
    config = FOLDER / "ferro.yaml"
    config.write_text("strategy: {mode: fallback}\ntargets: [{virtual_key: openai}]\n")
    # Its default limit is 100 requests a second.
    settings = {"GATEWAY_CONFIG": config, "PORT": port, "MASTER_KEY": KEY, "RATE_LIMIT_RPS": 0}
    upstream = {"OPENAI_BASE_URL": llm, "OPENAI_API_KEY": "unused"}
    environment = [f"{name}={value}" for name, value in (settings | upstream).items()]
    return ["env", *environment, INSTALLED / "python" / "bin" / "ferrogw", "serve"]


def _noveum(port: int, llm: str) -> list[object]:
    return ["env", f"PORT={port}", f"OPENAI_BASE_URL={llm}", INSTALLED / "cargo" / "bin" / "noveum-ai-gateway"]


PEERS = (
    Peer("LiteLLM", "litellm", _litellm, "/health/liveliness"),
    Peer(
        "Portkey",
        "@portkey-ai/gateway",
        _portkey,
        "/",
        headers=lambda llm: {"x-portkey-provider": "openai", "x-portkey-custom-host": f"{llm}/v1"},
    ),
    # It passes only models that it knows of.
    Peer("Ferro", "ferrogw", _ferro, "/health", model="gpt-4o-mini"),
    Peer("Noveum", "noveum-ai-gateway", _noveum, "/health", headers=lambda _: {"x-provider": "openai"}),
)


@dataclasses.dataclass(frozen=True)
class Entrant:
    """A running gateway, and the request that it takes."""

    gateway: Gateway
    script: pathlib.Path
    model: str
    headers: dict[str, str] = dataclasses.field(default_factory=dict)
    is_peer: bool = False


def measure_all(rounds: int) -> dict[str, list[bench_report.Row]]:
    """The latency that each gateway adds, requests per second, processor time and memory."""
    with Processes() as processes:
        setting = Setting(processes)
        small = script("gateway", "small", 1 << 10)
        entrants = {
            DIRECT: Entrant(setting.llm, small, "small"),
            PLAIN: Entrant(setting.gateway(PLAIN, setting.llm), small, "small"),
        }
        entrants |= _ours(setting)
        entrants |= {f"{peer.name} {_version(peer.package)}": _start(setting, peer) for peer in PEERS}
        for name, entrant in entrants.items():
            _check(name, entrant)
        # The latency of all, then the throughput of all, so that what is compared is measured close in time.
        variants = {
            (connections, name): Variant(entrant.gateway, entrant.script, connections)
            for connections in (1, 8)
            for name, entrant in entrants.items()
        }
        found = measure(variants, rounds)
        memory = {name: memory_mb(entrant.gateway.pid) for name, entrant in entrants.items()}

    added = {name: difference(found[1, name], found[1, DIRECT], p50_ms) for name in entrants}
    fastest = min(added[name].value for name, entrant in entrants.items() if entrant.is_peer)
    rows = []
    for name in entrants:
        one, eight = found[1, name], found[8, name]
        rows.append(
            {
                "gateway": name,
                "p50_ms": round(median(one, p50_ms), 3),
                "added_ms": added[name] if name != DIRECT else Estimate(0, 0, 0),
                "of_fastest_peer": round(added[name].value / fastest, 2),
                "per_second_1": round(median(one, lambda slice_: slice_.per_second)),
                "per_second_8": round(median(eight, lambda slice_: slice_.per_second)),
                "cpu_us": round(median(eight, cpu_us)),
                "sidecar_us": round(median(eight, lambda slice_: slice_.helper_us)),
                "memory_mb": round(memory[name]),
            }
        )
    return {"gateways": rows}


TITLES = {
    "gateway": "1 KB request, model named",
    "p50_ms": "p50, ms (1 connection)",
    "added_ms": "added to the LLM's, ms [95 %]",
    "of_fastest_peer": "added, × the fastest peer's",
    "per_second_1": "requests/s (1 connection)",
    "per_second_8": "requests/s (8 connections)",
    "cpu_us": "CPU, µs/request (8 connections)",
    "sidecar_us": "sidecar CPU, µs/request",
    "memory_mb": "memory, MB",
}


def _ours(setting: Setting) -> dict[str, Entrant]:
    """Our hosts, as shipped but for the ports."""
    sidecar = setting.sidecar("sidecar", REPO / "envoy" / "policy.yaml")
    body = script("gateway-ours", MODEL, 1 << 10)
    entrants = {}
    for host, file in SHIPPED.items():
        port, admin = reserve_ports([file, "admin"]).values()
        text = (REPO / "envoy" / file).read_text()
        ports = {10000: port, 9901: admin, 50051: sidecar.port} | dict.fromkeys((8001, 8002, 8003), setting.llm.port)
        for old, new in ports.items():
            text = replaced(text, f"port_value: {old} ", f"port_value: {new} ")
        config = FOLDER / f"shipped-{file}"
        config.write_text(text)
        entrants[f"{host}, access log"] = Entrant(setting.envoy(config, port, sidecar.pid), body, MODEL)
    return entrants


def _start(setting: Setting, peer: Peer) -> Entrant:
    llm = f"http://127.0.0.1:{setting.llm.port}"
    headers = {"authorization": f"Bearer {KEY}"} | peer.headers(llm)
    body = script(f"gateway-{peer.name}", peer.model, 1 << 10, headers)
    (port,) = reserve_ports([peer.name]).values()
    name = f"bench-{peer.name}"
    pid = setting.processes.start(name, *map(str, peer.command(port, llm)))
    setting.processes.wait_ready(name, lambda: is_ready(port, peer.ready))
    return Entrant(Gateway(pid, port), body, peer.model, headers, is_peer=True)


def _check(name: str, entrant: Entrant) -> None:
    """Fails unless the mock LLM's completion comes through the gateway."""
    body = {"model": entrant.model, "messages": [{"role": "user", "content": "Hello!"}]}
    request = urllib.request.Request(
        f"http://127.0.0.1:{entrant.gateway.port}/v1/chat/completions",
        json.dumps(body).encode(),
        {"content-type": "application/json"} | entrant.headers,
    )
    # A proxy from the environment cannot reach this machine's loopback.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=30) as response:
            completion = json.load(response)["choices"][0]["message"]["content"]
    except urllib.error.HTTPError as error:
        raise LoadError(f"{name} responds with {error.code}: {error.read().decode(errors='replace')}") from None
    except (OSError, ValueError, LookupError) as error:
        raise LoadError(f"{name} does not pass the mock LLM's completion: {error}") from None
    if completion != bench_bootstrap.COMPLETION:
        raise LoadError(f"{name} responds with another completion than the mock LLM: {completion}")


def _version(package: str) -> str:
    """The version of a peer that scripts/gateway-peers pins."""
    for file in ("requirements.txt", "package.json", "crates.txt"):
        if found := re.search(rf"{package}[^\d\n]*([\d.]+)", (PINS / file).read_text()):
            return found[1]
    raise DemoError(f"{PINS.relative_to(REPO)} pins no version of {package}")
