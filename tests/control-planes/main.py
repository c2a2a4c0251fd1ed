"""Runs the request list through gateways that real control planes configure from k8s/, and prints a table.

usage: scripts/test-control-planes [--platform NAME]... [--manifests FOLDER] [--envoy FILE]
       [--envoy-gateway FILE] [--keep] [--list]

  --platform    run only this row of the table; may be repeated
  --manifests   manifests other than k8s/, such as those of another commit
  --envoy, --envoy-gateway
                binaries other than those that setup installs
  --keep        leave the gateway running in enforce, until Ctrl-C; `nsenter` enters its network namespace
  --list        print the names of the rows, and exit
"""

import argparse
import dataclasses
import os
import pathlib
import signal
import sys
import traceback
from collections.abc import Callable

import checks
import envoy_gateway
import istio
import kgateway
import metrics
import own_envoy
import rendering
import world
from binaries import Binaries, pinned
from client import Client
from processes import LOGS, REPO, DemoError, Processes, run_as_test

FIRST, LAST = "shadow", "removed"
WASM = "Wasm"
COLUMNS = [FIRST, "enforce", *checks.LIST, "metrics", "sidecar away", "image missing", "back", LAST]


@dataclasses.dataclass(frozen=True)
class Platform:
    """A row of the table."""

    name: str
    control_plane: type[envoy_gateway.EnvoyGateway | istio.Istio | kgateway.Kgateway | own_envoy.OwnEnvoy]
    mode: str
    render: Callable[[pathlib.Path], list[rendering.Object]]

    @property
    def fetches_image(self) -> bool:
        """Whether Istio's agent fetches the filter as an image."""
        return self.control_plane is istio.Istio and self.mode == WASM

    @property
    def has_pools(self) -> bool:
        """Whether LLMs in the cluster are InferencePools."""
        return self.name == "inference"

    @property
    def exported(self) -> set[metrics.Series]:
        """The series that the gateway must export to Prometheus, where their names differ from our bootstraps'."""
        if self.control_plane is istio.Istio:
            return metrics.of_istio(self.fetches_image, self.has_pools)
        if self.control_plane is kgateway.Kgateway:
            return metrics.of_kgateway()
        return metrics.of_envoy_gateway() if self.control_plane is envoy_gateway.EnvoyGateway else set()

    @property
    def module(self) -> object:
        return sys.modules[self.control_plane.__module__]


def overlay(name: str, control_plane: type, mode: str) -> Platform:
    return Platform(name, control_plane, mode, lambda folder: rendering.overlay(folder / "overlays" / name))


def chart(gateway: str, control_plane: type, mode: str) -> Platform:
    options = ("--set", f"gateway={gateway}")
    return Platform(
        f"chart, {gateway}", control_plane, mode, lambda folder: rendering.chart(folder / "chart", *options)
    )


PLATFORMS = [
    overlay("envoy", own_envoy.OwnEnvoy, WASM),
    overlay("sidecar-container", own_envoy.OwnEnvoy, WASM),
    overlay("envoy-gateway", envoy_gateway.EnvoyGateway, "ext_proc"),
    Platform(
        "envoy-gateway, streamed",
        envoy_gateway.EnvoyGateway,
        "ext_proc",
        lambda folder: envoy_gateway.streamed(rendering.overlay(folder / "overlays/envoy-gateway")),
    ),
    overlay("envoy-gateway-module", envoy_gateway.EnvoyGateway, "dynamic module"),
    overlay("envoy-gateway-wasm", envoy_gateway.EnvoyGateway, WASM),
    chart("envoy-gateway", envoy_gateway.EnvoyGateway, "ext_proc"),
    overlay("istio", istio.Istio, WASM),
    overlay("istio-native", istio.Istio, "ext_proc"),
    chart("istio", istio.Istio, WASM),
    overlay("inference", istio.Istio, WASM),
    overlay("kgateway", kgateway.Kgateway, "ext_proc"),
]


class Row:
    """The results of one platform."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        self.results: dict[str, str] = {}

    def run(self, column: str, check: Callable[[], None]) -> bool:
        try:
            check()
            self.results[column] = "ok"
        except DemoError as error:
            self.results[column] = f"FAILED: {error}"
        except Exception as error:  # The table reports every error.
            where = traceback.extract_tb(error.__traceback__)[-1]
            place = "" if isinstance(error, checks.CheckError) else f" ({type(error).__name__}, {where.name})"
            self.results[column] = f"FAILED: {error}{place}"
        print(f"  {column}: {self.results[column]}", flush=True)
        return self.results[column] == "ok"

    @property
    def passed(self) -> bool:
        return all(self.results.get(column) == "ok" for column in self.columns)

    @property
    def columns(self) -> list[str]:
        """The columns that apply to this platform."""
        platform = self.platform
        applies = {
            "metrics": bool(platform.exported),
            "image missing": platform.fetches_image,
            "pickers": platform.has_pools,
            # kgateway cannot read a provider's key from a Secret.
            "provider": platform.control_plane is not kgateway.Kgateway,
            LAST: platform.control_plane is not own_envoy.OwnEnvoy,
        }
        return [it for it in COLUMNS if applies.get(it, True)]


def test(platform: Platform, binaries: Binaries, manifests: pathlib.Path, keep: bool) -> Row:
    """Takes a gateway through the steps of docs/: shadow, all, back, and the filter removed."""
    row = Row(platform)
    print(f"==> {platform.name}", flush=True)
    with Processes() as processes:
        objects = platform.render(manifests)
        sidecar = world.Sidecar(processes, objects)
        sidecar.write_policy(objects)
        sidecar.start()
        control_plane = platform.control_plane(processes, binaries)
        control_plane.start(objects)
        client = Client(control_plane.url)
        if not row.run(FIRST, lambda: _begin(client, processes)):
            return row
        enforced = platform.module.enforce(objects)

        def change(to: list[rendering.Object]) -> None:
            sidecar.write_policy(to)
            control_plane.apply(to)

        with checks.Load(client) as load:
            change(enforced)
            row.run("enforce", lambda: checks.eventually(lambda: checks.is_routed(client)))
        if keep:
            print(f"{control_plane.url} in the network namespace of process {os.getpid()}; Ctrl-C ends it", flush=True)
            signal.pause()
        if row.results["enforce"] == "ok":
            row.run("enforce", load.expect_all_served)
            for column, check in checks.LIST.items():
                if column in row.columns:
                    row.run(column, lambda check=check: check(client))
            if platform.exported:
                row.run("metrics", lambda: metrics.check(control_plane.stats_url, platform.exported))
            row.run("sidecar away", lambda: checks.sidecar_away(client, sidecar, _fails_closed(objects)))
            if platform.fetches_image:
                row.run(
                    "image missing",
                    lambda: _goes_on_without_image(client, lambda: change(istio.without_image(enforced))),
                )
        with checks.Load(client) as load:
            change(objects)
            row.run("back", lambda: checks.eventually(lambda: checks.is_in_shadow(client)))
            if LAST in row.columns:
                change(platform.module.without_filter(objects))
                row.run(LAST, lambda: checks.eventually(lambda: _is_without_filter(client)))
        last = row.columns[-1]
        # Envoy Gateway removes the cluster of the sidecars a moment before the filter that calls them.
        rejected = last == LAST and _fails_closed(objects)
        if row.results[last] == "ok":
            row.run(last, lambda: load.expect_all_served(rejected))
    return row


def _begin(client: Client, processes: Processes) -> None:
    def is_in_shadow() -> None:
        processes.check()
        checks.is_in_shadow(client)

    checks.eventually(is_in_shadow)
    checks.shadow(client)


def _goes_on_without_image(client: Client, change: Callable[[], None]) -> None:
    """A running gateway keeps its filter."""
    with checks.Load(client) as load:
        change()
        checks.eventually(lambda: checks.expect(istio.has_refused_a_filter(), "Envoy has rejected no configuration"))
        checks.is_routed(client)
    load.expect_all_served()


def _fails_closed(objects: list[rendering.Object]) -> bool:
    """Whether Envoy rejects requests while it reaches no sidecar."""
    policies = rendering.of_kind(objects, "EnvoyExtensionPolicy")
    return any(not it["failOpen"] for policy in policies for it in policy["spec"].get("extProc", []))


def _is_without_filter(client: Client) -> None:
    response = client.send(checks.chat(checks.CODE))
    checks.expect((response.status, response.served_by, response.reason) == (200, checks.DEFAULT, ""), response)
    checks.ignores_spoofed_headers(client)


def print_table(rows: list[Row], binaries: Binaries) -> None:
    translators = f"Istio {pinned('ISTIO')}, kgateway {pinned('KGATEWAY')}"
    print(f"\nEnvoy Gateway {binaries.envoy_gateway_version}, {translators}, Envoy {binaries.envoy_version}\n")
    names = ["platform", "mode", *COLUMNS]
    print("| " + " | ".join(names) + " |\n|" + "---|" * len(names))
    for row in rows:
        cells = (row.results.get(it, "not run" if it in row.columns else "-").split(":")[0] for it in COLUMNS)
        print("| " + " | ".join([row.platform.name, row.platform.mode, *cells]) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(usage=__doc__.split("\n\n", 2)[1], description=__doc__.split("\n", 1)[0])
    parser.add_argument("--platform", action="append", help="only this row")
    parser.add_argument("--manifests", type=pathlib.Path, default=REPO / "k8s")
    parser.add_argument("--envoy", type=pathlib.Path, default=Binaries.envoy)
    parser.add_argument("--envoy-gateway", type=pathlib.Path, default=Binaries.envoy_gateway)
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--list", action="store_true")
    options = parser.parse_args()
    if options.list:
        print("\n".join(platform.name for platform in PLATFORMS))
        return
    wanted = options.platform or [platform.name for platform in PLATFORMS]
    unknown = set(wanted) - {platform.name for platform in PLATFORMS}
    if unknown:
        raise DemoError(f"no platform {', '.join(sorted(unknown))} (see --list)")
    binaries = Binaries(envoy=options.envoy.resolve(), envoy_gateway=options.envoy_gateway.resolve())
    world.serve_llms()
    selected = [platform for platform in PLATFORMS if platform.name in wanted]
    rows = [test(platform, binaries, options.manifests, options.keep) for platform in selected]
    print_table(rows, binaries)
    if not all(row.passed for row in rows):
        raise DemoError(f"not all passed; the logs are in {LOGS.relative_to(REPO)}")


if __name__ == "__main__":
    if sys.argv[1:] == ["prepare"]:
        world.prepare_files()
        sys.exit()
    sys.exit(run_as_test(main))
