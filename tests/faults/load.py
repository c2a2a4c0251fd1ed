"""Clients that send prompts continuously, and record how each request ended."""

import dataclasses
import http.client
import itertools
import json
import threading
import time

TIMEOUT_SECONDS = 30
CLIENTS = 3


@dataclasses.dataclass(frozen=True)
class Result:
    """How a request ended: its status, or 0 without a response."""

    status: int
    reason: str
    milliseconds: float
    at: float


class Load:
    """Clients of a gateway, each with a connection of its own."""

    _numbers = itertools.count()

    def __init__(self, port: int) -> None:
        self._port = port
        self._ends = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(CLIENTS)]
        self.results: list[Result] = []

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        connection = None
        while not self._ends.is_set():
            connection = connection or http.client.HTTPConnection("127.0.0.1", self._port, timeout=TIMEOUT_SECONDS)
            start = time.monotonic()
            try:
                status, reason = send(connection, prompt(next(self._numbers)))
            except (OSError, http.client.HTTPException):
                status, reason, connection = 0, "", None
            self.results.append(Result(status, reason, (time.monotonic() - start) * 1000, start))
            # Few enough that the machine is not at its limit.
            self._ends.wait(0.02)


def prompt(number: int) -> bytes:
    """A chat with a unique text, so that no cached prediction is used."""
    text = f"Write a Python function that returns the {number}-th prime after {time.time_ns()}."
    return json.dumps({"model": "auto", "messages": [{"role": "user", "content": text}]}).encode()


def send(connection: http.client.HTTPConnection, body: bytes) -> tuple[int, str]:
    """The response's status, and the router's reason."""
    connection.request("POST", "/v1/chat/completions", body, {"content-type": "application/json"})
    response = connection.getresponse()
    response.read()
    return response.status, response.headers.get("x-llm-router-reason", "")


def percentile(results: list[Result], share: float) -> float:
    """The latency, in milliseconds, that this fraction of the results did not exceed."""
    times = sorted(result.milliseconds for result in results)
    return times[min(len(times) - 1, int(share * len(times)))] if times else 0
