"""The request list: what a client and an operator of a gateway rely on. A check that fails raises `CheckError`."""

import hashlib
import json
import threading
import time
from collections.abc import Callable

import llms
import world
from client import Client, Response, UnreachableError

CODE = "Write a Python function that merges two sorted lists into one."
GREETING = "Hi there! How are you doing today?"
QUESTION = "Why is the sky blue during the day and red at sunset?"
MODELS = {
    "llama-8b": "meta/llama-3.1-8b-instruct",
    "llama-70b": "meta/llama-3.1-70b-instruct",
    "nemotron": "nvidia/llama-3.3-nemotron-super-49b-v1",
}
DEFAULT = "llama-8b"
CREDENTIALS = {
    "authorization": "Bearer client-key",
    "proxy-authorization": "Basic client-key",
    "x-api-key": "client-key",
    "api-key": "client-key",
    "x-goog-api-key": "client-key",
    "cookie": "session=client-key",
}
MAX_BODY = 8 << 20
CHANGE_SECONDS = 40
"""How long a change of the configuration may take to apply."""


class CheckError(Exception):
    """What failed, for the reader of the table."""


def expect(holds: bool, what: object) -> None:
    if not holds:
        raise CheckError(str(what))


def chat(prompt: str, model: str = "auto", **fields: object) -> dict:
    return {"model": model, "messages": [{"role": "user", "content": prompt}]} | fields


def eventually(check: Callable[[], None], seconds: float = CHANGE_SECONDS) -> None:
    """Waits until the check passes."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return check()
        except (CheckError, UnreachableError) as error:
            if time.monotonic() > deadline:
                raise CheckError(f"still, after {seconds:.0f} s: {error}") from None
            time.sleep(0.2)


def is_routed(client: Client) -> None:
    response = client.send(chat(CODE))
    expect((response.served_by, response.reason) == ("nemotron", "classified"), response)


def is_in_shadow(client: Client) -> None:
    response = client.send(chat(CODE))
    expect((response.status, response.served_by) == (200, DEFAULT), response)
    expect((response.model, response.reason) == ("nemotron", "shadow"), response)


def shadow(client: Client) -> None:
    """The request goes to the default LLM byte for byte; the response reports the decision."""
    is_in_shadow(client)
    body = json.dumps(chat(CODE), indent=3)
    for http2 in (False, True):
        response = client.send(body, headers=CREDENTIALS | {"x-llm-cluster": "llama-70b"}, http2=http2)
        expect(response.served_by == DEFAULT, response)
        expect(response.received_body == body.encode(), response)
        _expect_no_credentials(response)


def models(client: Client) -> None:
    """Each prompt goes to its model, over both versions of HTTP."""
    for http2 in (False, True):
        for prompt, model in [(GREETING, "llama-8b"), (QUESTION, "llama-70b"), (CODE, "nemotron")]:
            response = client.send(chat(prompt), http2=http2)
            expect((response.status, response.served_by, response.model) == (200, model, model), response)
            # Some of the policies have no route for greetings.
            expect(response.reason in {"classified", "default"}, response)
            expect("x-llm-router-label" in response.headers, response)
    named = client.send(chat(CODE, "llama-70b"))
    expect((named.served_by, named.reason) == ("llama-70b", "manual"), named)


def provider(client: Client) -> None:
    """The provider is called by TLS, with its own host and key, and with the client's path."""
    received = client.send(chat(CODE), headers=CREDENTIALS).received
    expect(received["tls"], "no TLS")
    expect(received["headers"]["host"] == world.PROVIDER, received["headers"])
    expect(received["headers"].get("authorization") == world.PROVIDER_KEY, received["headers"])
    expect(received["path"] == "/v1/chat/completions", received["path"])


def credentials(client: Client) -> None:
    """No LLM receives a client's key or cookie, whatever the request."""
    for body, path in [
        (chat(CODE), "/v1/chat/completions"),
        (chat(GREETING), "/v1/chat/completions"),
        (chat(GREETING, "llama-70b"), "/v1/chat/completions"),
        ({"input": "a file"}, "/v1/files"),
    ]:
        _expect_no_credentials(client.send(body, path, CREDENTIALS))


def _expect_no_credentials(response: Response) -> None:
    expect(response.status == 200, response)
    found = [name for name, value in response.received["headers"].items() if "client-key" in value]
    expect(not found, f"{response.served_by} received {found}")


def rewrite(client: Client) -> None:
    """The model's name is replaced; all other bytes stay."""
    body = json.dumps(chat(CODE, temperature=0.5, seed=2**53 + 1), indent=3)
    expected = body.replace('"auto"', f'"{MODELS["nemotron"]}"')
    response = client.send(body)
    expect(response.received_body == expected.encode(), response.received_body)


def spoofing(client: Client) -> None:
    """A client can neither choose an LLM nor report a task by header."""
    spoofed = {"x-llm-cluster": "llama-70b", "x-llm-task": "Code Generation", "x-llm-task-confidence": "1"}
    spoofed |= {"x-llm-router-model": "llama-70b"}
    for http2 in (False, True):
        response = client.send(chat(GREETING), headers=spoofed, http2=http2)
        expect((response.served_by, response.model) == ("llama-8b", "llama-8b"), response)
        untouched = client.send({"input": "a file"}, "/v1/files", spoofed, http2)
        expect(untouched.served_by == DEFAULT, untouched)
        for received in (response.received["headers"], untouched.received["headers"]):
            arrived = {name for name in spoofed if received.get(name) == spoofed[name]}
            expect(not arrived, f"the LLM received {arrived}")


def streaming(client: Client) -> None:
    """Events arrive one by one."""
    process = client.stream(chat(CODE, stream=True))
    arrived = [(time.monotonic(), line) for line in process.stdout or [] if line.startswith(b"data:")]
    expect(process.wait() == 0 and len(arrived) == 3, f"{len(arrived)} events")
    spread = arrived[-1][0] - arrived[0][0]
    expect(spread > llms.PAUSE_SECONDS, f"all events came within {spread:.3f} s")
    expect(arrived[-1][1].strip() == b"data: [DONE]", arrived[-1][1])


def _padded(size: int) -> bytes:
    body = json.dumps(chat(CODE)).encode()
    end = body.index(CODE.encode()) + len(CODE)
    return body[:end] + b" " * (size - len(body)) + body[end:]


def sizes(client: Client) -> None:
    """Bodies up to `max_body` are routed whole, larger ones get 413."""
    for http2 in (False, True):
        for size in (40 << 10, 1 << 20, MAX_BODY):
            body = _padded(size)
            response = client.send(body, http2=http2)
            expect((response.status, response.served_by) == (200, "nemotron"), f"{size} bytes: {response}")
            rewritten = body.replace(b'"auto"', f'"{MODELS["nemotron"]}"'.encode())
            received = response.received
            expect(
                received["sha256"] == hashlib.sha256(rewritten).hexdigest(),
                f"{size} bytes: {received['bytes']} arrived",
            )
        for size in (MAX_BODY + 1, 12 << 20):
            _expect_too_large(client, size, http2)


def _expect_too_large(client: Client, size: int, http2: bool) -> None:
    try:
        response = client.send(_padded(size), http2=http2)
    except UnreachableError:
        # Envoy responds, then resets the stream; curl may then have lost the response.
        expect(http2, f"{size} bytes: no response")
        return
    expect(response.status == 413, f"{size} bytes: {response}")
    # Far above the limit, Envoy may respond by itself.
    if size == MAX_BODY + 1:
        expect(response.json()["error"]["code"] == "request_too_large", response)


def uploads(client: Client) -> None:
    """Requests that are not routed pass at any size."""
    body = bytes(range(256)) * (12 << 12)
    for http2 in (False, True):
        response = client.send(body, "/v1/audio/transcriptions", {"content-type": "application/octet-stream"}, http2)
        expect((response.status, response.served_by) == (200, DEFAULT), response)
        expect(response.received["sha256"] == hashlib.sha256(body).hexdigest(), response.received["bytes"])


def errors(client: Client) -> None:
    """Invalid requests get OpenAI's errors, and reach no LLM."""
    for body in ("{", '{"model": "auto", "messages": 1}', "[]"):
        response = client.send(body)
        expect(response.status == 400 and not response.served_by, response)
        expect(response.json()["error"]["type"] == "invalid_request_error", response)


def ignores_spoofed_headers(client: Client) -> None:
    """A client chooses no LLM by header, also where neither filter nor sidecar would remove it."""
    spoofed = CREDENTIALS | {"x-llm-cluster": "llama-70b", "x-gateway-model-name": MODELS["llama-70b"]}
    for body, path in [(chat(CODE), "/v1/chat/completions"), ({"input": "a file"}, "/v1/files")]:
        response = client.send(body, path, spoofed)
        expect(response.served_by == DEFAULT, response)
        _expect_no_credentials(response)


def sidecar_away(client: Client, sidecar: world.Sidecar, fails_closed: bool) -> None:
    """Without a sidecar, requests are forwarded, or fail if so configured. Then they are classified again."""
    sidecar.stop()
    try:
        for _ in range(5):
            if fails_closed:
                response = client.send(chat(CODE))
                expect(response.status == 503 and not response.served_by, response)
            else:
                _expect_to_go_on(client, sidecar.decides)
        if not fails_closed:
            ignores_spoofed_headers(client)
    finally:
        sidecar.start()
    eventually(lambda: is_routed(client))


def _expect_to_go_on(client: Client, decides: bool) -> None:
    response = client.send(chat(CODE))
    expect((response.status, response.served_by) == (200, DEFAULT), response)
    # Only the sidecar knows the decision.
    expect(response.reason == ("" if decides else "classifier_unavailable"), response)
    named = client.send(chat(CODE, "llama-70b"))
    expect(named.served_by == (DEFAULT if decides else "llama-70b"), named)


class Load:
    """A client that sends requests continuously, and records failures."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._ends = threading.Event()
        self._failures: list[tuple[int, str]] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.sent = 0

    def _run(self) -> None:
        while not self._ends.is_set():
            self.sent += 1
            try:
                response = self._client.send(chat(CODE))
                if response.status != 200:
                    self._failures.append((response.status, str(response)))
            except UnreachableError as error:
                self._failures.append((0, str(error)))

    def __enter__(self) -> "Load":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        self._thread.join()

    def expect_all_served(self, but_rejected: bool = False) -> None:
        """Expects no failures, except `but_rejected` requests with 503, for which Envoy could not call a sidecar."""
        failures = [failure for status, failure in self._failures if not (but_rejected and status == 503)]
        expect(not failures, f"{len(failures)} of {self.sent} failed: {failures[:1]}")


def pickers(client: Client) -> None:
    """The endpoint picker of the chosen model's pool gets the same request as the LLM, and chooses the pod."""
    spoofed = {"x-gateway-model-name": MODELS["llama-70b"]}
    for prompt, model in [(GREETING, "llama-8b"), (QUESTION, "llama-70b")]:
        response = client.send(chat(prompt), headers=spoofed)
        pod = f"{world.ADDRESSES[model]}:{world.LLM_PORT}"
        expected = f"{pod} for {MODELS[model]}, {MODELS[model]}"
        expect(response.received["headers"].get("x-picked") == expected, response.received["headers"])
    outside = client.send(chat(CODE), headers=spoofed)
    expect("x-picked" not in outside.received["headers"], outside)


LIST: dict[str, Callable[[Client], None]] = {
    "models": models,
    "provider": provider,
    "credentials": credentials,
    "rewrite": rewrite,
    "spoofing": spoofing,
    "streaming": streaming,
    "sizes": sizes,
    "uploads": uploads,
    "errors": errors,
    "pickers": pickers,
}
"""The checks that run in enforce mode."""
