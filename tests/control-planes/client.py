"""Requests by curl, over HTTP/1.1 and HTTP/2."""

import base64
import dataclasses
import json
import pathlib
import subprocess
import tempfile

TIMEOUT_SECONDS = 60


class UnreachableError(Exception):
    """There was no response."""


@dataclasses.dataclass(frozen=True)
class Response:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> dict:
        return json.loads(self.body)

    @property
    def received(self) -> dict:
        """What the LLM received."""
        return self.json()["received"]

    @property
    def received_body(self) -> bytes:
        return base64.b64decode(self.received["body"])

    @property
    def served_by(self) -> str:
        return self.headers.get("x-served-by", "")

    @property
    def model(self) -> str:
        return self.headers.get("x-llm-router-model", "")

    @property
    def reason(self) -> str:
        return self.headers.get("x-llm-router-reason", "")

    def __str__(self) -> str:
        shown = {name: value for name, value in self.headers.items() if name.startswith("x-")}
        return f"status {self.status}, {shown}, {self.body[:300]!r}"


@dataclasses.dataclass(frozen=True)
class Client:
    """A client of the gateway at this URL."""

    url: str

    def send(
        self,
        body: bytes | str | dict,
        path: str = "/v1/chat/completions",
        headers: dict[str, str] | None = None,
        http2: bool = False,
    ) -> Response:
        data = json.dumps(body) if isinstance(body, dict) else body
        data = data.encode() if isinstance(data, str) else data
        with tempfile.TemporaryDirectory() as folder:
            sent, head = pathlib.Path(folder, "sent"), pathlib.Path(folder, "head")
            sent.write_bytes(data)
            command = [*self._command(path, headers, http2), "--data-binary", f"@{sent}", "--dump-header", str(head)]
            done = subprocess.run(command, capture_output=True, check=False)
            # The server may respond early and close the connection or the stream if a body is too large.
            if done.returncode not in {0, 55, 56, 92} or not head.exists():
                raise UnreachableError(done.stderr.decode().strip())
            return _response(head.read_text(), done.stdout)

    def stream(self, body: dict, headers: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
        """Starts a request; the caller reads the response as it arrives."""
        command = [*self._command("/v1/chat/completions", headers, False), "--no-buffer", "--data", json.dumps(body)]
        return subprocess.Popen([*command, "--dump-header", "-"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)

    def _command(self, path: str, headers: dict[str, str] | None, http2: bool) -> list[str]:
        version = "--http2-prior-knowledge" if http2 else "--http1.1"
        command = ["curl", "--silent", "--show-error", "--max-time", str(TIMEOUT_SECONDS), version]
        # Otherwise curl waits for `100 Continue` before a large body.
        for name, value in ({"content-type": "application/json", "expect": ""} | (headers or {})).items():
            command += ["--header", f"{name}: {value}" if value else f"{name}:"]
        return [*command, self.url + path]


def _response(head: str, body: bytes) -> Response:
    # After `100 Continue` there are several blocks of headers. The last one counts.
    last = [part for part in head.replace("\r\n", "\n").split("\n\n") if part.startswith("HTTP/")]
    if not last:
        raise UnreachableError("no response headers")
    first, *lines = last[-1].split("\n")
    pairs = (line.split(":", 1) for line in lines if ":" in line)
    return Response(int(first.split()[1]), {name.strip().lower(): value.strip() for name, value in pairs}, body)
