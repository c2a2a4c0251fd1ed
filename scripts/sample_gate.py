"""Samples the quality gate's rows from the validation data, without randomness.

Takes the rows of each label whose text has the lowest SHA-256. Rows with numbers instead of a label are one group.
"""

import argparse
import collections
import hashlib
import pathlib

import json_lines

DATA = pathlib.Path(__file__).resolve().parent.parent / "models" / "data"

# The validation rows of each head, and how many of each label are taken.
HEADS = {
    "task": ("task/validation", 10),
    "domain": ("domain/validation", 8),
    "safety": ("safety/validation", 80),
    "complexity": ("complexity/validation", 60),
}


def rows_of(name: str) -> list[dict[str, object]]:
    """The rows of NAME.jsonl, or of the files of the folder NAME."""
    path = DATA / name
    return json_lines.read(path if path.is_dir() else path.with_name(path.name + ".jsonl"))


def trained_on() -> set[str]:
    """The texts of all training sets. A few validation prompts of one head are in the training set of another."""
    files = [path for path in DATA.rglob("*.jsonl") if "train" in path.relative_to(DATA).as_posix()]
    return {row["text"].strip() for path in files for row in json_lines.read(path)}


def rank(row: dict[str, object]) -> str:
    return hashlib.sha256(str(row["text"]).encode()).hexdigest()


def sample(rows: list[dict[str, object]], count: int) -> list[dict[str, object]]:
    groups = collections.defaultdict(list)
    for row in rows:
        groups[str(row.get("label", ""))].append(row)
    return [row for label in sorted(groups) for row in sorted(groups[label], key=rank)[:count]]


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    trained = trained_on()
    for head, (name, count) in HEADS.items():
        rows = sample([row for row in rows_of(name) if str(row["text"]).strip() not in trained], count)
        if not rows:
            print(f"{head}: no rows in {name}, unchanged")
            continue
        json_lines.write(DATA / "gate" / f"{head}.jsonl", rows)
        print(f"{head}: {len(rows)} rows")


if __name__ == "__main__":
    main()
