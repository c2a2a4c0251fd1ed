"""Measures variants in turns, and compares them: medians over the turns, with their uncertainty."""

import dataclasses
import pathlib
import random
import statistics
import sys
from collections.abc import Callable, Hashable, Mapping, Sequence

from bench_load import Gateway, Slice, run

SLICE_SECONDS = 1
RESAMPLES = 2000

Slices = list[Slice]
"""The results of one variant, one a turn."""
Field = Callable[[Slice], float]


@dataclasses.dataclass(frozen=True)
class Variant:
    """One way to measure."""

    gateway: Gateway
    script: pathlib.Path
    connections: int


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f} [{self.low:.2f} to {self.high:.2f}]"


def measure(variants: Mapping[Hashable, Variant], rounds: int) -> dict[Hashable, Slices]:
    """Measures in turns, so that other load of the machine affects all variants."""
    slices: dict[Hashable, Slices] = {key: [] for key in variants}
    for turn in range(rounds + 1):
        print(f"turn {turn} of {rounds}" if turn else "warming up", file=sys.stderr)
        # Every second turn in reverse order, so that no variant always follows the same one.
        order = list(variants.items())[:: 1 if turn % 2 else -1]
        for key, variant in order:
            slice_ = run(variant.gateway, variant.script, variant.connections, SLICE_SECONDS)
            if turn:
                slices[key].append(slice_)
    return slices


def cpu_us(slice_: Slice) -> float:
    return slice_.cpu_us


def p50_ms(slice_: Slice) -> float:
    return slice_.p50_ms


def median(slices: Slices, field: Field) -> float:
    return statistics.median(map(field, slices))


def ratio(slices: Slices, base: Slices, field: Field) -> Estimate:
    """The median of one divided by the median of the other."""
    return _compare(slices, base, field, lambda ours, theirs: ours / theirs)


def difference(slices: Slices, base: Slices, field: Field, unit: float = 1.0) -> Estimate:
    """The median of one minus the median of the other, in this unit."""
    return _compare(slices, base, field, lambda ours, theirs: (ours - theirs) / unit)


def _compare(slices: Slices, base: Slices, field: Field, compare: Callable[[float, float], float]) -> Estimate:
    """The interval is a bootstrap over turns. It draws the same turns for both, which shared the machine's load."""

    def figure(turns: Sequence[int]) -> float:
        ours, theirs = ([of[turn] for turn in turns] for of in (slices, base))
        return compare(median(ours, field), median(theirs, field))

    turns = range(len(slices))
    draw = random.Random(0)
    found = sorted(figure(draw.choices(turns, k=len(turns))) for _ in range(RESAMPLES))
    return Estimate(figure(turns), found[RESAMPLES // 40], found[-RESAMPLES // 40])
