"""Chat completions with OpenAI's client."""

import asyncio
import json

import openai
import pytest
from conftest import URL
from decisions import decision
from openai.types.chat import ChatCompletion
from prompts import code, greeting, user
from pydantic import BaseModel

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tells the weather.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["city", "days"],
            "additionalProperties": False,
        },
        "strict": True,
    },
}


class Event(BaseModel):
    """A structured answer."""

    name: str
    participants: list[str]


def test_a_completion_comes_from_the_model_that_the_router_chose(client):
    for prompt, model in [(code(), "nemotron"), (greeting(), "llama-8b")]:
        raw = client.chat.completions.with_raw_response.create(model="auto", messages=[user(prompt)])
        assert decision(raw.headers) == (model, "classified")
        completion = raw.parse()
        assert isinstance(completion, ChatCompletion)
        assert completion.choices[0].message.content == f"This is {model}."
        assert completion.choices[0].finish_reason == "stop"
        assert completion.usage.total_tokens > 0


def test_a_model_that_the_client_names_answers(client):
    for name, model, reason in [("llama-70b", "llama-70b", "manual"), ("gpt-4o", "llama-70b", "alias")]:
        raw = client.chat.completions.with_raw_response.create(model=name, messages=[user(code())])
        assert decision(raw.headers) == (model, reason)


def test_chunks_of_a_stream_assemble_to_the_completion(client):
    options = {"include_usage": True}
    stream = client.chat.completions.create(model="auto", messages=[user(code())], stream=True, stream_options=options)
    assert decision(stream.response.headers) == ("nemotron", "classified")
    chunks = list(stream)
    deltas = [choice.delta.content or "" for chunk in chunks for choice in chunk.choices]
    assert "".join(deltas) == "This is nemotron."
    assert chunks[-1].usage.completion_tokens == 4


def test_the_clients_stream_helper_gets_a_final_completion(client):
    with client.chat.completions.stream(model="auto", messages=[user(code())]) as stream:
        kinds = {event.type for event in stream}
        assert {"chunk", "content.delta", "content.done"} <= kinds
        assert stream.get_final_completion().choices[0].message.content == "This is nemotron."


def test_a_stream_that_the_client_leaves_does_not_disturb_the_next_request(client):
    with client.chat.completions.create(model="auto", messages=[user(code())], stream=True) as stream:
        next(iter(stream))
    completion = client.chat.completions.create(model="auto", messages=[user(code())])
    assert completion.choices[0].message.content == "This is nemotron."


def test_a_tool_is_called_and_its_result_goes_back_to_the_same_model(client):
    messages = [user(code("Call get_weather."))]
    first = client.chat.completions.with_raw_response.create(model="auto", messages=messages, tools=[WEATHER])
    choice = first.parse().choices[0]
    assert choice.finish_reason == "tool_calls"
    [call] = choice.message.tool_calls
    assert call.function.name == "get_weather"
    assert json.loads(call.function.arguments) == {"city": "text", "days": 1}

    result = {"role": "tool", "tool_call_id": call.id, "content": "It rains."}
    messages += [choice.message.model_dump(exclude_none=True), result]
    second = client.chat.completions.with_raw_response.create(model="auto", messages=messages, tools=[WEATHER])
    assert decision(second.headers)[0] == decision(first.headers)[0] == "nemotron"
    assert second.parse().choices[0].message.content == "This is nemotron."


def test_a_call_of_a_tool_is_assembled_from_a_stream(client):
    prompt = code("Call get_weather.")
    with client.chat.completions.stream(model="auto", messages=[user(prompt)], tools=[WEATHER]) as stream:
        done = [event for event in stream if event.type == "tool_calls.function.arguments.done"]
        [call] = stream.get_final_completion().choices[0].message.tool_calls
    assert call.function.parsed_arguments == {"city": "text", "days": 1}
    assert len(done) == 1


def test_a_structured_answer_is_parsed_into_the_clients_class(client):
    completion = client.chat.completions.parse(model="auto", messages=[user(code())], response_format=Event)
    assert completion.choices[0].message.parsed == Event(name="text", participants=["text"])


def test_legacy_completions_are_routed_too(client):
    raw = client.completions.with_raw_response.create(model="auto", prompt=code())
    assert decision(raw.headers) == ("nemotron", "classified")
    assert raw.parse().choices[0].text == "This is nemotron."
    stream = client.completions.create(model="auto", prompt=code(), stream=True)
    assert "".join(chunk.choices[0].text for chunk in stream) == "This is nemotron."


def test_a_header_chooses_the_policy(client):
    headers = {"x-llm-policy": "always_70b"}
    raw = client.chat.completions.with_raw_response.create(model="auto", messages=[user(code())], extra_headers=headers)
    assert decision(raw.headers)[0] == "llama-70b"


def test_many_requests_of_an_async_client_are_decided_one_by_one():
    prompts = [(code(), "nemotron"), (greeting(), "llama-8b")] * 8

    async def ask() -> list[ChatCompletion]:
        async with openai.AsyncOpenAI(base_url=f"{URL}/v1", api_key="a-key", max_retries=0) as client:
            requests = [client.chat.completions.create(model="auto", messages=[user(it)]) for it, _ in prompts]
            return await asyncio.gather(*requests)

    answers = [completion.choices[0].message.content for completion in asyncio.run(ask())]
    assert answers == [f"This is {model}." for _, model in prompts]


def test_an_async_stream_assembles_too():
    async def ask() -> str:
        async with openai.AsyncOpenAI(base_url=f"{URL}/v1", api_key="a-key", max_retries=0) as client:
            stream = await client.chat.completions.create(model="auto", messages=[user(code())], stream=True)
            return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    assert asyncio.run(ask()) == "This is nemotron."


def test_an_unknown_model_is_not_found(client):
    with pytest.raises(openai.NotFoundError) as raised:
        client.chat.completions.create(model="no-such-model", messages=[user("Hi")])
    assert raised.value.param == "model"
    assert raised.value.type == "invalid_request_error"
    assert "no-such-model" in raised.value.message


def test_a_model_of_another_api_is_a_bad_request(client):
    with pytest.raises(openai.BadRequestError) as raised:
        client.chat.completions.create(model="claude-deep", messages=[user("Hi")])
    assert raised.value.param == "model"


def test_a_request_that_is_too_large_says_so(client):
    with pytest.raises(openai.APIStatusError) as raised:
        client.chat.completions.create(model="auto", messages=[user("a" * (9 << 20))])
    assert raised.value.status_code == 413


def test_a_providers_error_is_the_clients_exception(client):
    for status, error in [(429, openai.RateLimitError), (500, openai.InternalServerError)]:
        headers = {"x-test-fails": f"nemotron:{status}"}
        with pytest.raises(error) as raised:
            client.chat.completions.create(model="auto", messages=[user(code())], extra_headers=headers)
        assert raised.value.body["message"] == "this is a test of failures"
        assert decision(raised.value.response.headers)[0] == "nemotron"
