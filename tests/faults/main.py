"""Breaks gateways on purpose while clients use them, and prints what happened to the clients.

usage: tests/faults/main.py [--host NAME]... [--drill NAME]... [--seconds N] [--soak MINUTES] [--list]

  --host, --drill  run only these; may be repeated
  --seconds        how long a fault lasts (default 6)
  --soak           instead: requests without a fault for so long, with memory and file descriptors minute by minute
  --list           print the names, and exit
"""

import argparse
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "scripts"))

from drills import AWAY, DRILLS, NotApplicableError
from gateway import HOSTS, Gateway, Host, open_files, resident_megabytes
from load import Load, Result, percentile
from processes import DemoError, Processes, run_as_test

HEADER = "| host | drill | requests | failed | classified | p50 ms | p99 ms | Envoy MB | sidecar MB |"
SETTLE_SECONDS = 20
# What must be back at zero when nobody asks for anything any more.
ENVOY_GAUGES = ("envoy_http_downstream_rq_active{", "envoy_cluster_upstream_rq_active{")
SIDECAR_GAUGES = ("llm_router_sidecar_body_bytes", "llm_router_sidecar_queue_depth")


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
    """Waits until some requests that began since then have ended. Those before may have to run into a timeout first."""
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
        # Where the sidecar is there, a busy machine misses a deadline now and then.
        few = len(results) // 10
        rejected = [status for status in statuses if status in (503, 504)]
        if name in AWAY or len(rejected) <= few:
            statuses = [status for status in statuses if status not in (503, 504)]
    if statuses:
        found.append(f"{len(statuses)} of {len(results)} failed: statuses {sorted(set(statuses))}")
    # Of the requests that begin a second after the fault, most: a busy machine misses a deadline now and then.
    after = [result for result in results if result.at > whole + 1]
    classified = sum(result.reason == "classified" for result in after)
    if 2 * classified <= len(after):
        found.append(f"a second after the fault, {classified} of {len(after)} requests are classified")
    found += unsettled(gateway)
    return found


def unsettled(gateway: Gateway) -> list[str]:
    """The gauges that are not back at zero in time."""
    ends = time.monotonic() + SETTLE_SECONDS
    while True:
        samples = {
            name: value
            for of, gauges in (("envoy-admin", ENVOY_GAUGES), ("sidecar-admin", SIDECAR_GAUGES))
            for name, value in gateway.metrics(of).items()
            # Envoy's own admin interface answers this very request.
            if name.startswith(gauges) and value != 0 and "admin" not in name
        }
        if not samples or time.monotonic() > ends:
            return [f"{name} is {value:g}" for name, value in samples.items()]
        time.sleep(0.1)


def drill(host: Host, drills: list[str], seconds: float) -> list[str]:
    found = []
    with Processes() as processes:
        gateway = Gateway(processes, host, str(HOSTS.index(host)))
        gateway.start()
        for name in drills:
            try:
                found += run(gateway, name, seconds)
            except DemoError as error:
                return [*found, f"{host.name}, {name}: {error}"]
    return found


def soak(host: Host, minutes: int) -> list[str]:
    """Requests for a long time: memory and file descriptors must not grow."""
    print("| host | minute | requests | failed | p99 ms | Envoy MB | Envoy files | sidecar MB | sidecar files |")
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    with Processes() as processes:
        gateway = Gateway(processes, host, str(HOSTS.index(host)))
        gateway.start()
        failed = 0
        for minute in range(1, minutes + 1):
            with Load(gateway.ports["gateway"]) as load:
                time.sleep(60)
            wrong = sum(result.status != 200 for result in load.results)
            failed += wrong
            processes_now = (gateway.envoy_id, gateway.sidecar_id)
            sizes = " | ".join(f"{resident_megabytes(it):.0f} | {open_files(it)}" for it in processes_now)
            requests = f"{len(load.results)} | {wrong} | {percentile(load.results, 0.99):.0f}"
            print(f"| {host.name} | {minute} | {requests} | {sizes} |", flush=True)
        found = [f"{host.name}: {failed} requests failed"] if failed else []
        return found + unsettled(gateway)


def main() -> None:
    parser = argparse.ArgumentParser(usage=__doc__.split("\n\n", 2)[1], description=__doc__.split("\n", 1)[0])
    parser.add_argument("--host", action="append", choices=[host.name for host in HOSTS])
    parser.add_argument("--drill", action="append", choices=list(DRILLS))
    parser.add_argument("--seconds", type=float, default=6)
    parser.add_argument("--soak", type=int, metavar="MINUTES")
    parser.add_argument("--list", action="store_true")
    options = parser.parse_args()
    if options.list:
        print("\n".join([*(host.name for host in HOSTS), "", *DRILLS]))
        return
    found = []
    selected = [host for host in HOSTS if not options.host or host.name in options.host]
    if options.soak:
        for host in selected:
            found += soak(host, options.soak)
    else:
        print(HEADER + "\n|" + "---|" * (HEADER.count("|") - 1), flush=True)
        for host in selected:
            found += drill(host, options.drill or list(DRILLS), options.seconds)
    if found:
        raise DemoError("\n".join(found))


if __name__ == "__main__":
    sys.exit(run_as_test(main))
