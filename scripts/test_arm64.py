"""The second half of scripts/test-arm64: runs the dynamic module for arm64."""

import platform
import sys

from processes import REPO, Processes, is_ready, replaced, reserve_ports, run_as_test
from test_images import adapted, expect, post, start_mock_llm

MODULES = REPO / "target/arm64"
ENVOY = REPO / ".setup/envoys/arm64/envoy/_bin/envoy"
# With Debian's C library for arm64.
EMULATOR = [] if platform.machine() == "aarch64" else ["qemu-aarch64", "-L", "/usr/aarch64-linux-gnu"]
SIDECAR = REPO / "target/release/trivial-sidecar"


def start_gateway(processes, module, sidecar, llms):
    """Starts Envoy with a module. Returns its port."""
    text, admin, gateway = adapted("module-mock-llms", sidecar, llms)
    text = replaced(text, f"/etc/llm-router/{module.name}", str(module))
    bootstrap = module.with_suffix(".yaml")
    bootstrap.write_text(text)
    name = f"arm64-{module.parent.name}"
    options = ["--disable-hot-restart", "--concurrency", "1", "--log-level", "warning"]
    processes.start(name, *EMULATOR, ENVOY, "-c", bootstrap, *options)
    processes.wait_ready(name, lambda: is_ready(admin, "/ready"))
    return gateway


def run():
    """Runs the whole test."""
    (module,), (drill,) = MODULES.glob("*.so"), MODULES.glob("panic-drill/*.so")
    ports = reserve_ports(["small", "large", "sidecar"])
    llms = {(name, 8000): ports[name] for name in ("small", "large")}
    with Processes() as processes:
        for name in ("small", "large"):
            start_mock_llm(processes, name, ports[name])
        processes.start("arm64-sidecar", SIDECAR, "--listen", f"127.0.0.1:{ports['sidecar']}")
        gateway = start_gateway(processes, module, ports["sidecar"], llms)
        # The sidecar takes all prompts for chat.
        for model, served_by, reason in (("large", "large", "manual"), ("auto", "small", "classified")):
            found = send(gateway, model)
            expect(f"{model} on arm64", found, (200, served_by, reason))
        gateway = start_gateway(processes, drill, ports["sidecar"], llms)
        expect(
            "a panic on arm64", send(gateway, "auto", {"x-panic": "deciding"}), (200, "small", "classifier_unavailable")
        )
        expect("after a panic", send(gateway, "auto"), (200, "small", "classified"))
    print("the module for arm64: routes, classifies, and survives a panic")


def send(gateway, model, headers=None):
    """Sends a request. Returns its status, the model that responded, and the reason."""
    request = {"model": model, "messages": [{"role": "user", "content": "Hi"}]}
    status, found, _ = post(gateway, "/v1/chat/completions", request, headers)
    return status, found["x-served-by"], found["x-llm-router-reason"]


if __name__ == "__main__":
    sys.exit(run_as_test(run))
