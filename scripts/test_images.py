"""The second half of scripts/test-images: runs what the images would run."""

import http.client
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

from check_dockerfiles import instructions
from processes import REPO, DemoError, Processes, free_ports, is_ready, replaced, run_as_test

ROOT = REPO / "target/images/sidecar"
FILTER = REPO / "target/images/plugin.wasm"
STAND_IN = REPO / "target/release/llm-stand-in"
# What the base image, distroless cc-debian12, has of Debian's libc6, libgcc-s1 and libstdc++6.
BASE_IMAGE = {"ld-linux-x86-64.so.2", "libc.so.6", "libdl.so.2", "libgcc_s.so.1", "libm.so.6", "libpthread.so.0",
              "librt.so.1", "libstdc++.so.6", "libutil.so.1"}
SUDO = [] if os.geteuid() == 0 else ["sudo"]
PROMPT = "Write a Python function that merges two sorted lists into one."


def image():
    """What Dockerfile.sidecar says of how it is run."""
    found = {"ENV": {}}
    for name, rest in instructions(REPO / "deploy/images/Dockerfile.sidecar"):
        if name == "ENV":
            found["ENV"] |= dict(pair.split("=", 1) for pair in rest.split())
        elif name in ("ENTRYPOINT", "CMD"):
            found[name] = json.loads(rest)
        elif name == "HEALTHCHECK":
            found[name] = json.loads(rest.split(" CMD ", 1)[1])
        elif name == "USER":
            found[name] = rest
    return found


def add_base_image():
    """Puts beside the image's files the libraries that the base image has; those must be all that are missing."""
    binary = ROOT / "opt/llm-router/bin/llm-router-sidecar"
    objects = [binary, *(ROOT / "opt/llm-router/lib").iterdir()]
    listed = subprocess.run(["ldd", *objects], check=True, capture_output=True, text=True, env={"LC_ALL": "C"}).stdout
    if lost := re.findall(r"(\S+) => not found", listed):
        raise DemoError(f"the image lacks {', '.join(sorted(set(lost)))}")
    outside = {pathlib.Path(path) for path in re.findall(r"(/\S+) \(0x", listed) if not path.startswith(f"{ROOT}/")}
    if unknown := {path.name for path in outside} - BASE_IMAGE:
        raise DemoError(f"neither the image nor its base has {', '.join(sorted(unknown))}")
    for path in outside:
        target = ROOT / path.relative_to("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)


def add_proc():
    """What of /proc, which every container has, the loader and the sidecar read: a mount would need more rights than chroot."""
    proc = ROOT / "proc"
    (proc / "self").mkdir(parents=True)
    (proc / "self/exe").symlink_to(image()["ENTRYPOINT"][0])
    for name in ("meminfo", "cpuinfo"):
        (proc / name).write_text(pathlib.Path("/proc", name).read_text())


class Image:
    """The sidecar's image, run on free ports. It may write nowhere: all files are another user's."""

    def __init__(self):
        self.image = image()
        ports = free_ports(["listen", "admin"])
        self.listen, self.admin = ports["listen"], ports["admin"]
        environment = self.image["ENV"]
        environment["LLM_ROUTER_LISTEN"] = replaced(environment["LLM_ROUTER_LISTEN"], "0.0.0.0:50051", f"127.0.0.1:{self.listen}")
        environment["LLM_ROUTER_ADMIN"] = replaced(environment["LLM_ROUTER_ADMIN"], ":9091", f":{self.admin}")

    def command(self, *arguments):
        environment = [f"{name}={value}" for name, value in self.image["ENV"].items()]
        return [*SUDO, "env", "-i", *environment, shutil.which("chroot"), f"--userspec={self.image['USER']}", str(ROOT),
                *arguments]

    def start(self, processes):
        processes.start("image-sidecar", *self.command(*self.image["ENTRYPOINT"], *self.image["CMD"]))
        processes.wait_ready("image-sidecar", lambda: self.check_health() == 0)

    def check_health(self):
        return subprocess.run(self.command(*self.image["HEALTHCHECK"]), capture_output=True).returncode


def post(port, path, body):
    """The answer's status, headers and JSON, if it is that."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("POST", path, json.dumps(body), {"content-type": "application/json"})
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    return answer.status, answer.headers, json.loads(text) if text.startswith(b"{") else None


def expect(what, found, expected):
    if found != expected:
        raise DemoError(f"{what}: {found!r}, and not {expected!r}")


def start_gateway(processes, name, sidecar, hosts):
    """Envoy on a bootstrap of deploy/compose/, with the services' names replaced by places on loopback."""
    text = (REPO / f"deploy/compose/{name}.yaml").read_text()
    ports = free_ports([9901, 10000])
    text = replaced(text, "/etc/llm-router/plugin.wasm", str(FILTER))
    places = {("0.0.0.0", 9901): ports[9901], ("0.0.0.0", 10000): ports[10000], ("sidecar", 50051): sidecar, **hosts}
    for (host, port), place in places.items():
        text = replaced(text, f"address: {host}, port_value: {port} ", f"address: 127.0.0.1, port_value: {place} ")
    # A machine that runs the test may be slower than the policy's patience.
    text = replaced(replaced(text, "timeout: 200ms", "timeout: 20s"), "max_stream_duration: 1s", "max_stream_duration: 20s")
    with tempfile.NamedTemporaryFile("w", suffix=".yaml", delete=False) as file:
        file.write(text)
    envoy = pathlib.Path(sys.executable).parent / "envoy"
    processes.start(f"image-{name}", envoy, "-c", file.name, "--disable-hot-restart", "--concurrency", "1",
                    "--log-level", "warning")
    processes.wait_ready(f"image-{name}", lambda: is_ready(ports[9901], "/ready"))
    os.unlink(file.name)
    return ports[10000]


def run():
    expect("plugin.wasm", FILTER.read_bytes()[:4], b"\0asm")
    add_base_image()
    add_proc()
    sidecar = Image()
    expect("health without a sidecar", sidecar.check_health(), 1)
    request = {"model": "auto", "messages": [{"role": "user", "content": PROMPT}]}
    with Processes() as processes:
        sidecar.start(processes)
        status, _, answer = post(sidecar.admin, "/v1/classify", {"input": PROMPT})
        expect("the image's classification", (status, answer["task"]["label"]), (200, "Code Generation"))
        print("the sidecar's image: starts in a root of its own, as another user, and classifies")

        ports = free_ports(["small", "large", "nobody"])
        for name in ("small", "large"):
            processes.start(f"image-{name}", STAND_IN, "--name", name, "--listen", f"127.0.0.1:{ports[name]}")
            processes.wait_ready(f"image-{name}", lambda: is_ready(ports[name], "/v1/models"))
        places = {("small", 8000): ports["small"], ("large", 8000): ports["large"]}
        gateway = start_gateway(processes, "stand-ins", sidecar.listen, places)
        status, headers, _ = post(gateway, "/v1/chat/completions", request)
        expect("deploy/compose/stand-ins.yaml", (status, headers["x-served-by"], headers["x-llm-router-reason"]),
               (200, "large", "classified"))
        print("deploy/compose/stand-ins.yaml: routes")

        os.environ |= {"NVIDIA_AUTHORIZATION": "Bearer a", "OPENAI_AUTHORIZATION": "Bearer b"}
        places = {(host, 443): ports["nobody"] for host in ("integrate.api.nvidia.com", "api.openai.com")}
        gateway = start_gateway(processes, "providers", sidecar.listen, places)
        status, headers, _ = post(gateway, "/v1/chat/completions", request)
        expect("deploy/compose/providers.yaml, with nobody there", (status, headers["x-llm-router-model"]), (503, "gpt"))
        print("deploy/compose/providers.yaml: decides, and reaches out")


if __name__ == "__main__":
    sys.exit(run_as_test(run))
