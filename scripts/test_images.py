"""The second half of scripts/test-images: runs what the images would run."""

import http.client
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import sysconfig

from check_dockerfiles import instructions
from processes import REPO, DemoError, Processes, is_ready, replaced, reserve_ports, run_as_test

IMAGES = REPO / "target/images"
ROOT = IMAGES / "sidecar"
# The image of Envoy with our filters. The build puts these two into its /etc/llm-router.
ENVOY_ROOT = IMAGES / "envoy"
FILTERS = ENVOY_ROOT / "etc/llm-router"
MOCK_LLM = REPO / "target/release/mock-llm"
BINARY = "opt/llm-router/bin/llm-router-sidecar"
# The libraries that the base image, distroless cc-debian12, has of Debian's libc6, libgcc-s1 and libstdc++6.
BASE_IMAGE = {
    "ld-linux-x86-64.so.2",
    "libc.so.6",
    "libdl.so.2",
    "libgcc_s.so.1",
    "libm.so.6",
    "libpthread.so.0",
    "librt.so.1",
    "libstdc++.so.6",
    "libutil.so.1",
}
# Envoy's own, distroless base-nossl-debian12, has those of libc6 only.
ENVOY_BASE_IMAGE = BASE_IMAGE - {"libgcc_s.so.1", "libstdc++.so.6"}
SUDO = [] if os.geteuid() == 0 else ["sudo"]
PROMPT = "Write a Python function that merges two sorted lists into one."


def image():
    """How Dockerfile.sidecar says the image is run."""
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


def check_contents():
    """The image has one program, the model, and the libraries; no trainer."""
    programs = {str(path.relative_to(ROOT)) for path in ROOT.rglob("*") if path.is_file() and is_program(path)}
    expect("the image's programs", programs, {BINARY})
    expect(
        "the image's folders",
        {str(path.relative_to(ROOT)) for path in ROOT.glob("*/*")},
        {"opt/llm-router", "models/e5"},
    )


def is_program(path):
    """Whether a file can be run and is not a shared library."""
    with path.open("rb") as file:
        start = file.read(4)
    return start[:2] == b"#!" or (start == b"\x7fELF" and ".so" not in path.name)


def add_base_image(root, objects, base):
    """Adds the libraries of the base image to an image's files. No others may be missing."""
    listed = subprocess.run(["ldd", *objects], check=True, capture_output=True, text=True, env={"LC_ALL": "C"}).stdout
    if missing := re.findall(r"(\S+) => not found", listed):
        raise DemoError(f"the image lacks {', '.join(sorted(set(missing)))}")
    outside = {pathlib.Path(path) for path in re.findall(r"(/\S+) \(0x", listed) if not path.startswith(f"{root}/")}
    if unknown := {path.name for path in outside} - base:
        raise DemoError(f"neither the image nor its base has {', '.join(sorted(unknown))}")
    for path in outside:
        add_file(root, path)


def add_file(root, path, place=None):
    """Copies a file into an image, to the same place if no other is named."""
    target = root / (place or path).relative_to("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(path, target)


def add_proc():
    """Adds the files of /proc that the loader and the sidecar read. A mount would need more rights than chroot does."""
    proc = ROOT / "proc"
    (proc / "self").mkdir(parents=True)
    (proc / "self/exe").symlink_to(image()["ENTRYPOINT"][0])
    for name in ("meminfo", "cpuinfo"):
        (proc / name).write_text(pathlib.Path("/proc", name).read_text())


class Image:
    """The sidecar's image, run on free ports. It can write nowhere: all files belong to another user."""

    def __init__(self):
        self.image = image()
        ports = reserve_ports(["listen", "admin"])
        self.listen, self.admin = ports["listen"], ports["admin"]
        for name, old, port in (
            ("LLM_ROUTER_LISTEN", "0.0.0.0:50051", self.listen),
            ("LLM_ROUTER_ADMIN", "0.0.0.0:9091", self.admin),
        ):
            self.image["ENV"][name] = replaced(self.image["ENV"][name], old, f"127.0.0.1:{port}")

    def command(self, *arguments):
        """The command line that runs a command of the image."""
        environment = [f"{name}={value}" for name, value in self.image["ENV"].items()]
        chroot = [shutil.which("chroot"), f"--userspec={self.image['USER']}", str(ROOT)]
        return [*SUDO, "env", "-i", *environment, *chroot, *arguments]

    def start(self, processes):
        """Runs the image until its health check passes."""
        processes.start("image-sidecar", *self.command(*self.image["ENTRYPOINT"], *self.image["CMD"]))
        processes.wait_ready("image-sidecar", lambda: self.check_health() == 0)

    def check_health(self):
        """The exit code of the health check."""
        command = self.command(*self.image["HEALTHCHECK"])
        return subprocess.run(command, check=False, capture_output=True).returncode


def post(port, path, body, headers=None):
    """The response's status and headers, and its body if that is a JSON object."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("POST", path, json.dumps(body), {"content-type": "application/json"} | (headers or {}))
    response = connection.getresponse()
    text = response.read()
    connection.close()
    return response.status, response.headers, json.loads(text) if text.startswith(b"{") else None


def expect(what, found, expected):
    """Fails unless both are equal."""
    if found != expected:
        raise DemoError(f"{what}: expected {expected!r}, found {found!r}")


def make_envoy_image():
    """Makes the image of Envoy with our filters: the built files, Envoy, and the base image's libraries."""
    program = pathlib.Path(sysconfig.get_path("purelib"), "envoy/_bin/envoy")
    modules = list(FILTERS.glob("*.so"))
    expect("modules in the image", len(modules), 1)
    add_base_image(ENVOY_ROOT, [program, *modules], ENVOY_BASE_IMAGE)
    add_file(ENVOY_ROOT, program, pathlib.Path("/usr/local/bin/envoy"))
    add_file(ENVOY_ROOT, pathlib.Path("/etc/ssl/certs/ca-certificates.crt"))


def adapted(name, sidecar, llms):
    """A bootstrap of deploy/compose/ with loopback ports for the services, and Envoy's ports: admin and gateway."""
    admin, gateway = reserve_ports(["admin", "gateway"]).values()
    text = (REPO / f"deploy/compose/{name}.yaml").read_text()
    services = {("0.0.0.0", 9901): admin, ("0.0.0.0", 10000): gateway, ("sidecar", 50051): sidecar, **llms}
    for (host, port), place in services.items():
        text = replaced(text, f"address: {host}, port_value: {port} ", f"address: 127.0.0.1, port_value: {place} ")
    # The machine that runs the test may be slower than the shipped time limits allow for.
    text = replaced(text, "timeout: 200ms", "timeout: 20s")
    text = replaced(text, "max_stream_duration: 1s", "max_stream_duration: 20s")
    return text, admin, gateway


def start_gateway(processes, name, sidecar, llms):
    """Starts the image of Envoy on a bootstrap of deploy/compose/. Returns its port."""
    text, admin, gateway = adapted(name, sidecar, llms)
    (FILTERS / f"{name}.yaml").write_text(text)
    keys = [f"{provider}_AUTHORIZATION=Bearer key" for provider in ("NVIDIA", "OPENAI")]
    chroot = [shutil.which("chroot"), "--userspec=101:101", ENVOY_ROOT]
    command = ["/usr/local/bin/envoy", "-c", f"/etc/llm-router/{name}.yaml"]
    options = ["--disable-hot-restart", "--concurrency", "1", "--log-level", "warning"]
    processes.start(f"image-{name}", *SUDO, "env", "-i", *keys, *chroot, *command, *options)
    processes.wait_ready(f"image-{name}", lambda: is_ready(admin, "/ready"))
    return gateway


def start_mock_llm(processes, name, port):
    """Starts a mock LLM."""
    processes.start(f"image-{name}", MOCK_LLM, "--name", name, "--listen", f"127.0.0.1:{port}")
    processes.wait_ready(f"image-{name}", lambda: is_ready(port, "/v1/models"))


def run():
    """Runs the whole test."""
    expect("plugin.wasm", (FILTERS / "plugin.wasm").read_bytes()[:4], b"\0asm")
    check_contents()
    add_base_image(ROOT, [ROOT / BINARY, *(ROOT / "opt/llm-router/lib").iterdir()], BASE_IMAGE)
    add_proc()
    make_envoy_image()
    sidecar = Image()
    expect("health without a sidecar", sidecar.check_health(), 1)
    request = {"model": "auto", "messages": [{"role": "user", "content": PROMPT}]}
    with Processes() as processes:
        sidecar.start(processes)
        status, _, prediction = post(sidecar.admin, "/v1/classify", {"input": PROMPT})
        expect("the image's prediction", (status, prediction["task"]["label"]), (200, "Code Generation"))
        print("the sidecar's image: starts in a root of its own, as another user, and classifies")

        ports = reserve_ports(["small", "large", "absent"])
        for name in ("small", "large"):
            start_mock_llm(processes, name, ports[name])
        llms = {("small", 8000): ports["small"], ("large", 8000): ports["large"]}
        for name in ("mock-llms", "module-mock-llms"):
            gateway = start_gateway(processes, name, sidecar.listen, llms)
            status, headers, _ = post(gateway, "/v1/chat/completions", request)
            found = status, headers["x-served-by"], headers["x-llm-router-reason"]
            expect(f"deploy/compose/{name}.yaml", found, (200, "large", "classified"))
            print(f"the gateway's image with deploy/compose/{name}.yaml: routes")

        llms = {(host, 443): ports["absent"] for host in ("integrate.api.nvidia.com", "api.openai.com")}
        for name in ("providers", "module-providers"):
            gateway = start_gateway(processes, name, sidecar.listen, llms)
            status, headers, _ = post(gateway, "/v1/chat/completions", request)
            found = status, headers["x-llm-router-model"]
            expect(f"deploy/compose/{name}.yaml, without the providers", found, (503, "gpt"))
            print(f"the gateway's image with deploy/compose/{name}.yaml: decides, and connects to the provider")


if __name__ == "__main__":
    sys.exit(run_as_test(run))
