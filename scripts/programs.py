"""The built programs, as scripts that measure models run them."""

import pathlib
import subprocess

REPO = pathlib.Path(__file__).resolve().parent.parent
TRAIN = REPO / "target/release/llm-router-train"
SIDECAR = REPO / "target/release/llm-router-sidecar"


def run(*arguments: object) -> str:
    """What a program prints; its error ends the script."""
    done = subprocess.run([str(it) for it in arguments], cwd=REPO, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(done.stderr)
    return done.stdout
