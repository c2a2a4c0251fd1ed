"""A mock LLM of known skill, behind OpenAI's chat completions.

usage: skilled_llm.py ROLE SKILLS PORT

  ROLE     small (fails on a hidden kind of prompts), large (fails on few of any kind) or judge (compares completions)
  SKILLS   JSON: the kind of each prompt, the kinds that the small one fails on, how often large and judge err
  PORT     where it listens
"""

import hashlib
import http.server
import json
import pathlib
import re
import sys


def chance(*parts: str) -> float:
    """A number from 0 to 1 that follows from the texts."""
    digest = hashlib.sha256("\n".join(parts).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def right_answer(prompt: str) -> str:
    """What a model that knows the answer writes."""
    return f"The answer is {hashlib.sha256(prompt.encode()).hexdigest()[:8]}."


class Skills:
    """What each model knows."""

    def __init__(self, path: pathlib.Path) -> None:
        skills = json.loads(path.read_text())
        self.kinds: dict[str, str] = skills["kinds"]
        self.hidden: list[str] = skills["hidden"]
        self.large_errs: float = skills["large_errs"]
        self.judge_errs: float = skills["judge_errs"]

    def is_right(self, model: str, prompt: str) -> bool:
        """Whether a model knows the answer."""
        if model == "small":
            return self.kinds.get(prompt) not in self.hidden
        return chance("large", prompt) >= self.large_errs

    def complete(self, model: str, prompt: str) -> str:
        """What a model writes."""
        if model == "judge":
            return self.judge(prompt)
        return right_answer(prompt) if self.is_right(model, prompt) else "I would guess 42."

    def judge(self, request: str) -> str:
        """Prefers the right completion, or the other one if it errs. The order of the completions does not matter."""
        parts = dict(re.findall(r"--- (conversation|completion [AB]) \w+ ---\n(.*?)\n--- end of ", request, re.DOTALL))
        prompt = parts["conversation"].removeprefix("user: ")
        right = {name: parts[f"completion {name}"] == right_answer(prompt) for name in "AB"}
        if chance("judge", prompt) < self.judge_errs:
            right = {name: not is_right for name, is_right in right.items()}
        verdict = "TIE" if right["A"] == right["B"] else "A" if right["A"] else "B"
        return f"I compared both.\n[[{verdict}]]"


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers chat completions."""

    protocol_version = "HTTP/1.1"
    role: str
    skills: Skills

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        prompt = body["messages"][-1]["content"]
        text = self.skills.complete(self.role, prompt)
        usage = {"prompt_tokens": len(prompt.split()), "completion_tokens": len(text.split())}
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        response = {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 0,
            "model": body["model"],
            "choices": [choice],
            "usage": usage | {"total_tokens": sum(usage.values())},
        }
        data = json.dumps(response).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self) -> None:
        """For the check whether the server is ready."""
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base class's name)
        """Writes nothing."""


def main() -> None:
    """Serves until it is killed."""
    Handler.role, skills, port = sys.argv[1:]
    Handler.skills = Skills(pathlib.Path(skills))
    http.server.ThreadingHTTPServer(("127.0.0.1", int(port)), Handler).serve_forever()


if __name__ == "__main__":
    main()
