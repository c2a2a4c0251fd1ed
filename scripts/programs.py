"""The built programs, as scripts that measure models run them."""

import json
import pathlib
import subprocess
from collections.abc import Iterable

REPO = pathlib.Path(__file__).resolve().parent.parent
TRAIN = REPO / "target/release/llm-router-train"
SIDECAR = REPO / "target/release/llm-router-sidecar"


def run(*arguments: object) -> str:
    """What a program prints; its error ends the script."""
    done = subprocess.run([str(it) for it in arguments], cwd=REPO, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(done.stderr)
    return done.stdout


def write(path: pathlib.Path, rows: Iterable[dict]) -> pathlib.Path:
    """Writes rows as JSON Lines."""
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return path
