"""LangChain's models and agents."""

import asyncio

import pytest
from conftest import URL
from decisions import decision
from langchain.agents import create_agent
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from prompts import code, greeting
from pydantic import BaseModel

OPENAI = {"model": "auto", "base_url": f"{URL}/v1", "api_key": "a-key", "max_retries": 0}


def chat() -> ChatOpenAI:
    return ChatOpenAI(**OPENAI, include_response_headers=True)


def responses() -> ChatOpenAI:
    return ChatOpenAI(**OPENAI, use_responses_api=True)


def claude() -> ChatAnthropic:
    return ChatAnthropic(model="auto", base_url=URL, api_key="a-key", max_retries=0)


# LangChain's models share connections, so they all need the same event loop.
LOOP = asyncio.Runner()

MODELS = pytest.mark.parametrize("model", [chat, responses, claude])


@tool
def read_file(path: str) -> str:
    """Reads a file."""
    return f"{path} is empty."


class Event(BaseModel):
    """A structured answer."""

    name: str


@MODELS
def test_a_model_is_invoked_and_streams(model):
    llm = model()
    for prompt, cluster in [(code(), "nemotron"), (greeting(), "llama-8b")]:
        assert llm.invoke(prompt).text == f"This is {cluster}."
        assert "".join(chunk.text for chunk in llm.stream(prompt)) == f"This is {cluster}."


@MODELS
def test_a_model_is_invoked_asynchronously_and_in_batches(model):
    llm = model()
    assert LOOP.run(llm.ainvoke(code())).text == "This is nemotron."
    answers = llm.batch([code(), greeting()])
    assert [answer.text for answer in answers] == ["This is nemotron.", "This is llama-8b."]


def test_the_decision_is_in_the_metadata_of_an_answer():
    answer = chat().invoke(code())
    assert decision(answer.response_metadata["headers"]) == ("nemotron", "classified")


@MODELS
def test_tools_are_called_with_arguments_of_their_schema(model):
    answer = model().bind_tools([read_file]).invoke(code("Call read_file."))
    [call] = answer.tool_calls
    assert (call["name"], call["args"]) == ("read_file", {"path": "text"})


@MODELS
@pytest.mark.parametrize("method", ["function_calling", "json_schema"])
def test_structured_output_is_parsed_into_a_class(model, method):
    structured = model().with_structured_output(Event, method=method)
    assert structured.invoke(code()) == Event(name="text")


@MODELS
@pytest.mark.parametrize("streams", [False, True], ids=["whole", "stream"])
def test_an_agent_calls_tools_until_it_is_done(model, streams):
    agent = create_agent(model(), tools=[read_file], system_prompt="You are an engineer.")
    start = {"messages": [{"role": "user", "content": code("Call read_file 5 times.")}]}
    messages = (
        list(agent.stream(start, stream_mode="values"))[-1]["messages"]
        if streams
        else (agent.invoke(start)["messages"])
    )
    assert sum(isinstance(message, ToolMessage) for message in messages) == 5
    assert isinstance(messages[-1], AIMessage)
    assert messages[-1].text == "This is nemotron."


def test_embeddings_arrive():
    # Without the client's own count of tokens, for which it downloads a vocabulary.
    embeddings = OpenAIEmbeddings(**{**OPENAI, "model": "llama-70b"}, check_embedding_ctx_length=False)
    assert embeddings.embed_query("a text") == pytest.approx([0.6, 0.8])
