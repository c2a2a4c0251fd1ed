"""The second half of scripts/demo: runs what was built, and shows where a dozen prompts are routed."""

import argparse
import contextlib
import dataclasses
import os
import pathlib
import statistics
import sys
import time
from collections.abc import Iterator

import openai
from processes import LOGS, REPO, DemoError, Processes, check_free, end_in_order, is_ready

BINARIES = REPO / "target" / "release"

# The ports of all bootstraps here.
GATEWAY, ENVOY_ADMIN, SIDECAR, SIDECAR_ADMIN = 10000, 9901, 50051, 9091
CLUSTERS = {"llama-8b": 8001, "llama-70b": 8002, "nemotron": 8003}

# Envoy's own filter routes by it, and the sidecar's console explains by it.
POLICY = "envoy/policy.yaml"

REPEATS = 5


@dataclasses.dataclass(frozen=True)
class Host:
    """What applies the policy."""

    bootstrap: str
    decides_alone: bool = True
    """Whether the policy applies without the sidecar. Else Envoy's last route does, and no response header says why."""


HOSTS = {
    "wasm": Host("envoy/wasm.yaml"),
    "module": Host("envoy/module.yaml"),
    "native": Host("envoy/native.yaml", decides_alone=False),
}


@dataclasses.dataclass(frozen=True)
class Case:
    """A prompt, how it is sent, and the model that a reader of the policy would expect."""

    prompt: str
    expected: str
    model: str = "auto"
    stream: bool = False
    extra_body: dict[str, object] | None = None
    sidecar_stopped: bool = False
    note: str = ""


ARTICLE = (
    "The city council met on Tuesday to discuss the new bridge. After four hours of debate about its cost, "
    "the members agreed to ask two more firms for an offer and to decide in spring. Residents complained."
)
STORY = "Write a short story about a lighthouse keeper who is afraid of the sea."
IDEAS = "Give me ten creative ideas for a birthday party on a small budget."
QUERY = "Write a SQL query that finds duplicate e-mail addresses."
MANUAL = {"nim-llm-router": {"routing_strategy": "manual", "model": "llama-70b"}}
CASES = [
    Case("Write a Python function that merges two sorted lists into one.", "nemotron"),
    Case(f"Summarize this article in one sentence: {ARTICLE}", "llama-70b"),
    Case("Why is the sky blue during the day and red at sunset?", "llama-70b"),
    Case(f"Based on this text, when will the council decide? {ARTICLE}", "llama-70b"),
    Case("Hi there! How are you doing today?", "llama-8b"),
    Case("Is this review positive or negative? 'The battery died after two days.'", "llama-8b"),
    Case("Extract all names and e-mail addresses: Ann Lee (ann@lee.org) met Bo Ek (bo@ek.se).", "llama-8b"),
    Case("Rewrite this sentence in a formal tone: gimme the report asap, thanks", "llama-8b"),
    Case(STORY, "nemotron", stream=True, note="streamed"),
    Case("Hi there! Any plans for the weekend?", "llama-70b", extra_body=MANUAL, note="manual"),
    Case(IDEAS, "llama-70b", model="gpt-99", note="unknown model"),
    Case(QUERY, "llama-8b", sidecar_stopped=True, note="sidecar stopped"),
]


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The routing decision of a case, from the response headers, and the latency that the gateway added."""

    case: Case
    label: str
    confidence: str
    model: str
    cluster: str
    reason: str
    added_ms: float
    is_explained: bool
    """Whether response headers say which model it is."""

    @property
    def is_expected(self) -> bool:
        model = self.model if self.is_explained else self.case.expected
        return model == self.cluster == self.case.expected


def start_all(processes: Processes, host: Host) -> None:
    for name, port in CLUSTERS.items():
        processes.start(name, BINARIES / "mock-llm", "--name", name, "--listen", f"127.0.0.1:{port}")
    listen = ["--listen", f"127.0.0.1:{SIDECAR}", "--admin", f"127.0.0.1:{SIDECAR_ADMIN}"]
    model = ["--model", "models/e5", "--policy", POLICY]
    processes.start("sidecar", BINARIES / "llm-router-sidecar", "serve", *model, *listen)
    envoy = ["-c", host.bootstrap, "--use-dynamic-base-id", "--concurrency", "2", "--log-level", "warning"]
    processes.start("envoy", pathlib.Path(sys.executable).parent / "envoy", *envoy)

    for name, port in CLUSTERS.items():
        processes.wait_ready(name, lambda port=port: is_ready(port, "/v1/models"))
    processes.wait_ready("sidecar", lambda: is_ready(SIDECAR_ADMIN, "/readyz"))
    processes.wait_ready("envoy", lambda: is_ready(ENVOY_ADMIN, "/ready"))


def client_of(port: int) -> openai.OpenAI:
    url = f"http://127.0.0.1:{port}/v1"
    client = openai.OpenAI(base_url=url, api_key="unused", max_retries=0, timeout=30)
    client.models.list()  # so that no measurement pays for the connection
    return client


def send(client: openai.OpenAI, case: Case, repeat: int = 0) -> tuple[float, dict[str, str]]:
    """Returns the milliseconds to the response, or to a stream's first event, and the response headers."""
    # Another text each time: the router caches predictions.
    prompt = f"{case.prompt} ({repeat})" if repeat else case.prompt
    start = time.perf_counter()
    response = client.chat.completions.with_raw_response.create(
        model=case.model,
        messages=[{"role": "user", "content": prompt}],
        stream=case.stream,
        extra_body=case.extra_body,
    )
    answer = response.parse()
    if case.stream:
        next(iter(answer))
    milliseconds = (time.perf_counter() - start) * 1000
    if case.stream:
        answer.close()
    return milliseconds, {name.lower(): value for name, value in response.headers.items()}


def run(case: Case, host: Host, gateway: openai.OpenAI, llms: dict[str, openai.OpenAI]) -> Outcome:
    _, headers = send(gateway, case)
    cluster = headers.get("x-served-by", "")
    # In turns, so that other load of the machine affects both.
    repeats = range(1, REPEATS + 1)
    pairs = [(send(gateway, case, repeat)[0], send(llms[cluster], case, repeat)[0]) for repeat in repeats]
    through, direct = zip(*pairs, strict=True)
    return Outcome(
        case=case,
        label=headers.get("x-llm-router-label", "-"),
        confidence=headers.get("x-llm-router-confidence", "-")[:4],
        model=headers.get("x-llm-router-model", "-"),
        cluster=cluster,
        reason=headers.get("x-llm-router-reason", "-"),
        added_ms=statistics.median(through) - statistics.median(direct),
        is_explained=host.decides_alone or not case.sidecar_stopped,
    )


def run_all(processes: Processes, host: Host) -> Iterator[Outcome]:
    gateway = client_of(GATEWAY)
    llms = {name: client_of(port) for name, port in CLUSTERS.items()}
    for case in CASES:
        with processes.stopped("sidecar") if case.sidecar_stopped else contextlib.nullcontext():
            yield run(case, host, gateway, llms)


def row(*cells: str) -> str:
    prompt, label, confidence, model, cluster, reason, added, mark = cells
    left = f"{prompt:<42} {label:<15} {confidence:>5}  {model:<9} {cluster:<9} {reason:<10}"
    return f"{left} {added:>8}  {mark}".rstrip()


HEADER = row("prompt", "label", "conf.", "model", "cluster", "reason", "added ms", "expected")


def show(outcome: Outcome) -> str:
    case = outcome.case
    prompt = f"[{case.note}] {case.prompt}" if case.note else case.prompt
    prompt = prompt if len(prompt) <= 42 else prompt[:41] + "…"
    mark = "yes" if outcome.is_expected else f"no: {case.expected}"
    cells = (outcome.label, outcome.confidence, outcome.model, outcome.cluster, outcome.reason)
    return row(prompt, *cells, f"{outcome.added_ms:.1f}", mark)


FOOTNOTE = f"""
added ms: latency through the gateway minus latency of the same mock LLM alone, medians of {REPEATS}, in turns, all on
this machine; for the stream, to its first event. With the sidecar stopped, it is the timeout of the call to it.
"""


def demo(host: Host, keep: bool, started: float) -> bool:
    ports = {"gateway": GATEWAY, "Envoy's admin": ENVOY_ADMIN, "sidecar": SIDECAR, "its admin": SIDECAR_ADMIN}
    check_free(ports | CLUSTERS)
    with Processes() as processes:
        start_all(processes, host)
        print(f"\n{HEADER}\n{'-' * len(HEADER)}", flush=True)
        outcomes = []
        for outcome in run_all(processes, host):
            print(show(outcome), flush=True)
            outcomes.append(outcome)
        right = sum(outcome.is_expected for outcome in outcomes)
        minutes, seconds = divmod(round(time.time() - started), 60)
        wall_time = f"{minutes} min {seconds:02} s"
        print(FOOTNOTE)
        print(f"{right} of {len(outcomes)} on the expected model; wall time {wall_time}", flush=True)
        if keep:
            wait_for_end(processes)
    return right >= 10


def wait_for_end(processes: Processes) -> None:
    print(f"\ngateway          http://127.0.0.1:{GATEWAY}/v1")
    print(f"Envoy's admin    http://127.0.0.1:{ENVOY_ADMIN}")
    print(f"console          http://127.0.0.1:{SIDECAR_ADMIN}/")
    print(f"sidecar metrics  http://127.0.0.1:{SIDECAR_ADMIN}/metrics\n\nCtrl-C ends all of it.", flush=True)
    while True:
        processes.check()
        time.sleep(0.5)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", choices=HOSTS, default="wasm", help="what applies the policy (default wasm)")
    parser.add_argument("--keep", action="store_true", help="leave everything running until Ctrl-C")
    parser.add_argument("--started", type=float, default=time.time(), help="Unix time when scripts/demo began")
    options = parser.parse_args()
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1"
    end_in_order()
    try:
        return 0 if demo(HOSTS[options.host], options.keep, options.started) else 1
    except DemoError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except openai.APIError as error:
        print(f"error: the gateway's response: {error} (logs: {LOGS.relative_to(REPO)})", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0 if options.keep else 130


if __name__ == "__main__":
    sys.exit(main())
