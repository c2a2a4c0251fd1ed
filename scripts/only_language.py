"""Copies the labelled rows of a folder and its subfolders that are in one language. Rows that name none are English.

usage: only_language.py LANGUAGE FROM TO
"""

import pathlib
import sys

import json_lines


def main() -> None:
    """Copies the rows; a file without any is left out."""
    language, source, target = sys.argv[1], *map(pathlib.Path, sys.argv[2:])
    for path in sorted(source.rglob("*.jsonl")):
        kept = [row for row in json_lines.read(path) if row.get("lang", "en") == language]
        if kept:
            json_lines.write(target / path.relative_to(source), kept)


if __name__ == "__main__":
    main()
