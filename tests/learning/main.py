"""From a team's traffic to its own router, through a real gateway: capture, grade, train, compare, enforce.

Two mock LLMs are of known skill: the small one fails on a kind of prompts that the router does not know, and a judge
errs now and then. The test fails unless, on prompts that no step has seen, the learnt router keeps 95 % of the large
LLM's quality with at most 60 % of the calls to it, and random routing with as many calls does not. Writes
target/learning/: the graded rows, the report and the drawing.

usage: tests/learning/main.py
"""

import collections
import json
import pathlib
import random
import shutil
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "scripts"))

from processes import REPO, DemoError, Processes, run_as_test
from team import ALL_LARGE, COMPARED, HEAD, Response, Team, copy_model, quality, strong_calls

WORK = REPO / "target" / "learning"
QUALITY = 0.95
MAX_STRONG_CALLS = 0.6
# A little above the required quality, because new prompts differ.
TARGET = 0.97


def grade(team: Team) -> int:
    """Has both LLMs answer the captured prompts, and the judge compare; through the gateway, by the models' names."""
    url = f"http://127.0.0.1:{team.ports['gateway']}/v1"
    models = ["--weak", "small", "--strong", "large", "--judge", "judge"]
    team.trainer("grade", "--data", team.captured, "--url", url, *models, "--max-requests", 4000, "--out", team.graded)
    return sum(1 for _ in team.graded.open(encoding="utf-8"))


def train(team: Team) -> float:
    """Fits the head into a copy of the model, which then replaces the sidecar's. Returns the threshold."""
    trained = team.work / "trained"
    copy_model(team.model, trained)
    names = ["--weak-name", "small", "--strong-name", "large"]
    options = ["--head", HEAD, "--quality", TARGET, "--report", team.work / "report"]
    print(team.trainer("win-rate", "--data", team.graded, "--model", trained, *names, *options))
    shutil.copytree(trained / "heads" / HEAD, team.model / "heads" / HEAD)
    team.wait_for_model()
    report = json.loads((team.work / "report" / "report.json").read_text())
    return next(it["threshold"] for it in report["routing"]["targets"] if abs(it["quality"] - TARGET) < 1e-6)


def learned(threshold: float) -> str:
    """The policy that uses the new head."""
    bands = f"[{{ up_to: {threshold}, model: large }}, {{ model: small }}]"
    return f"learned: {{ classifier: {HEAD}, bands: {bands}, default: large }}"


def at_random(team: Team, fraction: float) -> float:
    """The quality of sending this fraction of the new prompts to the large LLM by chance, as the mean of many tries."""
    numbers = random.Random(2)
    model = lambda: "large" if numbers.random() < fraction else "small"  # noqa: E731
    tries = [team.skills.is_right(model(), prompt) for _ in range(200) for prompt in team.new_prompts]
    return sum(tries) / len(tries)


def compare(team: Team, threshold: float) -> dict[tuple[str, str], int]:
    """The learnt policy as a candidate: its decisions are counted, not applied."""
    team.use_policy("compared", COMPARED, learned(threshold))
    responses = team.ask_all(team.new_prompts)
    if any(response.model != "large" for response in responses):
        raise DemoError("the candidate changed what clients get")
    return team.wait_for_comparisons(len(responses))


def enforce(team: Team, threshold: float) -> list[Response]:
    """The learnt policy decides."""
    team.use_policy("learned", learned(threshold), ALL_LARGE)
    return team.ask_all(team.new_prompts)


def table(rows: dict[str, tuple[float, float]]) -> str:
    """Strong calls and quality of each router."""
    best = rows["always large"][1]
    lines = ["| router | calls to the large LLM | right answers | of the large LLM's quality |", "|---|---|---|---|"]
    for name, (calls, right) in rows.items():
        lines.append(f"| {name} | {calls:.1%} | {right:.1%} | {right / best:.1%} |")
    return "\n".join(lines)


def run() -> None:
    """Runs all steps, and prints the result of each."""
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    with Processes() as processes:
        team = Team(processes, WORK)
        team.start()
        team.use_policy("all_large", ALL_LARGE)
        team.ask_all(team.prompts)
        print(f"captured {team.wait_for_captures(len(team.prompts))} prompts")
        print(f"graded {grade(team)} prompts")
        threshold = train(team)
        counts = compare(team, threshold)
        split = collections.Counter()
        for (_, candidate), count in counts.items():
            split[candidate] += count
        print(f"as a candidate, on {sum(split.values())} new prompts: {dict(split)}")
        large = [team.skills.is_right("large", prompt) for prompt in team.new_prompts]
        small = [team.skills.is_right("small", prompt) for prompt in team.new_prompts]
        responses = enforce(team, threshold)
        calls, right = strong_calls(responses), quality(responses)
        best = sum(large) / len(large)
        by_chance = at_random(team, calls)
        rows = {
            "always small": (0.0, sum(small) / len(small)),
            "always large": (1.0, best),
            "random, as many calls": (calls, by_chance),
            "learnt": (calls, right),
        }
        text = table(rows)
        (WORK / "table.md").write_text(text + "\n")
        print(f"\non {len(responses)} prompts that no step has seen:\n\n{text}\n")
        print("report and drawing: target/learning/report/")
    candidate = split["large"] / sum(split.values())
    problems = [
        problem
        for problem, is_there in {
            f"the learnt router keeps {right / best:.3f} of the quality": right < QUALITY * best,
            f"it makes {calls:.3f} of the calls to the large LLM": calls > MAX_STRONG_CALLS,
            f"random routing keeps {by_chance / best:.3f} of the quality": by_chance >= QUALITY * best,
            f"as a candidate it had {candidate:.3f} of the calls, and live {calls:.3f}": abs(candidate - calls) > 0.02,
        }.items()
        if is_there
    ]
    if problems:
        raise DemoError("\n".join(problems))


if __name__ == "__main__":
    sys.exit(run_as_test(run))
