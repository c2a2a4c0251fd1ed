"""The fault of each drill. A drill runs while clients send requests. At its end, the gateway works again."""

import contextlib
import http.client
import random
import signal
import socket
import threading
import time
from collections.abc import Callable

import few_shot
import load
from gateway import Gateway
from processes import DemoError

LARGE = 8_000_000
BODIES = 24
"""Large bodies at a time."""


def none(gateway: Gateway, seconds: float) -> None:
    """Nothing goes wrong."""
    time.sleep(seconds)


def kill(gateway: Gateway, seconds: float) -> None:
    """The sidecar dies, and comes back."""
    gateway.kill_sidecar()
    time.sleep(seconds)
    gateway.start_sidecar()


def stop(gateway: Gateway, seconds: float) -> None:
    """The sidecar hangs for a while, with all its connections."""
    gateway.signal_sidecar(signal.SIGSTOP)
    time.sleep(min(seconds, 3))
    gateway.signal_sidecar(signal.SIGCONT)


def garbage(gateway: Gateway, seconds: float) -> None:
    """Another server takes the sidecar's place and sends random bytes."""
    gateway.kill_sidecar()
    ends = threading.Event()
    noise = random.Random(1)

    def answer(connection: socket.socket) -> None:
        with connection:
            while not ends.is_set() and connection.recv(65536):
                connection.sendall(noise.randbytes(noise.choice((1, 9, 1000))))

    def serve(listener: socket.socket) -> None:
        while not ends.is_set():
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                continue
            threading.Thread(target=_quietly, args=(answer, connection), daemon=True).start()

    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", gateway.ports["sidecar"]))
        listener.listen()
        listener.settimeout(0.1)
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        time.sleep(seconds)
        ends.set()
        thread.join()
    gateway.start_sidecar()


def disk(gateway: Gateway, seconds: float) -> None:
    """The sidecar's log goes to a full disk. The sidecar still reloads, and stops on SIGTERM."""
    gateway.stop_sidecar()
    gateway.start_sidecar("/dev/full")
    time.sleep(seconds / 2)
    if gateway.host.has_policy_file:
        _reload(gateway, "applied")
    gateway.stop_sidecar()
    gateway.start_sidecar()


def reload(gateway: Gateway, seconds: float) -> None:
    """The sidecar's policy is replaced, also by one that is not valid."""
    if not gateway.host.has_policy_file:
        raise NotApplicableError
    for _ in range(3):
        _reload(gateway, "applied")
        gateway.write_policy("policies: nonsense")
        _reload(gateway, "rejected")
        gateway.write_policy()
        time.sleep(seconds / 3)


def leave(gateway: Gateway, seconds: float) -> None:
    """Clients send prompts, and disconnect before the response."""
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        body = load.prompt(0)
        with socket.create_connection(("127.0.0.1", gateway.ports["gateway"])) as client:
            head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
            client.sendall(head.encode() + body)
        time.sleep(0.005)


def flood(gateway: Gateway, seconds: float) -> None:
    """Many large bodies at once, as costly to parse as possible."""
    costly = ['"",', "[],", "0,"]
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        fill = costly.pop(0)
        costly.append(fill)
        body = b'{"model":"auto","tools":[' + fill.encode() * (LARGE // len(fill)) + b'0],"messages":[]}'
        threads = [threading.Thread(target=_quietly, args=(_post, gateway, body)) for _ in range(BODIES)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def stall(gateway: Gateway, seconds: float) -> None:
    """Many clients send half of a body, and wait."""
    half = b"x" * 100_000
    clients = [socket.create_connection(("127.0.0.1", gateway.ports["gateway"])) for _ in range(200)]
    for client in clients:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {2 * len(half)}\r\n\r\n"
        client.sendall(head.encode() + half)
    time.sleep(seconds)
    for client in clients:
        client.close()


def sets(gateway: Gateway, seconds: float) -> None:
    """Another gateway of the mesh sends 300 sets of 100 few-shot examples at once."""
    endings = few_shot.send_sets(gateway.ports["sidecar"], 300, seconds)
    if not endings["RESOURCE_EXHAUSTED"]:
        raise DemoError(f"no set of examples was rejected: {dict(endings)}")


DRILLS: dict[str, Callable[[Gateway, float], None]] = {
    it.__name__: it for it in (none, kill, stop, garbage, disk, reload, leave, flood, stall, sets)
}

AWAY = {"kill", "stop", "garbage", "disk"}
"""Drills in which the sidecar is away. A host that rejects requests without the sidecar may do so."""


class NotApplicableError(Exception):
    """The drill does not apply to the host."""


def _reload(gateway: Gateway, outcome: str) -> None:
    name = f'llm_router_sidecar_reloads_total{{what="policy",outcome="{outcome}"}}'
    before = gateway.metrics("sidecar-admin").get(name, 0)
    gateway.signal_sidecar(signal.SIGHUP)
    ends = time.monotonic() + 20
    while gateway.metrics("sidecar-admin").get(name, 0) == before:
        if time.monotonic() > ends:
            raise DemoError(f"no reload was {outcome}")
        time.sleep(0.05)


def _post(gateway: Gateway, body: bytes) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", gateway.ports["gateway"], timeout=load.TIMEOUT_SECONDS)
    load.send(connection, body)


def _quietly(run: Callable[..., None], *arguments: object) -> None:
    """Ignores failures of these clients. Only the results of the other clients count."""
    with contextlib.suppress(OSError, http.client.HTTPException):
        run(*arguments)
