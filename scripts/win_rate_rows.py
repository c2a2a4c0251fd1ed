"""Turns rows with two models' grades, `weak` and `strong` from 0 to 1, into rows with a score, for training `win-rate`.

The score is 1 if only the weak model was right, 0 if only the strong one was, and 0.5 if it makes no difference.
Regressing the gain beats predicting whether the weak model is wrong: prompts on which both fail need no strong model.

usage: win_rate_rows.py FILE
"""

import json
import pathlib
import sys

for line in pathlib.Path(sys.argv[1]).read_text("utf-8").splitlines():
    row = json.loads(line)
    print(json.dumps({"text": row["text"], "score": (row["weak"] - row["strong"] + 1) / 2}))
