"""The second half of scripts/test-cluster. usage: main.py RENDERED ISTIOD [PART...]

RENDERED is a folder with all of k8s/ rendered, ISTIOD a file with the manifests of istiod's chart.
"""

import contextlib
import itertools
import pathlib
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator

import documented
import yaml
from processes import REPO, DemoError, Processes, run_as_test
from server import TOOLS, Cluster, Object, ReadyPods

NAMESPACE = "llm-router"
OURS = "app.kubernetes.io/part-of=llm-router"
OVERLAYS = REPO / "k8s/overlays"
CHART = "k8s/chart"
PREVIOUS = "614929691c663e6df894270d4eb799485d2f067d"
"""The commit of the previous overlays, which a user may have applied."""
PREVIOUS_FILES = REPO / "target/cluster/previous"
GENERATED = re.compile(r"configmap/llm-gateway-[0-9a-z]{10}$")
"""kustomize names this ConfigMap by its content; the old one remains for pods that still use it."""
PAGES = ["README.md", "docs/kubernetes.md"]
"""Pages with independent sections. On the other pages, the sections build on each other."""
READY_SECONDS = 90
GATEWAY_CLASS = """
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: { name: eg }
spec: { controllerName: gateway.envoyproxy.io/gatewayclass-controller }
"""


class Table:
    """The table of what passed, printed when the test ends."""

    def __init__(self) -> None:
        self._rows: list[tuple[str, str, str]] = []

    def add(self, check: str, subject: str, result: str) -> None:
        self._rows.append((check, subject, result))
        print(f"{check}: {subject}: {result}", file=sys.stderr)

    @contextlib.contextmanager
    def check(self, check: str, subject: str) -> Iterator[list[str]]:
        """Adds a row when the block has passed. The block may append remarks to the list."""
        started = time.monotonic()
        words: list[str] = []
        try:
            yield words
        except DemoError as error:
            raise DemoError(f"{check}: {subject}: {error}") from None
        self.add(check, subject, f"{', '.join(['passed', *words])} ({time.monotonic() - started:.0f} s)")

    def __str__(self) -> str:
        widths = [max((len(row[column]) for row in self._rows), default=0) for column in range(2)]
        return "\n".join(f"{row[0]:<{widths[0]}}  {row[1]:<{widths[1]}}  {row[2]}" for row in self._rows)


def read(file: pathlib.Path) -> list[Object]:
    return [it for it in yaml.safe_load_all(file.read_text()) if it]


def named(item: Object) -> str:
    """Returns KIND/NAME, as `kubectl get --output=name` prints it without the group."""
    return f"{item['kind'].lower()}/{item['metadata']['name']}"


def install_definitions(cluster: Cluster, table: Table) -> None:
    """Installs the custom resources of all platforms."""
    folder = REPO / ".setup/k8s/crds"
    found = [it for file in sorted(folder.glob("*.yaml")) for it in read(file)]
    with table.check("custom resources", "all platforms") as words:
        # It rejects some as published, because the estimated cost of their validations is too high.
        with contextlib.suppress(DemoError):
            cluster.kubectl("apply", "--server-side", "--filename", folder)
        installed = {it["metadata"]["name"] for it in cluster.get("customresourcedefinition")}
        refused = [
            it for it in found if it["kind"] == "CustomResourceDefinition" and it["metadata"]["name"] not in installed
        ]
        for definition in refused:
            limit_strings(definition["spec"])
        if refused:
            cluster.kubectl("apply", "--server-side", "--filename=-", text=yaml.safe_dump_all(refused))
            names = ", ".join(it["metadata"]["name"] for it in refused)
            words.append(f"rejected as published, so installed with shorter strings: {names}")
        cluster.kubectl("wait", "--for=condition=Established", "customresourcedefinition", "--all", "--timeout=60s")
        words.append(f"{len(installed) + len(refused)} kinds")


def limit_strings(schema: object) -> None:
    """Limits the length of validated strings, on which the estimated cost of the validations depends."""
    if isinstance(schema, list):
        for item in schema:
            limit_strings(item)
    elif isinstance(schema, dict):
        if schema.get("type") == "string" and "x-kubernetes-validations" in schema:
            schema.setdefault("maxLength", 32)
        for value in schema.values():
            limit_strings(value)


def make_namespace(cluster: Cluster) -> None:
    """Creates the overlays' namespace, with its Pod Security Standard."""
    cluster.kubectl("apply", "--filename", "k8s/base/namespace.yaml")


def clean(cluster: Cluster) -> None:
    """Deletes the namespace, and waits until it is gone."""
    cluster.kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", "--timeout=90s")


def wait_rolled_out(cluster: Cluster, namespace: str = NAMESPACE) -> int:
    """Waits until all Deployments have their pods, and returns their number. Fails with what the controllers report."""
    deadline = time.monotonic() + READY_SECONDS
    while True:
        deployments = cluster.get("deployment", "--namespace", namespace)
        waiting = [it["metadata"]["name"] for it in deployments if not is_rolled_out(it)]
        if deployments and not waiting:
            return sum(it["status"]["readyReplicas"] for it in deployments)
        failures = [
            f"Deployment {it['metadata']['name']}: {condition['message']}"
            for it in deployments
            for condition in it.get("status", {}).get("conditions", [])
            if condition["type"] == "ReplicaFailure"
        ]
        if failures:
            raise DemoError("; ".join(failures))
        if time.monotonic() > deadline:
            raise DemoError(f"Deployments without ready pods after {READY_SECONDS} s: {', '.join(waiting) or 'all'}")
        time.sleep(0.2)


def is_rolled_out(deployment: Object) -> bool:
    """Whether the Deployment is rolled out, by the conditions of `kubectl rollout status`."""
    status, wanted = deployment.get("status", {}), deployment["spec"]["replicas"]
    counts = [status.get(name, 0) for name in ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")]
    return status.get("observedGeneration") == deployment["metadata"]["generation"] and counts == [wanted] * 4


def leftovers(cluster: Cluster) -> set[str]:
    """Our objects of all kinds in the namespace."""
    kinds = cluster.kubectl("api-resources", "--verbs=list,delete", "--namespaced", "--output=name").split()
    names = cluster.kubectl(
        "get", ",".join(kinds), "--namespace", NAMESPACE, "--selector", OURS, "--output=name"
    ).split()
    # KIND.GROUP/NAME. Controllers create and remove all others.
    found = {re.sub(r"^([a-z]+)\.[^/]*/", r"\1/", name) for name in names}
    return {name for name in found if name.partition("/")[0] not in ("endpointslice", "endpoints", "pod", "replicaset")}


def expect_only(cluster: Cluster, expected: set[str]) -> None:
    """Fails unless exactly these of our objects exist."""
    found = {name for name in leftovers(cluster) if not GENERATED.match(name)}
    expected = {name for name in expected if not GENERATED.match(name) and not name.startswith("namespace/")}
    if more := found - expected:
        raise DemoError(f"left behind: {', '.join(sorted(more))}")
    if missing := expected - found:
        raise DemoError(f"missing: {', '.join(sorted(missing))}")


def check_rendered(cluster: Cluster, table: Table, file: pathlib.Path, istiod: pathlib.Path) -> None:
    """Applies a file strictly, and waits for the pods of its Deployments and of its gateway."""
    with table.check("strict server-side apply", file.stem) as words:
        make_namespace(cluster)
        cluster.kubectl("apply", "--server-side", "--validate=strict", "--warnings-as-errors", "--filename", file)
        words += [f"{len(read(file))} objects", f"{wait_rolled_out(cluster)} pods"]
    classes = {it["spec"]["gatewayClassName"] for it in read(file) if it["kind"] == "Gateway"}
    if "istio" in classes:
        with table.check("pods of Istio's gateway", file.stem) as words:
            words.append(f"{istio_gateway(cluster, istiod)} pods with ours")
    if "eg" in classes:
        with table.check("pods of Envoy Gateway's gateway", file.stem) as words:
            words.append(f"{envoy_gateway(cluster, file)} pods in a namespace that enforces `restricted`")
    clean(cluster)


def istio_gateway(cluster: Cluster, istiod: pathlib.Path) -> int:
    """Applies the objects that istiod creates for the Gateway in the namespace."""
    # Includes the Gateway's UID, because the Gateway owns the objects.
    known = cluster.get("gateway.gateway.networking.k8s.io,configmap", "--namespace", NAMESPACE)
    objects = cluster.run(TOOLS / "istio-gateway-objects", istiod, NAMESPACE, text=yaml.safe_dump_all(known))
    manager = "--field-manager=istio.io/gateway-controller"
    cluster.kubectl("apply", "--server-side", "--validate=strict", manager, "--filename=-", text=objects)
    return wait_rolled_out(cluster)


def envoy_gateway(cluster: Cluster, file: pathlib.Path) -> int:
    """Applies the objects that Envoy Gateway creates for the Gateway."""
    namespace = "envoy-gateway-system"
    text = f"{file.read_text()}\n---\n{GATEWAY_CLASS}"
    objects = cluster.run(TOOLS / "envoy-gateway", "objects", namespace, text=text)
    restricted = {"pod-security.kubernetes.io/enforce": "restricted"}
    made = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": restricted}}
    cluster.kubectl("apply", "--filename=-", text=yaml.safe_dump(made))
    cluster.kubectl("apply", "--server-side", "--validate=strict", "--filename=-", text=objects)
    pods = wait_rolled_out(cluster, namespace)
    cluster.kubectl("delete", "namespace", namespace, "--timeout=90s")
    return pods


def kustomization(cluster: Cluster, folder: pathlib.Path) -> set[str]:
    """The names of an overlay's objects."""
    return {named(it) for it in yaml.safe_load_all(cluster.kubectl("kustomize", folder)) if it}


def check_overlay(cluster: Cluster, table: Table, overlay: pathlib.Path) -> None:
    """Applies an overlay on top of the previous one, finds no difference, and deletes it."""
    before = PREVIOUS_FILES / "k8s/overlays" / overlay.name
    with table.check("kubectl apply -k, diff -k, delete -k", overlay.name) as words:
        if before.is_dir():
            cluster.kubectl("apply", "-k", before)
            wait_rolled_out(cluster)
            words.append("upgraded from the previous overlay")
        cluster.kubectl("apply", "-k", overlay)
        remove_rest(cluster, overlay)
        wait_rolled_out(cluster)
        expect_only(cluster, kustomization(cluster, overlay))
        cluster.kubectl("diff", "-k", overlay)
        cluster.kubectl("delete", "-k", overlay, "--timeout=90s")
        clean(cluster)


def check_change(cluster: Cluster, table: Table, before: pathlib.Path, after: pathlib.Path) -> None:
    """Replaces one overlay by another, as the documentation describes, and fails if objects are left behind."""
    with table.check("from one overlay to another", f"{before.name} to {after.name}"):
        cluster.kubectl("apply", "-k", before)
        wait_rolled_out(cluster)
        cluster.kubectl("apply", "-k", after)
        remove_rest(cluster, after)
        wait_rolled_out(cluster)
        expect_only(cluster, kustomization(cluster, after))
        clean(cluster)


def remove_rest(cluster: Cluster, overlay: pathlib.Path) -> None:
    """Runs the documentation's command that deletes what other overlays leave, if there is one."""
    apply = f"kubectl apply -k {overlay.relative_to(REPO)}"
    for page in pages():
        for section in documented.sections(page):
            for one, other in itertools.pairwise(section.commands):
                if one == apply and " delete --ignore-not-found " in other:
                    cluster.run("bash", "-c", other)


def check_chart(cluster: Cluster, table: Table, *_: pathlib.Path) -> None:
    """Installs the chart, upgrades it from one example to another, and uninstalls it."""
    release = ("llm-router", CHART, "--namespace", NAMESPACE)
    values = sorted((REPO / CHART / "examples").glob("*.yaml"))
    with table.check("helm install, upgrade, uninstall", ", ".join(["none", *(it.stem for it in values)])):
        make_namespace(cluster)
        cluster.run(TOOLS / "helm", "install", *release)
        wait_rolled_out(cluster)
        for file in values:
            cluster.run(TOOLS / "helm", "upgrade", *release, "--values", file)
            wait_rolled_out(cluster)
            expected = cluster.run(TOOLS / "helm", "template", *release, "--values", file)
            expect_only(cluster, {named(it) for it in yaml.safe_load_all(expected) if it})
        uninstall(cluster)
    previous = PREVIOUS_FILES / CHART
    if previous.is_dir():
        for file in values:
            before = previous / "examples" / file.name
            with table.check("helm upgrade from the previous chart", file.stem):
                make_namespace(cluster)
                cluster.run(TOOLS / "helm", "install", release[0], previous, *release[2:], "--values", before)
                wait_rolled_out(cluster)
                cluster.run(TOOLS / "helm", "upgrade", *release, "--values", file)
                wait_rolled_out(cluster)
                uninstall(cluster)


def uninstall(cluster: Cluster) -> None:
    cluster.run(TOOLS / "helm", "uninstall", "llm-router", "--namespace", NAMESPACE, "--wait")
    expect_only(cluster, set())
    clean(cluster)


def check_page(cluster: Cluster, table: Table, page: str, variant: str) -> None:
    """Runs a page's commands in their order, in a separate folder."""
    folder = REPO / "target/cluster/docs"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in ("k8s", "envoy"):
        (folder / name).symlink_to(REPO / name)
    for section in documented.sections(page, variant):
        commands = [it for it in section.commands if documented.can_run(it)]
        if commands:
            subject = ", ".join(it for it in (page, variant, section.title) if it)
            with table.check("commands of the documentation", subject) as words:
                for command in commands:
                    # The chart replaces the overlay.
                    if command.startswith("helm install"):
                        clean(cluster)
                    cluster.run("bash", "-euo", "pipefail", "-c", command, folder=folder)
                words.append(f"{len(commands)} of {len(section.commands)} commands")
        if page in PAGES:
            clean(cluster)
    clean(cluster)


def fetch_previous(table: Table) -> None:
    """Unpacks the previous overlays, if this repository has their commit."""
    shutil.rmtree(PREVIOUS_FILES, ignore_errors=True)
    archive = subprocess.run(["git", "archive", PREVIOUS, "k8s"], cwd=REPO, capture_output=True, check=False)
    if archive.returncode != 0:
        table.add("upgrade from the previous overlays", PREVIOUS[:7], "SKIPPED: not in this repository's history")
        return
    PREVIOUS_FILES.mkdir(parents=True)
    subprocess.run(["tar", "-x", "-C", PREVIOUS_FILES], input=archive.stdout, check=True)


def versions(cluster: Cluster) -> str:
    """The versions that the results apply to."""
    tools = yaml.safe_load(cluster.kubectl("version", "--output=yaml"))
    found = {
        "Kubernetes": tools["serverVersion"]["gitVersion"],
        "kubectl": tools["clientVersion"]["gitVersion"],
        "Helm": cluster.run(TOOLS / "helm", "version", "--short").strip(),
        "etcd": cluster.run(TOOLS / "etcd", "--version").split()[2],
    }
    definitions = {it["metadata"]["name"]: it["metadata"] for it in cluster.get("customresourcedefinition")}
    gateway = definitions["gateways.gateway.networking.k8s.io"]["annotations"]
    found["Gateway API"] = (
        f"{gateway['gateway.networking.k8s.io/bundle-version']} ({gateway['gateway.networking.k8s.io/channel']})"
    )
    pinned = (REPO / "scripts/k8s-versions.sh").read_text()
    for name in ("ISTIO", "ENVOY_GATEWAY"):
        found[name.replace("_", " ").title()] = re.search(rf"^{name}=(.*)$", pinned, re.MULTILINE)[1]
    return ", ".join(f"{name} {version}" for name, version in found.items())


def run_checks(cluster: Cluster, table: Table, rendered: pathlib.Path, istiod: pathlib.Path, names: list[str]) -> None:
    """Runs the parts of these names, or all."""
    install_definitions(cluster, table)
    print(versions(cluster), file=sys.stderr)
    fetch_previous(table)
    for name in names or PARTS:
        PARTS[name](cluster, table, rendered, istiod)


def check_objects(cluster: Cluster, table: Table, rendered: pathlib.Path, istiod: pathlib.Path) -> None:
    for file in sorted(rendered.glob("*.yaml")):
        check_rendered(cluster, table, file, istiod)


def check_overlays(cluster: Cluster, table: Table, *_: pathlib.Path) -> None:
    for overlay in overlays():
        check_overlay(cluster, table, overlay)


def check_changes(cluster: Cluster, table: Table, *_: pathlib.Path) -> None:
    for before, after in itertools.permutations(overlays("envoy-gateway"), 2):
        check_change(cluster, table, before, after)


def check_pages(cluster: Cluster, table: Table, *_: pathlib.Path) -> None:
    for page in pages():
        for variant in documented.variants(page):
            check_page(cluster, table, page, variant)


def pages() -> list[str]:
    return [*PAGES, *sorted(str(it.relative_to(REPO)) for it in REPO.glob("docs/install-*.md"))]


def overlays(prefix: str = "") -> list[pathlib.Path]:
    return sorted(it for it in OVERLAYS.iterdir() if it.name.startswith(prefix))


PARTS = {
    "objects": check_objects,
    "overlays": check_overlays,
    "changes": check_changes,
    "chart": check_chart,
    "docs": check_pages,
}
"""In an order that finds mistakes early."""


def main() -> None:
    """Runs all checks with a new API server, and prints the table."""
    rendered, istiod = map(pathlib.Path, sys.argv[1:3])
    names = sys.argv[3:]
    if unknown := set(names) - PARTS.keys():
        raise DemoError(f"no part {', '.join(unknown)}: {', '.join(PARTS)}")
    table = Table()
    with Processes() as processes:
        cluster = Cluster(processes)
        with table.check("API server and controllers", "ready"):
            cluster.start()
        with ReadyPods(cluster):
            try:
                run_checks(cluster, table, rendered, istiod, names)
                print(f"\n{versions(cluster)}\n")
            finally:
                print(table)


sys.exit(run_as_test(main))
