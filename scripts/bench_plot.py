"""Draws what scripts/bench measured, as SVG.

usage: .setup/plot/bin/python scripts/bench_plot.py target/bench.json FILE
"""

import json
import pathlib
import sys

import matplotlib as mpl

mpl.use("svg")
mpl.rcParams |= {"svg.hashsalt": "bench", "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 9}

from matplotlib import pyplot  # noqa: E402 (the backend comes first)
from matplotlib.axes import Axes  # noqa: E402

Row = dict
COLORS = {"Wasm filter": "#c25d2c", "dynamic module": "#2a6fb0", "ext_proc and sidecar": "#6f8f3a"}
OTHER = "#888888"
WAYS = ("model named", "decision from the cache", "trivial sidecar")


def color(name: str) -> str:
    return next((color for host, color in COLORS.items() if name.startswith(host)), OTHER)


def bars(axes: Axes, rows: list[Row], labels: list[str], key: str, title: str) -> None:
    """Horizontal bars with their 95 % intervals, the first row on top."""
    values = [row[key]["value"] for row in rows]
    errors = [
        [max(0, row[key]["value"] - row[key]["low"]) for row in rows],
        [max(0, row[key]["high"] - row[key]["value"]) for row in rows],
    ]
    hosts = [row.get("host") or row["gateway"] for row in rows]
    axes.barh(labels, values, xerr=errors, color=list(map(color, hosts)), error_kw={"linewidth": 0.8}, height=0.7)
    for label, row in zip(labels, rows, strict=True):
        axes.annotate(
            f"{row[key]['value']:.2f}",
            (row[key]["high"], label),
            xytext=(4, 0),
            textcoords="offset points",
            verticalalignment="center",
        )
    axes.invert_yaxis()
    axes.margins(x=0.15)
    axes.set_title(title, loc="left", fontsize=9, fontweight="bold")
    axes.spines[["top", "right"]].set_visible(False)


def paths(axes: Axes, rows: list[Row]) -> None:
    shown = [row for row in rows if row["way"] in WAYS]
    labels = [f"{row['host']}: {row['way']}" for row in shown]
    bars(axes, shown, labels, "ratio", "Envoy's CPU for a 1 KB request at full load, × plain Envoy")
    axes.axvline(1, color=OTHER, linewidth=0.8)


def sizes(axes: Axes, rows: list[Row]) -> None:
    shown = [row for row in rows if row["host"] != "plain Envoy"]
    bars(axes, shown, [row["host"] for row in shown], "per_megabyte", "Added CPU of Envoy for an 8 MB request, ms/MB")


def gateways(axes: Axes, rows: list[Row]) -> None:
    shown = sorted((row for row in rows if row["added_ms"]["value"] > 0), key=lambda row: row["added_ms"]["value"])
    axes.set_xscale("log")
    bars(
        axes, shown, [row["gateway"] for row in shown], "added_ms", "Median latency that a gateway adds, ms (log scale)"
    )


PANELS = {"full": paths, "sizes": sizes, "gateways": gateways}


def main(source: str, target: str) -> None:
    tables = json.loads(pathlib.Path(source).read_text())
    panels = [(draw, tables[name]) for name, draw in PANELS.items() if name in tables]
    if not panels:
        sys.exit("error: nothing to draw: choose a part among paths, sizes and gateways")
    heights = [len(rows) for _, rows in panels]
    figure, all_axes = pyplot.subplots(
        len(panels), 1, figsize=(8, 0.25 * sum(heights) + 0.5 * len(panels)), height_ratios=heights, squeeze=False
    )
    for (draw, rows), axes in zip(panels, all_axes.flat, strict=True):
        draw(axes, rows)
    figure.tight_layout()
    figure.savefig(target, metadata={"Date": None})


if __name__ == "__main__":
    main(*sys.argv[1:])
