"""An agent written by hand: it sends results of tools until the model calls no more.

Of all its steps, only the first is classified, although the system prompt changes each time.
"""

import json

import pytest
from decisions import decision
from prompts import code, greeting, user

STEPS = 9


def read_file(path: str) -> str:
    """The agent's tool."""
    return f"{path} is empty."


def schema() -> dict:
    """The tool's parameters."""
    return {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}


def assert_decided_once(decisions: list[tuple[str, str]], model: str) -> None:
    """Checks the decisions of a loop."""
    assert [chosen for chosen, _ in decisions] == [model] * (STEPS + 1)
    first, *others = [reason for _, reason in decisions]
    assert first == "classified"
    assert set(others) <= {"cached", "sticky"}


@pytest.mark.parametrize("streams", [False, True], ids=["whole", "stream"])
def test_chat_completions(client, streams):
    tools = [{"type": "function", "function": {"name": "read_file", "parameters": schema()}}]
    conversation = [user(code(f"Call read_file {STEPS} times."))]
    decisions = []
    while len(decisions) <= STEPS:
        system = {"role": "system", "content": f"You are an engineer. This is step {len(decisions)}."}
        request = {"model": "auto", "messages": [system, *conversation], "tools": tools}
        if streams:
            with client.chat.completions.stream(**request) as stream:
                message = stream.get_final_completion().choices[0].message
                decisions.append(decision(stream._response.headers))
        else:
            raw = client.chat.completions.with_raw_response.create(**request)
            message = raw.parse().choices[0].message
            decisions.append(decision(raw.headers))
        if not message.tool_calls:
            break
        [call] = message.tool_calls
        calls = [
            {
                "id": call.id,
                "type": "function",
                "function": {
                    "name": call.function.name,
                    "arguments": call.function.arguments,
                },
            }
        ]
        result = read_file(**json.loads(call.function.arguments))
        conversation += [
            {"role": "assistant", "content": None, "tool_calls": calls},
            {"role": "tool", "tool_call_id": call.id, "content": result},
        ]
    assert_decided_once(decisions, "nemotron")


@pytest.mark.parametrize("streams", [False, True], ids=["whole", "stream"])
def test_responses(client, streams):
    tools = [{"type": "function", "name": "read_file", "parameters": schema(), "strict": False}]
    items = [user(greeting(f"Call read_file {STEPS} times."))]
    decisions = []
    while len(decisions) <= STEPS:
        instructions = f"You are an engineer. This is step {len(decisions)}."
        request = {"model": "auto", "input": items, "instructions": instructions, "tools": tools, "store": False}
        if streams:
            with client.responses.stream(**request) as stream:
                output = stream.get_final_response().output
                decisions.append(decision(stream._response.headers))
        else:
            raw = client.responses.with_raw_response.create(**request)
            output = raw.parse().output
            decisions.append(decision(raw.headers))
        call = output[-1]
        if call.type != "function_call":
            break
        result = read_file(**json.loads(call.arguments))
        items += [
            {"type": "function_call", "call_id": call.call_id, "name": call.name, "arguments": call.arguments},
            {"type": "function_call_output", "call_id": call.call_id, "output": result},
        ]
    assert_decided_once(decisions, "llama-8b")


@pytest.mark.parametrize("streams", [False, True], ids=["whole", "stream"])
def test_messages(claude, streams):
    tools = [{"name": "read_file", "input_schema": schema()}]
    messages = [user(code(f"Call read_file {STEPS} times."))]
    decisions = []
    while len(decisions) <= STEPS:
        request = {
            "model": "auto",
            "max_tokens": 4096,
            "messages": messages,
            "tools": tools,
            "system": f"You are an engineer. This is step {len(decisions)}.",
            "thinking": {"type": "enabled", "budget_tokens": 1024},
        }
        if streams:
            with claude.messages.stream(**request) as stream:
                message = stream.get_final_message()
                decisions.append(decision(stream.response.headers))
        else:
            raw = claude.messages.with_raw_response.create(**request)
            message = raw.parse()
            decisions.append(decision(raw.headers))
        if message.stop_reason != "tool_use":
            break
        use = message.content[-1]
        result = {"type": "tool_result", "tool_use_id": use.id, "content": read_file(**use.input)}
        content = [block.model_dump(exclude_none=True) for block in message.content]
        messages += [{"role": "assistant", "content": content}, {"role": "user", "content": [result]}]
    assert_decided_once(decisions, "claude-deep")
