"""A team's gateway, its prompts and its two LLMs. The small one fails on a kind of prompts unknown to the router."""

import concurrent.futures
import dataclasses
import http.client
import json
import pathlib
import random
import re
import shutil
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "scripts"))

from processes import REPO, DemoError, Processes, is_ready, replaced, reserve_ports, samples
from skilled_llm import Skills, right_answer

BINARIES = REPO / "target" / "release"
HEAD = "small-or-large"
# The ports that the shipped files name.
SHIPPED = {"gateway": 10000, "envoy-admin": 9901, "sidecar": 50051, "small": 8001, "large": 8002, "judge": 8003}
# The subjects of the prompts on which the small LLM always fails.
HIDDEN = ["chemistry", "computer science", "engineering", "math", "physics"]
LARGE_ERRS = 0.03
JUDGE_ERRS = 0.1
WAIT_SECONDS = 60
MODELS = """models:
  small: { cluster: llama-8b, model: small-1, cost: { input: 0.1, output: 0.2 } }
  large: { cluster: llama-70b, model: large-1, cost: { input: 2, output: 8 } }
  judge: { cluster: nemotron, model: judge-1 }
"""
ALL_LARGE = "all_large: { classifier: task, routes: {}, default: large }"
COMPARED = "compared: { classifier: task, routes: {}, default: large, candidate: learned }"


@dataclasses.dataclass(frozen=True)
class Response:
    """What a client got."""

    model: str
    policy: str
    is_right: bool


class Team:
    """All processes, with the shipped gateway that reads its policy from a file."""

    def __init__(self, processes: Processes, work: pathlib.Path) -> None:
        self._processes = processes
        self.work = work
        self.ports = reserve_ports([*SHIPPED, "sidecar-admin"])
        self.captured = work / "captured"
        self.model = work / "model"
        self.graded = work / "graded.jsonl"
        rows = [json.loads(line) for line in (REPO / "models/data/domain/validation.jsonl").open(encoding="utf-8")]
        random.Random(1).shuffle(rows)
        kinds = {row["text"]: row["label"] for row in rows}
        prompts = list(kinds)
        # The classifiers were not trained on these.
        self.prompts, self.new_prompts = prompts[:500], prompts[500:]
        self._skills = work / "skills.json"
        skills = {"kinds": kinds, "hidden": HIDDEN, "large_errs": LARGE_ERRS, "judge_errs": JUDGE_ERRS}
        self._skills.write_text(json.dumps(skills))
        self.skills = Skills(self._skills)

    def start(self) -> None:
        """Starts the LLMs, the sidecar, which captures prompts, and Envoy, which sends everything to the large LLM."""
        for role in ("small", "large", "judge"):
            program = pathlib.Path(__file__).with_name("skilled_llm.py")
            self._processes.start(
                f"learning-{role}", sys.executable, program, role, self._skills, str(self.ports[role])
            )
        copy_model(REPO / "models/e5", self.model)
        listen = f"127.0.0.1:{self.ports['sidecar']}"
        admin = f"127.0.0.1:{self.ports['sidecar-admin']}"
        capture = ["--capture", self.captured, "--capture-fraction", "1"]
        sidecar = [BINARIES / "llm-router-sidecar", "serve", "--model", self.model, "--reload-interval", "200ms"]
        self._processes.start("learning-sidecar", *sidecar, "--listen", listen, "--admin", admin, *capture)
        self._start_envoy()
        for name, port, path in (
            ("sidecar", "sidecar-admin", "/readyz"),
            ("envoy", "envoy-admin", "/ready"),
            *((role, role, "/") for role in ("small", "large", "judge")),
        ):
            at = self.ports[port]
            self._processes.wait_ready(f"learning-{name}", lambda at=at, path=path: is_ready(at, path))

    def use_policy(self, default: str, *policies: str) -> None:
        """Gives Envoy these policies, as a control plane does, and waits until requests go by the default one."""
        template = (REPO / "envoy/dynamic/policy.yaml").read_text()
        head, _, _ = template.partition("          models:\n")
        head = replaced(head, "default_policy: task_router", f"default_policy: {default}")
        # The machine may be busy, and no result may depend on its load.
        head = replaced(head, "timeout: 200ms", "timeout: 10s")
        lines = ["cache: { entries: 0 }", *MODELS.splitlines(), "policies:", *(f"  {policy}" for policy in policies)]
        text = head + "".join(f"          {line}\n" for line in lines)
        new = self.work / "policy.new"
        new.write_text(text.replace("filename: target/", f"filename: {REPO}/target/"))
        # Envoy reads the file when another one is moved over it.
        new.rename(self.work / "policy.yaml")
        self._wait_for(f"the policy {default}", lambda: self.ask("Hello").policy == default)

    def ask(self, prompt: str, model: str = "auto") -> Response:
        """Sends a prompt, as a client does."""
        connection = http.client.HTTPConnection("127.0.0.1", self.ports["gateway"], timeout=30)
        body = json.dumps({"model": model, "messages": [{"role": "user", "content": prompt}]})
        connection.request("POST", "/v1/chat/completions", body, {"content-type": "application/json"})
        response = connection.getresponse()
        text = response.read()
        connection.close()
        if response.status != 200:
            raise DemoError(f"the gateway responds {response.status}: {text.decode(errors='replace')}")
        content = json.loads(text)["choices"][0]["message"]["content"]
        headers = {name: response.headers.get(f"x-llm-router-{name}", "") for name in ("model", "policy")}
        return Response(**headers, is_right=content == right_answer(prompt))

    def ask_all(self, prompts: list[str]) -> list[Response]:
        """Sends prompts, eight at a time."""
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            return list(pool.map(self.ask, prompts))

    def metrics(self, of: str) -> dict[str, float]:
        """The samples that Envoy (`envoy-admin`) or the sidecar (`sidecar-admin`) exports."""
        return samples(self.ports[of], "/stats/prometheus" if of == "envoy-admin" else "/metrics")

    def wait_for_captures(self, count: int) -> int:
        """Waits until this number of prompts is captured, and returns the number."""
        metric = 'llm_router_sidecar_captured_total{outcome="written"}'
        self._wait_for("captured prompts", lambda: self.metrics("sidecar-admin").get(metric, 0) >= count)
        return sum(len(path.read_text().splitlines()) for path in self.captured.iterdir())

    def wait_for_model(self) -> None:
        """Waits until the sidecar has loaded the model that its folder has now."""
        metric = 'llm_router_sidecar_reloads_total{what="model",outcome="applied"}'
        self._wait_for("the new head", lambda: self.metrics("sidecar-admin").get(metric, 0) >= 1)

    def wait_for_comparisons(self, count: int) -> dict[tuple[str, str], int]:
        """The number of requests for each pair of models of the policy and its candidate, once there are enough."""
        found: dict[tuple[str, str], int] = {}

        def is_complete() -> bool:
            for name, value in self.metrics("envoy-admin").items():
                if name.startswith("llm_router_comparisons_total"):
                    labels = dict(re.findall(r'(\w+)="([^"]*)"', name))
                    found[labels["llm_model"], labels["llm_candidate"]] = int(value)
            return sum(found.values()) >= count

        self._wait_for("comparisons", is_complete)
        return found

    def trainer(self, *arguments: object) -> str:
        """Runs llm-router-train, and returns what it prints."""
        command = [str(it) for it in (BINARIES / "llm-router-train", *arguments)]
        done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise DemoError(f"llm-router-train {arguments[0]}:\n{done.stdout}\n{done.stderr}")
        return done.stdout

    def _start_envoy(self) -> None:
        for file in (REPO / "envoy/dynamic").iterdir():
            text = file.read_text().replace("envoy/dynamic/", f"{self.work}/")
            text = text.replace("filename: target/", f"filename: {REPO}/target/")
            for name, port in SHIPPED.items():
                text = text.replace(f"port_value: {port} ", f"port_value: {self.ports[name]} ")
            (self.work / file.name).write_text(text)
        program = pathlib.Path(sys.executable).parent / "envoy"
        options = ["--use-dynamic-base-id", "--concurrency", "2", "--log-level", "warning"]
        self._processes.start("learning-envoy", program, "-c", self.work / "bootstrap.yaml", *options)

    def _wait_for(self, what: str, is_there) -> None:
        end = time.monotonic() + WAIT_SECONDS
        while not is_there():
            self._processes.check()
            if time.monotonic() > end:
                raise DemoError(f"{what}: not there after {WAIT_SECONDS} s")
            time.sleep(0.1)


def copy_model(source: pathlib.Path, target: pathlib.Path) -> None:
    """A copy to train further heads in. The encoder, which does not change, is only linked."""
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("model.safetensors", "tokenizer.json"))
    for name in ("model.safetensors", "tokenizer.json"):
        (target / name).symlink_to((source / name).resolve())


def quality(responses: list[Response]) -> float:
    """The fraction of right answers."""
    return sum(response.is_right for response in responses) / len(responses)


def strong_calls(responses: list[Response]) -> float:
    """The fraction that the large LLM answered."""
    return sum(response.model == "large" for response in responses) / len(responses)
