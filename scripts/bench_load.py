"""Puts load on a gateway with wrk, and measures the processor time of the gateway's process."""

import dataclasses
import pathlib
import re
import subprocess

SCRIPT = """
wrk.method = "POST"
wrk.path = "/v1/chat/completions"
wrk.headers["content-type"] = "application/json"
local file = io.open("{body}", "rb")
wrk.body = file:read("*a")
file:close()
"""
_MILLISECONDS = {"us": 1e-3, "ms": 1.0, "s": 1e3}


class LoadError(Exception):
    """The gateway did not respond as expected."""


@dataclasses.dataclass(frozen=True)
class Slice:
    """The result of one turn."""

    requests: int
    cpu_us: float
    """Processor time of the gateway's process per request."""
    p50_ms: float


PAUSE = """
function delay() return {milliseconds} end
"""


def write_script(path: pathlib.Path, body: str) -> pathlib.Path:
    """Writes the body, and the wrk script that posts it."""
    text = path.with_suffix(".json")
    text.write_text(body)
    script = path.with_suffix(".lua")
    script.write_text(SCRIPT.format(body=text))
    return script


def write_paced(script: pathlib.Path, pause_ms: int) -> pathlib.Path:
    """Writes a copy of the script with a pause before each request of a connection."""
    paced = script.with_name(f"{script.stem}-paced.lua")
    paced.write_text(script.read_text() + PAUSE.format(milliseconds=pause_ms))
    return paced


def run(pid: int, port: int, script: pathlib.Path, connections: int, seconds: float) -> Slice:
    """Puts load on the gateway whose process is `pid`."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", str(script)]
    before = _cpu_ns(pid)
    done = subprocess.run([*command, f"http://127.0.0.1:{port}/"], capture_output=True, text=True, check=False)
    cpu_ns = _cpu_ns(pid) - before
    if done.returncode != 0 or "Non-2xx" in done.stdout or "Socket errors" in done.stdout:
        raise LoadError(done.stdout + done.stderr)
    requests = re.search(r"(\d+) requests in", done.stdout)
    p50 = re.search(r"50%\s+([\d.]+)(us|ms|s)\b", done.stdout)
    if requests is None or p50 is None or int(requests[1]) == 0:
        raise LoadError(done.stdout)
    count = int(requests[1])
    return Slice(count, cpu_ns / 1e3 / count, float(p50[1]) * _MILLISECONDS[p50[2]])


def _cpu_ns(pid: int) -> int:
    # The first number of each thread is its time on a CPU. /proc/PID/stat counts in steps of 10 ms, too coarse here.
    threads = pathlib.Path(f"/proc/{pid}/task").iterdir()
    return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads)
