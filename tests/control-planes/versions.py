"""The versions of what runs."""

import re
import subprocess

from processes import REPO


def pinned(name: str) -> str:
    """A version of scripts/k8s-versions.sh."""
    text = (REPO / "scripts/k8s-versions.sh").read_text()
    return re.search(rf"^{name}=v?(\S+)", text, re.MULTILINE)[1]


def envoy() -> str:
    output = subprocess.run([REPO / ".setup/venv/bin/envoy", "--version"], capture_output=True, text=True, check=True)
    return re.search(r"/(\d+\.\d+\.\d+)/", output.stdout)[1]
