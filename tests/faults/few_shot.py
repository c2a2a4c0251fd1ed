"""Policies by few-shot examples, as another gateway of the mesh would send them to the sidecar: all different."""

import collections
import hashlib
import json

import grpc
from google.protobuf import struct_pb2

METHOD = "/envoy.service.ext_proc.v3.ExternalProcessor/Process"
EXAMPLES = 100
"""Examples of a set."""
PROMPT = json.dumps({"messages": [{"role": "user", "content": "My bill is wrong"}]}).encode()


def send_sets(port: int, sets: int, seconds: float) -> collections.Counter[str]:
    """Sends this number of sets at once, waits for them this long, and returns how the calls ended."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        process = channel.stream_stream(METHOD)
        calls = [process(iter([_request(number)]), timeout=seconds) for number in range(sets)]
        return collections.Counter(_ending(call) for call in calls)


def _ending(call: grpc.Call) -> str:
    try:
        for _ in call:
            return "classified"
    except grpc.RpcError as error:
        return error.code().name
    return "ended"


def _request(number: int) -> bytes:
    """A `ProcessingRequest` with a request body, and metadata that asks for a classification by examples of its own."""
    routes = {"billing": [f"set {number}, example {example}" for example in range(EXAMPLES)]}
    ours = struct_pb2.Struct()
    ours.update({"contract_version": "1.3", "classifiers": ["examples"]})
    ours.update({"examples": {"digest": _digest(routes), "routes": routes}})
    entry = _field(1, b"llm_router") + _field(2, ours.SerializeToString())
    # Field 4 is `request_body`, with the body as field 1 and `end_of_stream` as field 2; field 8 is `metadata_context`.
    return _field(4, _field(1, PROMPT) + b"\x10\x01") + _field(8, _field(1, entry))


def _field(number: int, content: bytes) -> bytes:
    """A field of Protocol Buffers that has a length."""
    length, size = b"", len(content)
    while size > 0x7F:
        length += bytes([size & 0x7F | 0x80])
        size >>= 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + content


def _digest(routes: dict[str, list[str]]) -> str:
    """As `Examples::digest` of the routing core."""
    hashed = hashlib.sha256()
    for label, texts in sorted(routes.items()):
        for text in (label, str(len(texts)), *texts):
            hashed.update(len(text.encode()).to_bytes(8, "big") + text.encode())
    return hashed.hexdigest()
