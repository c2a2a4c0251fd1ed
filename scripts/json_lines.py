"""Reads and writes JSON Lines: one labelled row a line."""

import json
import pathlib
from collections.abc import Iterable


def read(path: pathlib.Path) -> list[dict]:
    """The rows of a file, or of the files of a folder."""
    if path.is_dir():
        return [row for file in sorted(path.glob("*.jsonl")) for row in read(file)]
    # By the file, which ends lines at line feeds only; `splitlines` would also split at line separators within a text.
    with path.open(encoding="utf-8", newline="\n") as file:
        return [json.loads(line) for line in file if line.strip()]


def line(row: dict) -> str:
    """A row as its line, without the line feed."""
    return json.dumps(row, ensure_ascii=False)


def write(path: pathlib.Path, rows: Iterable[dict]) -> pathlib.Path:
    """Writes rows, and makes the folder if it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line(row)}\n" for row in rows), "utf-8")
    return path
