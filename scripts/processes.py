"""Child processes of the demo and of tests: each with a log, awaited, and ended however the script ends."""

import contextlib
import http.client
import pathlib
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Hashable, Iterable, Iterator

REPO = pathlib.Path(__file__).resolve().parent.parent
LOGS = REPO / "target" / "demo"

START_SECONDS = 60
STOP_SECONDS = 5


class DemoError(Exception):
    """Stops the script. The message is for its user."""


class Processes:
    """The child processes; all of them end with the block."""

    def __init__(self) -> None:
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> "Processes":
        LOGS.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._running.values():
            process.terminate()
            process.send_signal(signal.SIGCONT)
        for process in self._running.values():
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def start(self, name: str, *command: str | pathlib.Path) -> int:
        """Returns the process's id."""
        with log_of(name).open("wb") as log:
            self._running[name] = subprocess.Popen(
                # The kernel ends the child if this script is killed.
                ["setpriv", "--pdeathsig", "KILL", "--", *map(str, command)],
                cwd=REPO,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # A terminal's Ctrl-C then reaches only this script, which ends the children in order.
                start_new_session=True,
            )
        return self._running[name].pid

    def wait_ready(self, name: str, is_ready: Callable[[], bool], every: float = 0.05) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not is_ready():
            self.check()
            if time.monotonic() > deadline:
                raise DemoError(f"{name} is not ready after {START_SECONDS} s\n{log_tail(name)}")
            time.sleep(every)

    def check(self) -> None:
        for name, process in self._running.items():
            if process.poll() is not None:
                raise DemoError(f"{name} ended with status {process.returncode}\n{log_tail(name)}")

    def stop(self, name: str) -> None:
        """Ends a process as Kubernetes does, and waits for it."""
        process = self._running.pop(name)
        process.terminate()
        try:
            process.wait(START_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            raise DemoError(f"{name} did not end within {START_SECONDS} s\n{log_tail(name)}") from None

    def kill(self, name: str) -> None:
        """Ends a process at once, and waits for it."""
        process = self._running.pop(name)
        process.kill()
        process.wait()

    @staticmethod
    def has_logged(name: str, line: str) -> bool:
        return line in log_of(name).read_text(errors="replace").splitlines()

    def send_signal(self, name: str, number: signal.Signals) -> None:
        self._running[name].send_signal(number)

    @contextlib.contextmanager
    def stopped(self, name: str) -> Iterator[None]:
        """Suspends a process: it keeps its connections, and does not respond."""
        self._running[name].send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._running[name].send_signal(signal.SIGCONT)


def end_in_order() -> None:
    """Makes signals raise `SystemExit`, so that blocks, and with them the child processes, end."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda received, _: sys.exit(128 + received))


def run_as_test(run: Callable[[], None]) -> int:
    """Runs a test and returns its exit code."""
    end_in_order()
    try:
        run()
    except DemoError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def log_of(name: str) -> pathlib.Path:
    return LOGS / f"{name}.log"


def log_tail(name: str) -> str:
    lines = log_of(name).read_text(errors="replace").splitlines()[-20:]
    return "\n".join([f"---- {log_of(name).relative_to(REPO)} ----", *lines])


_RESERVED: list[socket.socket] = []


def reserve_ports(names: Iterable[Hashable]) -> dict[Hashable, int]:
    """Returns a free port for each name, which no other process gets by chance until this script ends.

    The sockets stay bound. A child process can listen on its port, because servers set SO_REUSEADDR. Until one does,
    connections are refused.
    """
    ports = {}
    for name in names:
        probe = socket.socket()
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", 0))
        _RESERVED.append(probe)
        ports[name] = probe.getsockname()[1]
    return ports


def replaced(text: str, old: str, new: str) -> str:
    """Replaces text of a shipped file; an error if the file no longer contains it."""
    if old not in text:
        raise DemoError(f"the shipped file no longer contains {old!r}")
    return text.replace(old, new)


def check_free(ports: dict[str, int]) -> None:
    for name, port in ports.items():
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                problem = f"port {port} ({name}) is in use: stop the program that listens there, then try again"
                raise DemoError(problem) from None


def is_ready(port: int, path: str) -> bool:
    # A proxy from the environment cannot reach this machine's loopback.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://127.0.0.1:{port}{path}", timeout=5):
            return True
    except (OSError, http.client.HTTPException):
        return False


def samples(port: int, path: str) -> dict[str, float]:
    """What a process exports for Prometheus."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://127.0.0.1:{port}{path}", timeout=20) as response:
            lines = response.read().decode().splitlines()
    except OSError as error:
        raise DemoError(f"no metrics at port {port}: {error}") from error
    pairs = (line.rsplit(" ", 1) for line in lines if line and not line.startswith("#"))
    return {name: float(value) for name, value in pairs}
