"""Turns rows with two models' grades, `weak` and `strong` from 0 to 1, into rows with a score, for training `win-rate`.

usage: win_rate_rows.py FILE
"""

import pathlib
import sys

import json_lines


def scored(row: dict) -> dict:
    """The row with a score: 1 if only the weak model was right, 0 if only the strong one, and 0.5 without a difference.

    Regressing the gain beats predicting whether the weak model is wrong: where both fail, none is needed.
    """
    return {"text": row["text"], "score": (row["weak"] - row["strong"] + 1) / 2}


def main() -> None:
    """Prints the rows of a file."""
    for row in json_lines.read(pathlib.Path(sys.argv[1])):
        print(json_lines.line(scored(row)))


if __name__ == "__main__":
    main()
