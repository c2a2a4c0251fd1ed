"""Writes one half of the labelled rows in files or folders: always the same, because the SHA-256 of a text decides.

usage: half_of.py even|odd PATH...
"""

import hashlib
import pathlib
import sys

import json_lines

half = {"even": 0, "odd": 1}[sys.argv[1]]
for path in map(pathlib.Path, sys.argv[2:]):
    for row in json_lines.read(path):
        if hashlib.sha256(row["text"].encode()).digest()[0] % 2 == half:
            print(json_lines.line(row))
