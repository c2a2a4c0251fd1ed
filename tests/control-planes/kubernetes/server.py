"""A Kubernetes API server with its controllers, without nodes, on free ports."""

import json
import os
import pathlib
import shutil
import ssl
import subprocess
import threading
import time
import urllib.error
import urllib.request

from processes import REPO, DemoError, Processes, reserve_ports

TOOLS = REPO / ".setup/k8s/bin"
WORK = REPO / "target/cluster/server"
TOKEN = "administrator"
"""The token of the only user. The API server belongs to the test and listens on loopback."""
ISSUER = "https://kubernetes.default.svc.cluster.local"
COMMAND_SECONDS = 120

Object = dict


class Cluster:
    """The API server, and kubectl for it."""

    def __init__(self, processes: Processes) -> None:
        self._processes = processes
        self._ports = reserve_ports(["etcd", "peer", "apiserver", "controller-manager"])
        self._certificate = WORK / "certificates/apiserver.crt"
        self.address = f"https://127.0.0.1:{self._ports['apiserver']}"
        # Keeps kubectl from writing into the user's home.
        folders = {
            "KUBECACHEDIR": "kubectl",
            "HELM_CACHE_HOME": "helm",
            "HELM_CONFIG_HOME": "helm",
            "HELM_DATA_HOME": "helm",
        }
        self.environment = os.environ | {name: str(WORK / folder) for name, folder in folders.items()}
        self.environment["KUBECONFIG"] = str(WORK / "kubeconfig")
        self.environment["PATH"] = f"{TOOLS}:{REPO / 'target/debug'}:{os.environ['PATH']}"

    def start(self) -> None:
        """Returns when the API server and its controllers are ready."""
        shutil.rmtree(WORK, ignore_errors=True)
        WORK.mkdir(parents=True)
        self._write_credentials()
        self._start_etcd()
        self._start_apiserver()
        self._start_controllers()

    def _write_credentials(self) -> None:
        generate = ["openssl", "genpkey", "-algorithm", "RSA", "-out", WORK / "accounts.key"]
        subprocess.run(generate, check=True, capture_output=True)
        (WORK / "tokens.csv").write_text(f"{TOKEN},administrator,1,system:masters\n")
        cluster = {"server": self.address, "certificate-authority": str(self._certificate)}
        names = {"cluster": "test", "user": "administrator"}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": "administrator", "user": {"token": TOKEN}}],
            "contexts": [{"name": "test", "context": names}],
            "current-context": "test",
        }
        (WORK / "kubeconfig").write_text(json.dumps(config))

    def _start_etcd(self) -> None:
        client, peer = (f"http://127.0.0.1:{self._ports[name]}" for name in ("etcd", "peer"))
        self._processes.start(
            "etcd",
            TOOLS / "etcd",
            f"--data-dir={WORK / 'etcd'}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
        )

    def _start_apiserver(self) -> None:
        self._processes.start(
            "apiserver",
            TOOLS / "kubernetes",
            "apiserver",
            f"--etcd-servers=http://127.0.0.1:{self._ports['etcd']}",
            "--bind-address=127.0.0.1",
            f"--secure-port={self._ports['apiserver']}",
            # It does not accept loopback here. Nobody connects to this address, which is reserved for documentation.
            "--advertise-address=192.0.2.1",
            "--endpoint-reconciler-type=none",
            "--service-cluster-ip-range=10.96.0.0/16",
            # It creates its own certificate there.
            f"--cert-dir={self._certificate.parent}",
            f"--token-auth-file={WORK / 'tokens.csv'}",
            "--authorization-mode=RBAC",
            f"--service-account-issuer={ISSUER}",
            f"--service-account-key-file={WORK / 'accounts.key'}",
            f"--service-account-signing-key-file={WORK / 'accounts.key'}",
        )
        self._processes.wait_ready("apiserver", lambda: self._answers("/readyz"), every=0.2)

    def _start_controllers(self) -> None:
        self._processes.start(
            "controller-manager",
            TOOLS / "kubernetes",
            "controller-manager",
            f"--kubeconfig={WORK / 'kubeconfig'}",
            "--bind-address=127.0.0.1",
            f"--secure-port={self._ports['controller-manager']}",
            f"--cert-dir={self._certificate.parent}",
            f"--service-account-private-key-file={WORK / 'accounts.key'}",
            "--leader-elect=false",
        )
        # Pods need the service account that a controller creates in each namespace.
        account = "/api/v1/namespaces/default/serviceaccounts/default"
        self._processes.wait_ready("controller-manager", lambda: self._answers(account), every=0.2)

    def _answers(self, path: str) -> bool:
        try:
            self.request("GET", path)
        except (OSError, DemoError):
            return False
        return True

    def request(self, method: str, path: str, body: Object | None = None) -> bytes:
        """Calls the API server; patches are merged strategically."""
        headers = {"authorization": f"Bearer {TOKEN}", "content-type": "application/strategic-merge-patch+json"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.address + path, method=method, data=data, headers=headers)
        context = ssl.create_default_context(cafile=self._certificate)
        # A proxy from the environment cannot reach this machine's loopback.
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )
        try:
            with opener.open(request, timeout=10) as response:
                return response.read()
        except urllib.error.HTTPError as error:
            raise DemoError(f"{method} {path}: {error.read().decode(errors='replace')}") from None

    def run(self, *command: str | pathlib.Path, text: str | None = None, folder: pathlib.Path = REPO) -> str:
        """Runs a command with this cluster as its current one, and returns its output."""
        self._processes.check()
        line = " ".join(map(str, command))
        try:
            done = subprocess.run(
                [*map(str, command)],
                cwd=folder,
                env=self.environment,
                input=text,
                capture_output=True,
                text=True,
                check=False,
                timeout=COMMAND_SECONDS,
            )
        except subprocess.TimeoutExpired:
            raise DemoError(f"{line}: not done after {COMMAND_SECONDS} s") from None
        if done.returncode != 0:
            raise DemoError(f"{line}: status {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def kubectl(self, *arguments: str | pathlib.Path, text: str | None = None) -> str:
        return self.run(TOOLS / "kubectl", *arguments, text=text)

    def get(self, *arguments: str) -> list[Object]:
        return json.loads(self.kubectl("get", *arguments, "--output=json"))["items"]


class ReadyPods:
    """Replaces scheduler and kubelet: reports pods as running and ready, without a node."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "ReadyPods":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(0.2):
            # The API server may be stopping, and pods may be deleted meanwhile.
            try:
                self._report()
            except (OSError, DemoError):
                continue

    def _report(self) -> None:
        for pod in json.loads(self._cluster.request("GET", "/api/v1/pods"))["items"]:
            metadata = pod["metadata"]
            if pod["status"].get("phase") == "Running" or metadata.get("deletionTimestamp"):
                continue
            now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            conditions = [
                {"type": name, "status": "True", "lastTransitionTime": now}
                for name in ("PodScheduled", "Initialized", "ContainersReady", "Ready")
            ]
            path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}/status"
            self._cluster.request("PATCH", path, {"status": {"phase": "Running", "conditions": conditions}})
