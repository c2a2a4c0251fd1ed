"""Writes one half of the labelled rows in files or folders: always the same, because the SHA-256 of a text decides.

usage: half_of.py even|odd PATH...
"""

import hashlib
import json
import pathlib
import sys

half = {"even": 0, "odd": 1}[sys.argv[1]]
for path in map(pathlib.Path, sys.argv[2:]):
    for file in sorted(path.glob("*.jsonl")) if path.is_dir() else [path]:
        for line in file.read_text("utf-8").splitlines():
            if hashlib.sha256(json.loads(line)["text"].encode()).digest()[0] % 2 == half:
                print(line)
