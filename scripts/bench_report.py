"""What the benchmarks share: their options, and how they print what they measured."""

import argparse
import dataclasses
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
    show(found, tables, options.json)


def show(found: dict[str, list[Row]], tables: dict[str, Titles], json_: bool) -> None:
    """Prints the tables that were measured, or JSON."""
    if json_:
        print(as_json(found))
        return
    for name, titles in tables.items():
        if name in found:
            print_table(found[name], titles)


def as_json(found: dict[str, list[Row]]) -> str:
    """The tables as JSON. An estimate is an object."""
    return json.dumps(found, indent=2, ensure_ascii=False, default=dataclasses.asdict)


def print_table(rows: list[Row], titles: Titles) -> None:
    """Prints a table in Markdown."""
    print("| " + " | ".join(titles.values()) + " |")
    print("|" + "---|" * len(titles))
    for row in rows:
        print("| " + " | ".join(str(row[key]) for key in titles) + " |")
    print()
