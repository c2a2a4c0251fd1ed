"""Samples the quality gate's rows from the validation data, without randomness.

Takes the rows of each label whose text has the lowest SHA-256. Rows with numbers instead of a label are one group.
"""

import argparse
import collections
import hashlib
import json
import pathlib

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
    files = sorted(path.glob("*.jsonl")) if path.is_dir() else [path.with_name(path.name + ".jsonl")]
    lines = [line for file in files if file.is_file() for line in file.read_text("utf-8").split("\n")]
    return [json.loads(line) for line in lines if line.strip()]


def trained_on() -> set[str]:
    """The texts of all training sets. A few validation prompts of one head are in the training set of another."""
    files = [path for path in DATA.rglob("*.jsonl") if "train" in path.relative_to(DATA).as_posix()]
    lines = [line for path in files for line in path.read_text("utf-8").splitlines()]
    return {json.loads(line)["text"].strip() for line in lines}


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
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
        (DATA / "gate" / f"{head}.jsonl").write_text("".join(lines), "utf-8")
        print(f"{head}: {len(rows)} rows")


if __name__ == "__main__":
    main()
