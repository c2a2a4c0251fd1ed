"""The gateway's environment: LLMs, a provider behind TLS, the sidecar.

All have the addresses that manifests name, in a network namespace of their own.
"""

import ssl
import subprocess

import llms
import rendering
import yaml
from processes import REPO, Processes, is_ready

WORK = REPO / "target/control-planes"
PROVIDER = "integrate.api.nvidia.com"
PROVIDER_KEY = "Bearer provider-key"
LLM_PORT = 8000
ADDRESSES = {"llama-8b": "127.0.0.21", "llama-70b": "127.0.0.22"}
PROVIDER_ADDRESS = "127.0.0.23"
SIDECAR_PORT, SIDECAR_ADMIN = 50051, 9091
LONG_TIMEOUT = "20s"
"""Replaces the policy's timeout: on a busy machine, a late classification would look like a wrong one."""


def prepare_files() -> None:
    """Writes the files that replace the machine's own in the namespace: host names, and trusted authorities."""
    WORK.mkdir(parents=True, exist_ok=True)
    names = [
        ("127.0.0.1", "localhost"),
        (PROVIDER_ADDRESS, PROVIDER),
        ("127.0.0.1", "llm-router-sidecar.llm-router.svc.cluster.local"),
        ("127.0.0.1", "llm-router-sidecar.llm-router.svc"),
        ("127.0.0.1", "llm-router-sidecar"),
        *((address, name) for name, address in ADDRESSES.items()),
    ]
    (WORK / "hosts").write_text("".join(f"{address} {name}\n" for address, name in names))
    extensions = WORK / "extensions"
    extensions.write_text(f"subjectAltName=DNS:{PROVIDER}\n")
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    _openssl(
        "req",
        "-x509",
        *key,
        "-days",
        "30",
        "-subj",
        "/CN=authority",
        "-keyout",
        "authority.key",
        "-out",
        "authority.pem",
    )
    _openssl("req", *key, "-subj", f"/CN={PROVIDER}", "-keyout", "provider.key", "-out", "provider.csr")
    authority = ["-CA", "authority.pem", "-CAkey", "authority.key", "-CAcreateserial"]
    _openssl(
        "x509",
        "-req",
        "-in",
        "provider.csr",
        *authority,
        "-days",
        "30",
        "-extfile",
        extensions.name,
        "-out",
        "provider.pem",
    )


def _openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=WORK, check=True, capture_output=True)


def serve_llms() -> None:
    for name, address in ADDRESSES.items():
        llms.serve(name, address, LLM_PORT)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(WORK / "provider.pem", WORK / "provider.key")
    tls.set_alpn_protocols(["http/1.1"])
    # The provider's model, served in the cluster, for gateways that cannot call a provider.
    llms.serve("nemotron", PROVIDER_ADDRESS, LLM_PORT)
    llms.serve("nemotron", PROVIDER_ADDRESS, 443, tls)


class Sidecar:
    """The sidecar, run as in the pods of a rendered Deployment."""

    def __init__(self, processes: Processes, objects: list[rendering.Object]) -> None:
        self._processes = processes
        pods = [it["spec"]["template"]["spec"] for it in rendering.of_kind(objects, "Deployment")]
        containers = [it for pod in pods for it in [*pod.get("initContainers", []), *pod["containers"]]]
        container = next(it for it in containers if it["name"] == "sidecar")
        # The image sets the model.
        variables = {"LLM_ROUTER_MODEL": "/models/e5"}
        variables |= {it["name"]: it["value"] for it in container["env"] if "value" in it}
        self._has_policy = variables.pop("LLM_ROUTER_POLICY", None) is not None
        here = {"/models/e5": str(REPO / "models/e5"), "/run/llm-router": str(WORK)}
        self._environment = rendering.replaced_all([f"{name}={value}" for name, value in variables.items()], here)
        self._arguments = rendering.replaced_all(container["args"], here)

    @property
    def decides(self) -> bool:
        return self._has_policy

    def write_policy(self, objects: list[rendering.Object]) -> None:
        """Writes the ConfigMap's policy, as the kubelet does."""
        if self._has_policy:
            text = rendering.find(objects, "ConfigMap", "llm-policy")["data"]["policy.yaml"]
            rendering.write(WORK / "policy.yaml", [with_long_timeouts(yaml.safe_load(text))])

    def start(self) -> None:
        policy = [f"--policy={WORK / 'policy.yaml'}"] if self._has_policy else []
        # Two workers: the number of cores that the Deployment requests.
        options = [*self._arguments, *policy, "--workers=2", "--reload-interval=200ms"]
        binary = REPO / "target/release/llm-router-sidecar"
        self._processes.start("sidecar", "env", *self._environment, binary, *options)
        self._processes.wait_ready("sidecar", lambda: is_ready(SIDECAR_ADMIN, "/readyz"))

    def stop(self) -> None:
        self._processes.stop("sidecar")


def with_long_timeouts(policy: dict) -> dict:
    """Switches off the cache: requests are repeated, and each must be classified."""
    policy["sidecar"]["timeout"] = LONG_TIMEOUT
    return policy | {"cache": {"entries": 0}}


def with_long_calls(changed: rendering.Object) -> rendering.Object:
    """Lets a call to the sidecars last as long as the policy does here."""
    return rendering.replaced(changed, '"max_stream_duration": "1s"', '"max_stream_duration": "30s"')


def enforced(policy: dict) -> dict:
    return {name: value for name, value in policy.items() if name != "mode"}


def with_enforced_config_map(objects: list[rendering.Object]) -> list[rendering.Object]:
    """Removes shadow mode from the sidecars' policy, in objects that the caller may change."""
    config_map = rendering.find(objects, "ConfigMap", "llm-policy")
    if config_map:
        policy = yaml.safe_load(config_map["data"]["policy.yaml"])
        config_map["data"]["policy.yaml"] = yaml.safe_dump(enforced(policy))
    return objects
