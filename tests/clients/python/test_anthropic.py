"""Messages with Anthropic's client."""

import asyncio

import anthropic
import pytest
from anthropic.types import Message
from conftest import URL
from decisions import decision
from prompts import code, greeting, user

WEATHER = {
    "name": "get_weather",
    "description": "Tells the weather.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
THINKING = {"type": "enabled", "budget_tokens": 1024}


def test_a_message_comes_from_the_model_that_the_router_chose(claude):
    for prompt, model, cluster in [(code(), "claude-deep", "nemotron"), (greeting(), "claude-fast", "llama-8b")]:
        raw = claude.messages.with_raw_response.create(
            model="auto", max_tokens=100, system="Be brief.", messages=[user(prompt)]
        )
        assert decision(raw.headers) == (model, "classified")
        message = raw.parse()
        assert isinstance(message, Message)
        assert message.content[0].text == f"This is {cluster}."
        assert (message.stop_reason, message.usage.output_tokens) == ("end_turn", 4)


def test_a_model_that_the_client_names_answers(claude):
    for name, reason in [("claude-deep", "manual"), ("claude-sonnet-4-5", "alias")]:
        raw = claude.messages.with_raw_response.create(model=name, max_tokens=100, messages=[user(greeting())])
        assert decision(raw.headers) == ("claude-deep", reason)


def test_events_of_a_stream_assemble_to_the_message(claude):
    with claude.messages.stream(model="auto", max_tokens=100, messages=[user(code())]) as stream:
        text = "".join(stream.text_stream)
        message = stream.get_final_message()
    assert text == message.content[0].text == "This is nemotron."
    assert message.usage.output_tokens == 4
    kinds = [
        event.type
        for event in claude.messages.create(model="auto", max_tokens=100, messages=[user(code())], stream=True)
    ]
    assert (kinds[0], kinds[-1]) == ("message_start", "message_stop")


@pytest.mark.parametrize("options", [{}, {"thinking": THINKING}], ids=["plain", "with signed thinking"])
@pytest.mark.parametrize("streams", [False, True], ids=["whole", "stream"])
def test_a_tool_is_called_and_its_result_goes_back_to_the_same_model(claude, options, streams):
    def ask(messages: list) -> tuple[Message, str]:
        request = {"model": "auto", "max_tokens": 2048, "messages": messages, "tools": [WEATHER], **options}
        if streams:
            with claude.messages.stream(**request) as stream:
                return stream.get_final_message(), decision(stream.response.headers)[0]
        raw = claude.messages.with_raw_response.create(**request)
        return raw.parse(), decision(raw.headers)[0]

    messages = [user(code("Call get_weather."))]
    message, model = ask(messages)
    use = message.content[-1]
    assert (message.stop_reason, use.name, use.input) == ("tool_use", "get_weather", {"city": "text"})
    assert [block.type for block in message.content[:-1]] == (["thinking"] if options else [])

    content = [block.model_dump(exclude_none=True) for block in message.content]
    result = {"type": "tool_result", "tool_use_id": use.id, "content": "It rains."}
    messages += [{"role": "assistant", "content": content}, {"role": "user", "content": [result]}]
    message, same_model = ask(messages)
    assert same_model == model == "claude-deep"
    assert message.content[-1].text == "This is nemotron."


def test_tokens_are_counted_by_the_model_that_the_client_names(claude):
    for name in ["claude-deep", "claude-sonnet-4-5", "auto"]:
        count = claude.messages.count_tokens(model=name, messages=[user("How many tokens are these?")])
        assert count.input_tokens > 0


def test_an_async_client_streams_too():
    async def ask() -> str:
        claude = anthropic.AsyncAnthropic(base_url=URL, api_key="a-key", max_retries=0)
        async with claude, claude.messages.stream(model="auto", max_tokens=100, messages=[user(code())]) as stream:
            return "".join([text async for text in stream.text_stream])

    assert asyncio.run(ask()) == "This is nemotron."


def test_an_unknown_model_is_not_found(claude):
    with pytest.raises(anthropic.NotFoundError) as raised:
        claude.messages.create(model="no-such-model", max_tokens=100, messages=[user("Hi")])
    assert raised.value.type == "not_found_error"
    assert raised.value.body["type"] == "error"
    assert "no-such-model" in raised.value.body["error"]["message"]


def test_a_model_of_another_api_is_a_bad_request(claude):
    with pytest.raises(anthropic.BadRequestError) as raised:
        claude.messages.create(model="llama-70b", max_tokens=100, messages=[user("Hi")])
    assert raised.value.type == "invalid_request_error"


def test_a_providers_error_is_the_clients_exception(claude):
    for status, error in [(429, anthropic.RateLimitError), (529, anthropic.InternalServerError)]:
        headers = {"x-test-fails": f"nemotron:{status}"}
        with pytest.raises(error):
            claude.messages.create(model="auto", max_tokens=100, messages=[user(code())], extra_headers=headers)
