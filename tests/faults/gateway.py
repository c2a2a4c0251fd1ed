"""A gateway as it is shipped, on ports of its own, with a sidecar that can be broken."""

import dataclasses
import pathlib
import signal
import sys
import time

from processes import LOGS, REPO, Processes, is_ready, replaced, reserve_ports, samples

BINARIES = REPO / "target" / "release"
LLMS = ("llama-8b", "llama-70b", "nemotron")
# The ports that the shipped files name.
SHIPPED = {
    "gateway": 10000,
    "envoy-admin": 9901,
    "sidecar": 50051,
    "llama-8b": 8001,
    "llama-70b": 8002,
    "nemotron": 8003,
}

SETTLE_SECONDS = 20
# Gauges that must return to zero when there are no more requests.
ENVOY_GAUGES = ("envoy_http_downstream_rq_active{", "envoy_cluster_upstream_rq_active{")
SIDECAR_GAUGES = ("llm_router_sidecar_body_bytes", "llm_router_sidecar_queue_depth")


@dataclasses.dataclass(frozen=True)
class Host:
    """What applies the policy, and what it does without the sidecar."""

    name: str
    bootstrap: str
    has_policy_file: bool = False
    """Whether the sidecar decides, by a policy of its own."""
    rejects: bool = False
    """Whether requests fail while the sidecar is away. Otherwise, none may fail."""


HOSTS = [
    Host("Wasm", "envoy/wasm.yaml"),
    Host("Wasm, reject", "envoy/wasm.yaml", rejects=True),
    Host("module", "envoy/module.yaml"),
    Host("module, reject", "envoy/module.yaml", rejects=True),
    Host("native", "envoy/native.yaml", has_policy_file=True),
    Host("native, closed", "envoy/native-closed.yaml", has_policy_file=True, rejects=True),
]


class Gateway:
    """Envoy, the sidecar and mock LLMs."""

    def __init__(self, processes: Processes, host: Host, label: str) -> None:
        self._processes = processes
        self.host = host
        self._label = label
        self.ports = reserve_ports([*SHIPPED, "sidecar-admin"])
        self._folder = LOGS / label
        self._folder.mkdir(parents=True, exist_ok=True)
        self.envoy_id = self.sidecar_id = 0

    def start(self) -> None:
        for name in LLMS:
            listen = f"127.0.0.1:{self.ports[name]}"
            self._processes.start(self._name(name), BINARIES / "mock-llm", "--name", name, "--listen", listen)
        self.write_policy()
        self.start_sidecar()
        bootstrap = self._folder / "bootstrap.yaml"
        bootstrap.write_text(self._bootstrap())
        envoy = ["-c", bootstrap, "--use-dynamic-base-id", "--concurrency", "2", "--log-level", "warning"]
        program = pathlib.Path(sys.executable).parent / "envoy"
        self.envoy_id = self._processes.start(self._name("envoy"), program, *envoy)
        self._processes.wait_ready(self._name("envoy"), lambda: is_ready(self.ports["envoy-admin"], "/ready"))

    def start_sidecar(self, log: str = "") -> None:
        """Starts the sidecar; its log goes to this file, if one is named."""
        options = [
            "--listen",
            f"127.0.0.1:{self.ports['sidecar']}",
            "--admin",
            f"127.0.0.1:{self.ports['sidecar-admin']}",
        ]
        if self.host.has_policy_file:
            options += ["--policy", self._folder / "policy.yaml"]
        command = [BINARIES / "llm-router-sidecar", "serve", "--model", REPO / "models/minilm", *options]
        if log:
            command = ["sh", "-c", f'exec "$@" 2>{log}', "sh", *command]
        name = self._name("sidecar")
        self.sidecar_id = self._processes.start(name, *command)
        self._processes.wait_ready(name, lambda: is_ready(self.ports["sidecar-admin"], "/readyz"))

    def stop_sidecar(self) -> None:
        """Ends it by SIGTERM."""
        self._processes.stop(self._name("sidecar"))

    def kill_sidecar(self) -> None:
        """Ends it without warning."""
        self._processes.kill(self._name("sidecar"))

    def signal_sidecar(self, number: signal.Signals) -> None:
        """Sends it a signal."""
        self._processes.send_signal(self._name("sidecar"), number)

    def write_policy(self, text: str | None = None) -> None:
        """Writes the sidecar's policy: the shipped one, unless another text is given."""
        shipped = (REPO / "envoy/policy.yaml").read_text()
        (self._folder / "policy.yaml").write_text(shipped if text is None else text)

    def metrics(self, of: str) -> dict[str, float]:
        """The samples that Envoy (`envoy-admin`) or the sidecar (`sidecar-admin`) exports."""
        return samples(self.ports[of], "/stats/prometheus" if of == "envoy-admin" else "/metrics")

    def unsettled(self) -> list[str]:
        """The gauges that do not return to zero in time."""
        ends = time.monotonic() + SETTLE_SECONDS
        while True:
            samples = {
                name: value
                for of, gauges in (("envoy-admin", ENVOY_GAUGES), ("sidecar-admin", SIDECAR_GAUGES))
                for name, value in self.metrics(of).items()
                # Envoy's admin interface counts this very request.
                if name.startswith(gauges) and value != 0 and "admin" not in name
            }
            if not samples or time.monotonic() > ends:
                return [f"{name} is {value:g}" for name, value in samples.items()]
            time.sleep(0.1)

    def _bootstrap(self) -> str:
        text = (REPO / self.host.bootstrap).read_text()
        for name, port in SHIPPED.items():
            text = replaced(text, f"port_value: {port} ", f"port_value: {self.ports[name]} ")
        text = text.replace("filename: target/", f"filename: {REPO}/target/")
        if self.host.rejects and not self.host.has_policy_file:
            text = replaced(text, "on_failure: default", "on_failure: reject")
        return text

    def _name(self, process: str) -> str:
        return f"{self._label}-{process}"


def resident_megabytes(process: int) -> float:
    """The memory of a process; 0 if it is gone."""
    try:
        status = pathlib.Path(f"/proc/{process}/status").read_text()
    except FileNotFoundError:
        return 0
    return next((int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmRSS")), 0)


def open_files(process: int) -> int:
    """How many file descriptors a process has; 0 if it is gone."""
    folder = pathlib.Path(f"/proc/{process}/fd")
    return len(list(folder.iterdir())) if folder.exists() else 0
