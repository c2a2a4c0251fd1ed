"""Reads request bodies as LLM servers in Python do: like read.go, which says how."""

import json
import sys

FIELDS = ("model", "nim-llm-router", "messages", "system", "prompt", "input", "instructions")


def read(body: bytes, expected: list[str]) -> str:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return "refuses"
    if not isinstance(found, dict):
        return "refuses"
    for field, value in zip(FIELDS, expected, strict=True):
        wanted = {} if value == "-" else {field: json.loads(bytes.fromhex(value))}
        read = {field: found[field]} if field in found else {}
        # NaN is not equal to itself.
        if repr(read) != repr(wanted):
            return f"reads {read!a}, not {wanted!a}, in {body!a}"
    return "same"


for line in sys.stdin:
    body, *expected = line.split()
    print(read(bytes.fromhex(body), expected))
