"""Measures the classifier and its peers, and prints the tables of docs/performance.md. See scripts/bench-classifier."""

import dataclasses
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import bench_peers
import bench_report

REPO = bench_peers.REPO
TURN_SECONDS = 1.0
CALLERS = 32
LENGTHS = (32, 128, 256, 512)
"""Tokens of the text of the single caller."""
MIX = (9, 14, 20, 30, 45, 64, 90, 128, 180, 250)
"""Tokens of the prompts of many callers."""

# The outputs and the precision of each row. The peers compute the embedding; routing needs the heads' scores.
OURS = {
    "ours, embedding, fp32": ("embedding", "fp32"),
    "ours, embedding, bf16": ("embedding", "bf16"),
    "ours, five heads, fp32": ("scores", "fp32"),
    "ours, five heads, bf16": ("scores", "bf16"),
}


@dataclasses.dataclass(frozen=True)
class Turn:
    """The result of one turn."""

    p50_ms: float
    per_second: float


def prompt(tokens: int) -> str:
    """The prompt that `bench --tokens` uses."""
    return " ".join(["the"] * (tokens - 2))


def reading_all() -> pathlib.Path:
    """The shipped model without its limit of tokens, so that it reads as many as the peers do."""
    folder = bench_peers.ONNX / "model"
    folder.mkdir(exist_ok=True)
    for file in ("config.json", "model.safetensors", "tokenizer.json", "heads", *bench_peers.ADAPTER):
        if not (link := folder / file).exists():
            link.symlink_to(bench_peers.MODEL / file)
    return folder


def ours(want: str, precision: str, *options: object) -> Callable[[], Turn]:
    """Measures with `llm-router-sidecar bench`: the engine as `serve` runs it, in a new process each turn."""
    command = [REPO / "target/release/llm-router-sidecar", "bench", "--json", "--device", "cpu"]
    command += ["--model", reading_all(), "--want", want, "--precision", precision]
    command += ["--duration", TURN_SECONDS, "--warmup", 0.2, *options]

    def turn() -> Turn:
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise SystemExit(done.stderr)
        step = json.loads(done.stdout)["steps"][0]
        if any(step["errors"].values()) or step["latency_ms"] is None:
            raise SystemExit(f"error: not every prompt was answered: {step}")
        return Turn(step["latency_ms"]["p50"], step["answered_per_second"])

    return turn


def peer(embed: bench_peers.Embed, prompts: list[str]) -> Callable[[], Turn]:
    """Measures a peer with one text after the other, each equally often."""

    def turn() -> Turn:
        embed(prompts[0])
        milliseconds = []
        begin = time.perf_counter()
        while time.perf_counter() - begin < TURN_SECONDS:
            for text in prompts:
                start = time.perf_counter()
                embed(text)
                milliseconds.append((time.perf_counter() - start) * 1e3)
        return Turn(statistics.median(milliseconds), len(milliseconds) / (time.perf_counter() - begin))

    return turn


def in_turns(ways: dict[str, Callable[[], Turn]], rounds: int) -> dict[str, Turn]:
    """Medians over all rounds. The ways take turns, so that other load of the machine affects all of them."""
    turns: dict[str, list[Turn]] = {name: [] for name in ways}
    for round_ in range(rounds):
        print(f"round {round_ + 1} of {rounds}", file=sys.stderr)
        for name, way in ways.items():
            turns[name].append(way())
    return {
        name: Turn(
            statistics.median(turn.p50_ms for turn in taken), statistics.median(turn.per_second for turn in taken)
        )
        for name, taken in turns.items()
    }


def one_caller(rounds: int) -> list[dict[str, object]]:
    """The latency of one text, with one thread."""
    peers = bench_peers.load(threads=1)
    rows: dict[str, dict[str, object]] = {name: {"way": name} for name in [*OURS, *peers]}
    for length in LENGTHS:
        alone = ("--tokens", length, "--concurrency", 1, "--workers", 1)
        ways = {name: ours(*what, *alone) for name, what in OURS.items()}
        ways |= {name: peer(embed, [prompt(length)]) for name, embed in peers.items()}
        for name, turn in in_turns(ways, rounds).items():
            rows[name][f"p50_ms_{length}"] = round(turn.p50_ms, 2)
    return list(rows.values())


def many_callers(rounds: int) -> list[dict[str, object]]:
    """Texts of mixed lengths per second: the classifier with many callers at once, the peers with one."""
    cores = len(os.sched_getaffinity(0))
    prompts = [prompt(length) for length in MIX]
    file = bench_peers.ONNX / "prompts.txt"
    file.write_text("\n".join(prompts))
    together = ("--prompts", file, "--concurrency", CALLERS, "--workers", cores)
    ways = {name: ours(*what, *together) for name, what in OURS.items()}
    ways |= {name: peer(embed, prompts) for name, embed in bench_peers.load(threads=cores).items()}
    found = in_turns(ways, rounds)
    least = found["transformers, sdpa"].per_second
    return [
        {"way": name, "per_second": round(turn.per_second, 1), "ratio": round(turn.per_second / least, 2)}
        for name, turn in found.items()
    ]


def measure_all(rounds: int) -> dict[str, list[bench_report.Row]]:
    """Both tables."""
    bench_peers.ONNX.mkdir(parents=True, exist_ok=True)
    return {"one_caller": one_caller(rounds), "many_callers": many_callers(rounds)}


TABLES = {
    "one_caller": {
        "way": "one text, one thread",
        **{f"p50_ms_{length}": f"{length} tokens, ms" for length in LENGTHS},
    },
    "many_callers": {
        "way": f"{CALLERS} callers, mixed lengths",
        "per_second": "texts/s",
        "ratio": "× transformers, sdpa",
    },
}

if __name__ == "__main__":
    bench_report.run(measure_all, TABLES)
