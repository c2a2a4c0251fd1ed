"""What the benchmarks share: their options, and how they print what they measured."""

import argparse
import json
import sys
from collections.abc import Callable

Row = dict[str, object]
Titles = dict[str, str]
"""The columns of a table: a row's keys, with their titles."""


def run(measure: Callable[[int], dict[str, list[Row]]], tables: dict[str, Titles], errors: tuple = ()) -> None:
    """Measures for as many rounds as the command line says, and prints the tables, or JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    try:
        found = measure(options.rounds)
    except errors as error:
        sys.exit(f"error: {error}")
    if options.json:
        print(json.dumps(found, indent=2))
        return
    for name, titles in tables.items():
        print_table(found[name], titles)


def print_table(rows: list[Row], titles: Titles) -> None:
    """Prints a table in Markdown."""
    print("| " + " | ".join(titles.values()) + " |")
    print("|" + "---|" * len(titles))
    for row in rows:
        print("| " + " | ".join(str(row[key]) for key in titles) + " |")
    print()
