"""Breaks gateways on purpose while clients use them, and prints what happened to the clients.

usage: tests/faults/main.py [--host NAME]... [--drill NAME]... [--seconds N] [--list]

  --host, --drill  run only these; may be repeated
  --seconds        how long a fault lasts (default 6)
  --list           print the names, and exit
"""

import argparse
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "scripts"))

from drills import AWAY, DRILLS, NotApplicableError
from gateway import HOSTS, SETTLE_SECONDS, Gateway, Host, resident_megabytes
from load import Load, Result, percentile
from processes import DemoError, Processes, run_as_test

HEADER = "| host | drill | requests | failed | classified | p50 ms | p99 ms | Envoy MB | sidecar MB |"


def run(gateway: Gateway, name: str, seconds: float) -> list[str]:
    """Runs a drill, prints its row, and returns what is wrong."""
    with Load(gateway.ports["gateway"]) as load:
        time.sleep(1)
        try:
            DRILLS[name](gateway, seconds)
        except NotApplicableError:
            return []
        whole = time.monotonic()
        wait_for_requests(load, whole + 1)
    print(row(gateway, name, load.results), flush=True)
    return [f"{gateway.host.name}, {name}: {it}" for it in problems(gateway, name, load.results, whole)]


def wait_for_requests(load: Load, since: float) -> None:
    """Waits until some requests that began after this time have ended. Earlier requests may have to time out first."""
    ends = since + SETTLE_SECONDS
    while sum(result.at > since for result in load.results) < 30 and time.monotonic() < ends:
        time.sleep(0.05)


def row(gateway: Gateway, name: str, results: list[Result]) -> str:
    failed = sum(result.status != 200 for result in results)
    classified = sum(result.reason == "classified" for result in results)
    times = f"{percentile(results, 0.5):.0f} | {percentile(results, 0.99):.0f}"
    memory = f"{resident_megabytes(gateway.envoy_id):.0f} | {resident_megabytes(gateway.sidecar_id):.0f}"
    return f"| {gateway.host.name} | {name} | {len(results)} | {failed} | {classified} | {times} | {memory} |"


def problems(gateway: Gateway, name: str, results: list[Result], whole: float) -> list[str]:
    """What a user would complain about."""
    found = []
    statuses = [result.status for result in results if result.status != 200]
    if gateway.host.rejects:
        # While the sidecar runs, a busy machine misses a deadline now and then.
        few = len(results) // 10
        rejected = [status for status in statuses if status in (503, 504)]
        if name in AWAY or len(rejected) <= few:
            statuses = [status for status in statuses if status not in (503, 504)]
    if statuses:
        found.append(f"{len(statuses)} of {len(results)} failed: statuses {sorted(set(statuses))}")
    # Most requests from a second after the fault must be classified. A busy machine misses a deadline now and then.
    after = [result for result in results if result.at > whole + 1]
    classified = sum(result.reason == "classified" for result in after)
    if 2 * classified <= len(after):
        found.append(f"a second after the fault, {classified} of {len(after)} requests are classified")
    return found + gateway.unsettled()


def drill(host: Host, drills: list[str], seconds: float) -> list[str]:
    found = []
    with Processes() as processes:
        gateway = Gateway(processes, host, f"faults-{HOSTS.index(host)}")
        gateway.start()
        for name in drills:
            try:
                found += run(gateway, name, seconds)
            except DemoError as error:
                return [*found, f"{host.name}, {name}: {error}"]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(usage=__doc__.split("\n\n", 2)[1], description=__doc__.split("\n", 1)[0])
    parser.add_argument("--host", action="append", choices=[host.name for host in HOSTS])
    parser.add_argument("--drill", action="append", choices=list(DRILLS))
    parser.add_argument("--seconds", type=float, default=6)
    parser.add_argument("--list", action="store_true")
    options = parser.parse_args()
    if options.list:
        print("\n".join([*(host.name for host in HOSTS), "", *DRILLS]))
        return
    found = []
    selected = [host for host in HOSTS if not options.host or host.name in options.host]
    print(HEADER + "\n|" + "---|" * (HEADER.count("|") - 1), flush=True)
    for host in selected:
        found += drill(host, options.drill or list(DRILLS), options.seconds)
    if found:
        raise DemoError("\n".join(found))


if __name__ == "__main__":
    sys.exit(run_as_test(main))
