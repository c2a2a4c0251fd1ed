"""The second half of scripts/soak: runs what was built, and judges what happened."""

import argparse
import csv
import itertools
import json
import pathlib
import statistics
import subprocess
import sys
from collections.abc import Iterator

from processes import REPO, DemoError, Processes, run_as_test

sys.path.insert(0, str(REPO / "tests" / "faults"))

from gateway import BINARIES, HOSTS, Gateway, Host, open_files

SHIPPED_HOSTS = {"wasm": "Wasm", "module": "module", "native": "native"}
WATCHED = ("envoy", "sidecar")
LATENCIES = ("p50_ms", "p99_ms", "first_event_p99_ms")
HEADER = (
    "| host | minute | served/s | failed | p50 ms | p99 ms | first event, p99 ms "
    "| Envoy MB | Envoy files | sidecar MB | sidecar files |"
)
CONNECTIONS = ("envoy_cluster_upstream_cx_active{", "envoy_http_downstream_cx_active{")

ROWS = 10
"""Rows of the table."""
SETTLED = 0.2
"""The fraction of the time until caches, pools and allocators are full, and memory and files stay as they are."""
WINDOW = 0.1
"""The fraction of the time over which a median counts as the state at that time. A single moment may be in a burst."""
GROWTH_MB = 30
GROWTH_FRACTION = 0.1
"""Growth above both is a leak. Allocators alone move the sidecar's memory by 20 MB (docs/faults.md)."""
GROWTH_FILES = 50
"""After a stall of a second, 20 requests come at once. Each opens up to two connections, which stay in pools."""
UNEXPLAINED_FILES = 5
"""Open files of Envoy, after the load and more than before it, that are not connections by Envoy's own count."""

Row = dict[str, float]


def load(gateway: Gateway, options: argparse.Namespace) -> dict:
    """Puts load on the gateway, and returns the report."""
    command = [
        *(BINARIES / "llm-router-sidecar", "bench", "--gateway", f"http://127.0.0.1:{gateway.ports['gateway']}/v1"),
        *("--rate", options.rate, "--warmup", "0s", "--duration", f"{options.minutes * 60}s", "--stream", "half"),
        *("--watch", f"envoy={gateway.envoy_id}", "--watch", f"sidecar={gateway.sidecar_id}"),
        *("--series", options.out / "soak.csv", "--plot", plot_of(options), "--json"),
    ]
    done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, check=False)
    if done.returncode != 0:
        raise DemoError(f"bench ended with status {done.returncode}")
    return json.loads(done.stdout)


def plot_of(options: argparse.Namespace) -> pathlib.Path:
    return options.plot or options.out / "soak.svg"


def read(path: pathlib.Path) -> list[Row]:
    """The series. What a row does not have is left out."""
    with path.open(newline="") as file:
        return [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]


def tenths(rows: list[Row]) -> Iterator[list[Row]]:
    """The rows after the first, which is from before the load, in groups of about the same length."""
    for number in range(ROWS):
        start, end = (1 + (len(rows) - 1) * it // ROWS for it in (number, number + 1))
        if start < end:
            yield rows[start:end]


def print_table(host: Host, rows: list[Row]) -> None:
    print(HEADER + "\n|" + "---|" * (HEADER.count("|") - 1))
    lengths = {now["seconds"]: now["seconds"] - before["seconds"] for before, now in itertools.pairwise(rows)}
    for group in tenths(rows):
        last = group[-1]
        # The last interval is shorter than the others.
        served = sum(row["served_per_second"] * lengths[row["seconds"]] for row in group)
        cells = [
            host.name,
            f"{last['seconds'] / 60:.1f}",
            f"{served / sum(lengths[row['seconds']] for row in group):.1f}",
            f"{sum(row['failed'] for row in group):.0f}",
            *(f"{middle(row[name] for row in group if name in row):.0f}" for name in LATENCIES),
        ]
        for name in WATCHED:
            cells += [f"{last.get(f'{name}_resident_bytes', 0) / 1e6:.0f}", f"{last.get(f'{name}_open_files', 0):.0f}"]
        print(f"| {' | '.join(cells)} |")


def middle(values: Iterator[float]) -> float:
    """The median; 0 without values."""
    found = list(values)
    return statistics.median(found) if found else 0


def growth(rows: list[Row], name: str) -> tuple[float, float]:
    """A figure once everything has settled, and at the end."""
    whole = rows[-1]["seconds"]

    def around(begin: float, end: float) -> float:
        return statistics.median(row[name] for row in rows if begin * whole <= row["seconds"] <= end * whole)

    return around(SETTLED, SETTLED + WINDOW), around(1 - WINDOW, 1)


def problems(report: dict, rows: list[Row]) -> list[str]:
    """What a user would complain about."""
    found = []
    step = report["steps"][0]
    requests, errors = step["gateway"]["requests"], step["gateway"]["errors"]
    found += [f"{count} of {requests} requests failed: {kind}" for kind, count in errors.items()]
    found += [f"such as: {example['detail']}" for example in step["failures"]]
    classified = sum(group["requests"] for group in step["reasons"] if group["name"] == "classified")
    if 2 * classified <= requests:
        found.append(f"only {classified} of {requests} requests were classified: the sidecar was hardly under load")
    ended = [process["name"] for process in report["processes"] if process["has_ended"]]
    if ended:
        return [*found, *(f"{name} ended" for name in ended)]
    for name in WATCHED:
        settled, end = (it / 1e6 for it in growth(rows, f"{name}_resident_bytes"))
        if end - settled > max(GROWTH_MB, GROWTH_FRACTION * settled):
            found.append(f"{name}: memory grew from {settled:.0f} to {end:.0f} MB")
        settled, end = growth(rows, f"{name}_open_files")
        if end - settled > GROWTH_FILES:
            found.append(f"{name}: open files grew from {settled:.0f} to {end:.0f}")
    return found


def unexplained_files(gateway: Gateway) -> float:
    """The open files of Envoy that are not connections by its own count."""
    metrics = gateway.metrics("envoy-admin").items()
    return open_files(gateway.envoy_id) - sum(value for name, value in metrics if name.startswith(CONNECTIONS))


def soak(options: argparse.Namespace) -> list[str]:
    host = next(host for host in HOSTS if host.name == SHIPPED_HOSTS[options.host])
    options.out.mkdir(parents=True, exist_ok=True)
    with Processes() as processes:
        gateway = Gateway(processes, host, f"soak-{options.host}")
        gateway.start()
        print(
            f"{options.rate:g} requests/s for {options.minutes:g} min; rows are added to {options.out}/soak.csv",
            flush=True,
        )
        files = unexplained_files(gateway)
        report = load(gateway, options)
        processes.check()
        rows = read(options.out / "soak.csv")
        print_table(host, rows)
        step = report["steps"][0]
        for heading in ("models", "reasons"):
            counts = (f"{group['name'] or 'none'} {group['requests']}" for group in step[heading])
            print(f"{heading}: {', '.join(counts)}")
        print(f"plot: {plot_of(options)}", flush=True)
        found = problems(report, rows) + gateway.unsettled()
        more = unexplained_files(gateway) - files
        if more > UNEXPLAINED_FILES:
            found.append(f"envoy: {more:.0f} more open files than connections explain")
        return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--host", choices=SHIPPED_HOSTS, default="wasm")
    parser.add_argument("--rate", type=float, default=20)
    parser.add_argument("--out", type=pathlib.Path, default=REPO / "target" / "soak")
    parser.add_argument("--plot", type=pathlib.Path)
    found = soak(parser.parse_args())
    if found:
        raise DemoError("\n".join(found))


if __name__ == "__main__":
    sys.exit(run_as_test(main))
