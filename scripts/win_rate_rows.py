"""Makes the rows that `win-rate` is trained on.

The graded ones are prompts with two models' grades. The judged ones are prompts of many sets, for which a language
model estimated how much better a strong model's completion would be (models/data/win_rate).

usage: win_rate_rows.py DATA OWN FOLDER
"""

import hashlib
import pathlib
import sys
from collections.abc import Iterable

import json_lines

# The graded sets that the shipped heads are trained on.
GRADED = ("mmlu_gold", "gsm8k_gold")


def scored(row: dict) -> dict:
    """The row with a score: 1 if only the weak model was right, 0 if only the strong one, and 0.5 without a difference.

    Regressing the gain beats predicting whether the weak model is wrong: where both fail, none is needed.
    """
    return {"text": row["text"], "score": (row["weak"] - row["strong"] + 1) / 2}


def graded(data: pathlib.Path, name: str) -> list[dict]:
    """The rows of a graded set, with scores."""
    return list(map(scored, json_lines.read(data / f"winrate_{name}.jsonl")))


def judged(data: pathlib.Path, own: pathlib.Path) -> Iterable[dict]:
    """The prompts with an estimate: the text, the score on the same scale, and the name of the file that it is from."""
    gains = {row["sha256"]: row["gain"] for row in json_lines.read(own / "win_rate/gains.jsonl")}
    for path in [*sorted(data.glob("*.jsonl")), *sorted(own.rglob("*.jsonl"))]:
        for row in json_lines.read(path):
            text = row.get("text") or row.get("question")
            if not isinstance(text, str):
                continue
            gain = row.get("gain", gains.pop(hashlib.sha256(text.encode()).hexdigest()[:16], None))
            if gain is not None:
                yield {"text": text, "score": (1 - gain) / 2, "file": path.stem}


def main() -> None:
    """Writes the rows of the graded sets and the judged ones."""
    data, own, folder = map(pathlib.Path, sys.argv[1:])
    for name in GRADED:
        json_lines.write(folder / f"{name}.jsonl", graded(data, name))
    json_lines.write(folder / "judged.jsonl", judged(data, own))


if __name__ == "__main__":
    main()
