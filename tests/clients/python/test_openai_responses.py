"""The Responses API with OpenAI's client."""

import json

import pytest
from decisions import decision
from openai.types.responses import Response
from prompts import code, greeting, user
from pydantic import BaseModel

WEATHER = {
    "type": "function",
    "name": "get_weather",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
    "strict": True,
}
REASONING = {"reasoning": {"effort": "high"}, "include": ["reasoning.encrypted_content"], "store": False}


class Event(BaseModel):
    """A structured answer."""

    name: str


def test_a_response_comes_from_the_model_that_the_router_chose(client):
    for prompt, model in [(code(), "nemotron"), (greeting(), "llama-8b")]:
        for given in [prompt, [user(prompt)]]:
            raw = client.responses.with_raw_response.create(model="auto", input=given, instructions="Be brief.")
            assert decision(raw.headers)[0] == model
            response = raw.parse()
            assert isinstance(response, Response)
            assert (response.status, response.output_text) == ("completed", f"This is {model}.")


def test_events_of_a_stream_assemble_to_the_response(client):
    events = list(client.responses.create(model="auto", input=code(), stream=True))
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert "".join(deltas) == "This is nemotron."
    assert events[-1].type == "response.completed"
    assert events[-1].response.usage.output_tokens == 4


def test_the_clients_stream_helper_gets_a_final_response(client):
    with client.responses.stream(model="auto", input=code()) as stream:
        text = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
        assert stream.get_final_response().output_text == text == "This is nemotron."


@pytest.mark.parametrize("options", [{}, REASONING], ids=["plain", "with encrypted reasoning"])
def test_a_tool_is_called_and_its_result_goes_back_to_the_same_model(client, options):
    items = [user(code("Call get_weather."))]
    first = client.responses.with_raw_response.create(model="auto", input=items, tools=[WEATHER], **options)
    output = first.parse().output
    call = output[-1]
    assert (call.type, call.name, json.loads(call.arguments)) == ("function_call", "get_weather", {"city": "text"})

    items += [item.model_dump(exclude_none=True) for item in output]
    items.append({"type": "function_call_output", "call_id": call.call_id, "output": "It rains."})
    second = client.responses.with_raw_response.create(model="auto", input=items, tools=[WEATHER], **options)
    assert decision(second.headers)[0] == decision(first.headers)[0] == "nemotron"
    assert second.parse().output_text == "This is nemotron."


def test_a_call_of_a_tool_is_assembled_from_a_stream(client):
    with client.responses.stream(model="auto", input=code("Call get_weather."), tools=[WEATHER]) as stream:
        kinds = [event.type for event in stream]
        [call] = stream.get_final_response().output
    assert json.loads(call.arguments) == {"city": "text"}
    assert "response.function_call_arguments.done" in kinds


def test_a_structured_answer_is_parsed_into_the_clients_class(client):
    response = client.responses.parse(model="auto", input=code(), text_format=Event)
    assert response.output_parsed == Event(name="text")
