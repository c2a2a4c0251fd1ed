"""Mock LLMs that respond with what they received: one per address, in plain text or by TLS."""

import base64
import hashlib
import json
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PAUSE_SECONDS = 0.4
"""The pause between two events of a stream."""
LARGEST_ECHO = 64 << 10


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "llm"
    served_by: str

    def do_POST(self) -> None:
        body = self._read_body()
        received = {
            "method": self.command,
            "path": self.path,
            "headers": {name.lower(): value for name, value in self.headers.items()},
            "bytes": len(body),
            "sha256": hashlib.sha256(body).hexdigest(),
            "body": base64.b64encode(body).decode() if len(body) <= LARGEST_ECHO else None,
            "tls": isinstance(self.connection, ssl.SSLSocket),
        }
        if b'"stream": true' in body[:LARGEST_ECHO]:
            self._stream(received)
        else:
            self._respond(received)

    def do_GET(self) -> None:
        self.do_POST()

    def _read_body(self) -> bytes:
        if self.headers.get("transfer-encoding") == "chunked":
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body
        return self.rfile.read(int(self.headers.get("content-length", 0)))

    def _head(self, content_type: str, *headers: tuple[str, str]) -> None:
        self.send_response(200)
        for name, value in [("content-type", content_type), ("x-served-by", self.served_by), *headers]:
            self.send_header(name, value)
        self.end_headers()

    def _respond(self, received: dict[str, object]) -> None:
        message = {"role": "assistant", "content": f"This is {self.served_by}."}
        answer = {
            "object": "chat.completion",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12},
            "received": received,
        }
        data = json.dumps(answer).encode()
        self._head("application/json", ("content-length", str(len(data))))
        self.wfile.write(data)

    def _stream(self, received: dict[str, object]) -> None:
        self._head("text/event-stream", ("transfer-encoding", "chunked"))
        chunk = {"object": "chat.completion.chunk", "choices": [], "received": received}
        for event in (json.dumps(chunk), json.dumps(chunk | {"received": None}), "[DONE]"):
            data = f"data: {event}\n\n".encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
            self.wfile.flush()
            time.sleep(PAUSE_SECONDS)
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_: object) -> None:
        """Ignores clients that disconnect."""


def serve(name: str, address: str, port: int, tls: ssl.SSLContext | None = None) -> None:
    """Serves the LLM in the background, until the process ends."""
    server = Server((address, port), type(name, (Handler,), {"served_by": name}))
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, daemon=True).start()
