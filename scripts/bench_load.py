"""Puts load on a gateway with wrk, and measures the processor time of the gateway's process."""

import dataclasses
import json
import pathlib
import re
import subprocess

SCRIPT = """
wrk.method = "POST"
wrk.path = "/v1/chat/completions"
local file = io.open("{body}", "rb")
wrk.body = file:read("*a")
file:close()

function done(summary, latency)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  local format = '{{"requests": %d, "seconds": %f, "failed": %d, "p50_us": %f}}\\n'
  io.write(string.format(format, summary.requests, summary.duration / 1e6, failed, latency:percentile(50)))
end
"""
HEADER = 'wrk.headers["{name}"] = "{value}"\n'
PAUSE = "\nfunction delay() return {milliseconds} end\n"


class LoadError(Exception):
    """The gateway did not respond as expected."""


@dataclasses.dataclass(frozen=True)
class Gateway:
    """A running gateway."""

    pid: int
    port: int
    helper: int | None = None
    """The process that the gateway calls, whose processor time is counted by itself."""
    start_ms: float = 0.0
    """From the start of its process until it listened."""


@dataclasses.dataclass(frozen=True)
class Slice:
    """The result of one turn."""

    cpu_us: float
    """Processor time per request of the gateway's process and its children."""
    helper_us: float
    """Processor time per request of the gateway's helper."""
    p50_ms: float
    per_second: float


def write_script(path: pathlib.Path, body: str, headers: dict[str, str] | None = None) -> pathlib.Path:
    """Writes the body, and the wrk script that posts it."""
    text = path.with_suffix(".json")
    text.write_text(body)
    script = path.with_suffix(".lua")
    lines = [
        HEADER.format(name=name, value=value)
        for name, value in ({"content-type": "application/json"} | (headers or {})).items()
    ]
    script.write_text("".join(lines) + SCRIPT.format(body=text))
    return script


def write_paced(script: pathlib.Path, pause_ms: int) -> pathlib.Path:
    """Writes a copy of the script with a pause before each request of a connection."""
    paced = script.with_name(f"{script.stem}-{pause_ms}ms.lua")
    paced.write_text(script.read_text() + PAUSE.format(milliseconds=pause_ms))
    return paced


def run(gateway: Gateway, script: pathlib.Path, connections: int, seconds: int) -> Slice:
    """Puts load on the gateway."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(script)]
    before, helper_before = _cpu_us(gateway.pid), _cpu_us(gateway.helper)
    done = subprocess.run([*command, f"http://127.0.0.1:{gateway.port}/"], capture_output=True, text=True, check=False)
    cpu_us, helper_us = _cpu_us(gateway.pid) - before, _cpu_us(gateway.helper) - helper_before
    line = re.search(r'^\{"requests".*$', done.stdout, re.MULTILINE)
    if done.returncode != 0 or line is None:
        raise LoadError(done.stdout + done.stderr)
    found = json.loads(line[0])
    count = found["requests"]
    if found["failed"] or not count:
        raise LoadError(f"{script.stem}: {found['failed']} of {count} requests failed\n{done.stdout}")
    return Slice(cpu_us / count, helper_us / count, found["p50_us"] / 1e3, count / found["seconds"])


def memory_mb(pid: int, key: str = "VmRSS") -> float:
    """Resident memory of a process and its children; with `VmHWM`, the sum of their peaks."""
    kilobytes = 0
    for process in _family(pid):
        found = re.search(rf"^{key}:\s+(\d+) kB", pathlib.Path(f"/proc/{process}/status").read_text(), re.MULTILINE)
        kilobytes += int(found[1]) if found else 0
    return kilobytes / 1024


def _cpu_us(pid: int | None) -> float:
    # The first number of each thread is its time on a CPU. /proc/PID/stat counts in steps of 10 ms, too coarse here.
    threads = [thread for process in _family(pid) for thread in pathlib.Path(f"/proc/{process}/task").iterdir()]
    return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e3


def _family(pid: int | None) -> list[int]:
    if pid is None:
        return []
    children = [
        int(child)
        for file in pathlib.Path(f"/proc/{pid}/task").glob("*/children")
        for child in file.read_text().split()
    ]
    return [pid, *(member for child in children for member in _family(child))]
