"""Measures our filter in its hosts and its peers, and prints the tables of docs/performance.md. See scripts/bench."""

import argparse
import pathlib
import statistics
import sys

import bench_bootstrap
import bench_gateways
import bench_report
import bench_setting
from bench_load import Gateway, LoadError, memory_mb, run, write_paced
from bench_setting import BUFFER, CACHE, MODULE_HOST, NATIVE, PLAIN, WASM_HOST, Setting, script
from bench_turns import SLICE_SECONDS, Slices, Variant, cpu_us, difference, measure, median, p50_ms, ratio
from processes import DemoError, Processes, end_in_order

UNROUTED = "passed on"
NAMED, CACHED, TRIVIAL, REAL = "model named", "decision from the cache", "trivial sidecar", "real sidecar"

LOADS = {"full_8": (8, 0), "full_1": (1, 0), "paced_8": (8, 25), "paced_1": (1, 5)}
"""Connections, and the pause of each before a request, in milliseconds."""
OTHER_LOADS = {"full_1": "1 connection", "paced_8": "8 paced", "paced_1": "1 paced"}

SIZES = {"1 KB": 1 << 10, "100 KB": 100 << 10, "1 MB": 1 << 20, "8 MB": 8 << 20}
SIZE_CONNECTIONS = 2

STARTS = 3
"""New processes of each kind, to measure memory and the time to start."""

Rows = list[bench_report.Row]
Tables = dict[str, Rows]
Ways = dict[tuple[str, str], tuple[Gateway, pathlib.Path]]
"""A gateway and a script for each host and each way of a request through it."""


def ways_of(setting: Setting) -> Ways:
    """Starts the gateways of the 1 KB requests."""
    auto, named = script("auto", "auto", 1 << 10), script("named", "small", 1 << 10)
    trivial = setting.trivial()
    real, caching = (setting.sidecar(f"sidecar-{entries}", bench_bootstrap.policy(entries)) for entries in (0, CACHE))
    ways: Ways = {(host, UNROUTED): (setting.gateway(host, trivial), named) for host in (PLAIN, BUFFER)}
    for host in bench_setting.filters():
        manual = setting.gateway(host, trivial)
        ways |= {
            (host, NAMED): (manual, named),
            (host, CACHED): (manual, auto),
            (host, TRIVIAL): (setting.gateway(host, trivial, cache=0), auto),
        }
        if host in (WASM_HOST, MODULE_HOST):
            ways[host, REAL] = (setting.gateway(host, real, cache=0), auto)
    native = setting.gateway(NATIVE, caching)
    ways |= {
        (NATIVE, NAMED): (native, named),
        (NATIVE, CACHED): (native, auto),
        (NATIVE, REAL): (setting.gateway(NATIVE, real), auto),
    }
    return ways


def paths(rounds: int) -> Tables:
    """The cost of a small request, for each way through each gateway."""
    with Processes() as processes:
        ways = ways_of(Setting(processes))
        # Load by load, so that what is compared is measured close in time.
        variants = {
            (load, way): Variant(gateway, write_paced(script, pause) if pause else script, connections)
            for load, (connections, pause) in LOADS.items()
            for way, (gateway, script) in ways.items()
        }
        found = measure(variants, rounds)
    full: Rows = []
    others: Rows = []
    for host, way in ways:
        slices, base = found["full_8", (host, way)], found["full_8", (PLAIN, UNROUTED)]
        row: bench_report.Row = {"host": host, "way": way}
        full.append(
            row
            | _cpu(slices, base)
            | {
                "added_us": round(median(slices, cpu_us) - median(base, cpu_us), 1),
                "sidecar_us": round(median(slices, lambda slice_: slice_.helper_us), 1),
                "per_second": round(median(slices, lambda slice_: slice_.per_second)),
            }
        )
        for load in OTHER_LOADS:
            figures = _cpu(found[load, (host, way)], found[load, (PLAIN, UNROUTED)])
            row |= {f"{load}_{key}": value for key, value in figures.items()}
        others.append(row)
    return {"full": full, "others": others}


def _cpu(slices: Slices, base: Slices) -> bench_report.Row:
    return {
        "cpu_us": round(median(slices, cpu_us), 1),
        "ratio": ratio(slices, base, cpu_us),
        "p50_ms": round(median(slices, p50_ms), 3),
    }


def sizes(rounds: int) -> Tables:
    """The cost of bodies by size, with the model named."""
    with Processes() as processes:
        setting = Setting(processes)
        sidecar = setting.sidecar("sidecar", bench_bootstrap.policy(CACHE))
        gateways = {host: setting.gateway(host, sidecar) for host in kinds()}
        scripts = {name: script(f"size-{size}", "small", size) for name, size in SIZES.items()}
        found = measure(
            {
                (size, host): Variant(gateway, script, SIZE_CONNECTIONS)
                for size, script in scripts.items()
                for host, gateway in gateways.items()
            },
            rounds,
        )
    rows = []
    for host in gateways:
        largest, base = found["8 MB", host], found["8 MB", PLAIN]
        megabytes = scripts["8 MB"].with_suffix(".json").stat().st_size / (1 << 20)
        rows.append(
            {"host": host}
            | {f"cpu_ms_{size}": round(median(found[size, host], cpu_us) / 1e3, 3) for size in SIZES}
            | {
                "ratio": ratio(largest, base, cpu_us),
                "per_megabyte": difference(largest, base, cpu_us, unit=1e3 * megabytes),
                "sidecar_ms": round(median(largest, lambda slice_: slice_.helper_us) / 1e3, 3),
            }
        )
    return {"sizes": rows}


def kinds() -> list[str]:
    """All kinds of gateways."""
    return [PLAIN, BUFFER, *bench_setting.filters(), NATIVE]


def memory(rounds: int) -> Tables:
    """Resident memory, and the time until a gateway listens: medians over new processes."""
    with Processes() as processes:
        setting = Setting(processes)
        sidecar = setting.sidecar("sidecar", bench_bootstrap.policy(CACHE))
        small, large = script("small", "small", SIZES["1 KB"]), script("large", "small", SIZES["8 MB"])
        taken: dict[str, list[dict[str, float]]] = {host: [] for host in kinds()}
        for _ in range(min(rounds, STARTS)):
            for host, results in taken.items():
                with Processes() as own:
                    results.append(start_and_load(Setting(own, setting.llm).gateway(host, sidecar), small, large))
        # For a named model, only Envoy's ext_proc filter calls the sidecar.
        sidecar_mb = round(memory_mb(sidecar.pid, "VmHWM"))
    return {
        "memory": [
            {"host": host, "sidecar_mb": sidecar_mb if host == NATIVE else 0}
            | {key: round(statistics.median(result[key] for result in results)) for key in results[0]}
            for host, results in taken.items()
        ]
    }


def start_and_load(gateway: Gateway, small: pathlib.Path, large: pathlib.Path) -> dict[str, float]:
    """The memory of a new gateway before and after load."""
    start = memory_mb(gateway.pid)
    run(gateway, small, 8, SLICE_SECONDS)
    after_small = memory_mb(gateway.pid)
    run(gateway, large, SIZE_CONNECTIONS, 2 * SLICE_SECONDS)
    peak = memory_mb(gateway.pid, "VmHWM")
    return {"start_mb": start, "small_mb": after_small, "peak_mb": peak, "start_ms": gateway.start_ms}


def tables_of(parts: list[str], rounds: int) -> Tables:
    """All tables of these parts."""
    tables: Tables = {}
    for part in parts:
        print(f"measuring {part}", file=sys.stderr)
        tables |= PARTS[part](rounds)
    return tables


PARTS = {"paths": paths, "sizes": sizes, "memory": memory, "gateways": bench_gateways.measure_all}

TABLES = {
    "full": {
        "host": "1 KB, full load, 8 connections",
        "way": "request",
        "cpu_us": "Envoy CPU, µs/request",
        "ratio": "× plain Envoy [95 %]",
        "added_us": "added, µs",
        "sidecar_us": "sidecar CPU, µs/request",
        "p50_ms": "p50, ms",
        "per_second": "requests/s",
    },
    "others": {
        "host": "1 KB, other loads",
        "way": "request",
        **{
            f"{load}_{key}": f"{title}: {unit}"
            for load, title in OTHER_LOADS.items()
            for key, unit in {"cpu_us": "CPU, µs", "ratio": "× plain [95 %]", "p50_ms": "p50, ms"}.items()
        },
    },
    "sizes": {
        "host": "Envoy CPU, ms/request",
        **{f"cpu_ms_{size}": size for size in SIZES},
        "ratio": "8 MB: × plain Envoy [95 %]",
        "per_megabyte": "8 MB: added, ms/MB [95 %]",
        "sidecar_ms": "8 MB: sidecar CPU, ms/request",
    },
    "memory": {
        "host": "resident memory, MB",
        "start_mb": "at start",
        "small_mb": "after 1 KB requests",
        "peak_mb": "peak, after 8 MB requests",
        "sidecar_mb": "sidecar, peak",
        "start_ms": "start to listening, ms",
    },
    "gateways": bench_gateways.TITLES,
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--parts", default="paths,sizes,memory")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--save", type=pathlib.Path, help="also write the JSON to this file")
    options = parser.parse_args()
    end_in_order()
    parts = options.parts.split(",")
    if unknown := set(parts) - PARTS.keys():
        sys.exit(f"error: no part {', '.join(unknown)}: choose from {', '.join(PARTS)}")
    try:
        found = tables_of(parts, options.rounds)
    except (DemoError, LoadError) as error:
        sys.exit(f"error: {error}")
    bench_report.show(found, TABLES, options.json)
    if options.save:
        options.save.write_text(bench_report.as_json(found))


if __name__ == "__main__":
    main()
