"""Runs solution.py, then tests.py in the same module. Prints the word that it reads if both come to their end."""

import os
import pathlib
import sys
import types


def main() -> None:
    """Runs both files."""
    word = sys.stdin.readline()
    result = os.fdopen(os.dup(1), "w")
    # What the code prints is not read.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    module = types.ModuleType("solution")
    sys.modules["solution"] = module
    for name in ("solution.py", "tests.py"):
        source = pathlib.Path(name).read_text(encoding="utf-8")
        exec(compile(source, name, "exec"), module.__dict__)
    result.write(word)
    result.flush()


main()
