"""Measures the filter in Envoy, and prints the tables of docs/performance.md. See scripts/bench."""

import contextlib
import dataclasses
import json
import os
import pathlib
import socket
import statistics
from collections.abc import Iterable

import bench_bootstrap
import bench_load
import bench_report
from processes import LOGS, DemoError, Processes, is_ready, reserve_ports

REPO = bench_bootstrap.REPO
SLICE_SECONDS = 1
BUSY = 8
"""Connections for measuring processor time. Latency is measured with one."""

PAUSE_MS = 25
"""Pause before each request of a connection, for measuring processor time at about the same rate."""

PROMPT = "Hello! How are you today? Tell me, in a few words, what the weather is like where you live. "
SIZES = {"1 KB": 1 << 10, "100 KB": 100 << 10, "1 MB": 1 << 20, "8 MB": 8 << 20}


@dataclasses.dataclass(frozen=True)
class Gateway:
    pid: int
    port: int


@dataclasses.dataclass(frozen=True)
class Variant:
    """One way to measure."""

    name: str
    gateway: Gateway
    script: pathlib.Path
    connections: int


@dataclasses.dataclass(frozen=True)
class Result:
    """Medians over all turns."""

    cpu_us: float
    p50_ms: float
    requests: float
    """Requests in a turn."""


def measure(variants: list[Variant], rounds: int) -> list[Result]:
    """Measures in turns, so that other load of the machine affects all variants."""
    slices: list[list[bench_load.Slice]] = [[] for _ in variants]
    for turn in range(rounds + 1):
        for variant, results in zip(variants, slices, strict=True):
            gateway = variant.gateway
            slice_ = bench_load.run(gateway.pid, gateway.port, variant.script, variant.connections, SLICE_SECONDS)
            if turn > 0:  # the first warms up
                results.append(slice_)
    return [
        Result(
            statistics.median(slice_.cpu_us for slice_ in results),
            statistics.median(slice_.p50_ms for slice_ in results),
            statistics.median(slice_.requests for slice_ in results),
        )
        for results in slices
    ]


class Setting:
    """The measured processes, and those that they need."""

    def __init__(self, processes: Processes, folder: pathlib.Path) -> None:
        self._processes = processes
        self._folder = folder
        llm = self._envoy("llm", bench_bootstrap.llm, ()).port
        real, trivial = reserve_ports(["real", "trivial"]).values()
        self._start_sidecars(real, trivial)
        self.plain = self._envoy("plain", bench_bootstrap.plain, (llm,))
        self.manual = self._envoy("manual", bench_bootstrap.routing, (llm, trivial, 1000))
        self.trivial = self._envoy("trivial", bench_bootstrap.routing, (llm, trivial, 0))
        self.real = self._envoy("real", bench_bootstrap.routing, (llm, real, 0))
        self.before: Gateway | None = None
        if before := os.environ.get("BEFORE"):
            arguments = (llm, trivial, 1000, pathlib.Path(before).resolve())
            self.before = self._envoy("before", bench_bootstrap.routing, arguments)

    def script(self, name: str, model: str, size: int) -> pathlib.Path:
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
        return bench_load.write_script(self._folder / name, json.dumps(body, ensure_ascii=False))

    def _start_sidecars(self, real: int, trivial: int) -> None:
        binaries, (admin,) = REPO / "target" / "release", reserve_ports(["admin"]).values()
        serve = ("serve", "--model", "models/minilm", "--listen", f"127.0.0.1:{real}")
        self._processes.start("bench-sidecar", binaries / "llm-router-sidecar", *serve, "--admin", f"127.0.0.1:{admin}")
        self._processes.start("bench-trivial", binaries / "trivial-sidecar", "--listen", f"127.0.0.1:{trivial}")
        self._processes.wait_ready("bench-sidecar", lambda: is_ready(admin, "/readyz"))
        self._processes.wait_ready("bench-trivial", lambda: _accepts(trivial))

    def _envoy(self, name: str, bootstrap, arguments: Iterable[object]) -> Gateway:
        (port,) = reserve_ports([name]).values()
        config = self._folder / f"{name}.json"
        config.write_text(json.dumps(bootstrap(port, *arguments)))
        options = ("--use-dynamic-base-id", "--disable-hot-restart", "--log-level", "warning")
        name = f"bench-envoy-{name}"
        pid = self._processes.start(
            name, REPO / ".setup/venv/bin/envoy", "--config-path", config, "--concurrency", "1", *options
        )
        self._processes.wait_ready(name, lambda: _accepts(port))
        return Gateway(pid, port)


def _accepts(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def paths(setting: Setting, rounds: int) -> list[dict[str, object]]:
    """The cost of a small request, for each way through the gateway."""
    auto = setting.script("auto", "auto", 1 << 10)
    named = setting.script("named", "small", 1 << 10)
    ways = [
        ("no filter", setting.plain, auto),
        ("model named, no classification", setting.manual, named),
        ("decision from the cache", setting.manual, auto),
        ("trivial sidecar", setting.trivial, auto),
        ("real sidecar, CPU", setting.real, auto),
    ]
    if setting.before:
        ways += [
            ("model named, the filter before", setting.before, named),
            ("decision from the cache, the filter before", setting.before, auto),
        ]
    variants = []
    for name, gateway, script in ways:
        paced = bench_load.write_paced(script, PAUSE_MS)
        variants += [Variant(name, gateway, script, connections) for connections in (BUSY, 1)]
        variants.append(Variant(name, gateway, paced, BUSY))
    results = measure(variants, rounds)
    rows = []
    for (name, _, _), busy, single, slow in zip(ways, results[::3], results[1::3], results[2::3], strict=True):
        rows.append(
            {
                "way": name,
                "cpu_us": round(busy.cpu_us, 1),
                "cpu_ratio": round(busy.cpu_us / results[0].cpu_us, 2),
                "p50_ms": round(single.p50_ms, 3),
                "requests_per_second": round(busy.requests / SLICE_SECONDS),
                "paced_cpu_us": round(slow.cpu_us),
                "paced_ratio": round(slow.cpu_us / results[2].cpu_us, 2),
                "paced_requests_per_second": round(slow.requests / SLICE_SECONDS),
            }
        )
    return rows


def sizes(setting: Setting, rounds: int) -> list[dict[str, object]]:
    """The cost of bodies by size, with the model named."""
    variants = []
    megabytes = []
    for name, size in SIZES.items():
        script = setting.script(f"size-{size}", "small", size)
        megabytes.append(script.with_suffix(".json").stat().st_size / 1e6)
        variants += [Variant(name, gateway, script, 2) for gateway in (setting.plain, setting.manual)]
    results = measure(variants, rounds)
    rows = []
    for name, size, plain, ours in zip(SIZES, megabytes, results[::2], results[1::2], strict=True):
        extra = (ours.cpu_us - plain.cpu_us) / 1e3
        rows.append(
            {
                "body": name,
                "plain_cpu_ms": round(plain.cpu_us / 1e3, 3),
                "filter_cpu_ms": round(ours.cpu_us / 1e3, 3),
                "ms_per_mb": round(extra / size, 3),
            }
        )
    return rows


def measure_all(rounds: int) -> dict[str, list[bench_report.Row]]:
    """Both tables."""
    with Processes() as processes:
        folder = LOGS.parent / "bench"
        folder.mkdir(parents=True, exist_ok=True)
        setting = Setting(processes, folder)
        return {"paths": paths(setting, rounds), "sizes": sizes(setting, rounds)}


TABLES = {
    "paths": {
        "way": "1 KB request",
        "cpu_us": "Envoy CPU, µs/request",
        "cpu_ratio": "× plain Envoy",
        "p50_ms": "p50, ms (1 connection)",
        "requests_per_second": f"requests/s ({BUSY} connections)",
        "paced_cpu_us": "Envoy CPU, paced",
        "paced_ratio": "× plain, paced",
        "paced_requests_per_second": "requests/s, paced",
    },
    "sizes": {
        "body": "body",
        "plain_cpu_ms": "no filter, CPU ms/request",
        "filter_cpu_ms": "filter, CPU ms/request",
        "ms_per_mb": "filter's ms/MB",
    },
}

if __name__ == "__main__":
    bench_report.run(measure_all, TABLES, errors=(DemoError, bench_load.LoadError))
