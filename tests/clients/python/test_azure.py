"""Azure's paths, where the deployment names the model."""

import openai
import pytest
from conftest import URL
from decisions import decision
from prompts import code, user


@pytest.fixture
def azure() -> openai.AzureOpenAI:
    """OpenAI's client for Azure."""
    return openai.AzureOpenAI(azure_endpoint=URL, api_version="2025-04-01-preview", api_key="a-key", max_retries=0)


def test_the_deployments_name_chooses_as_a_models_does(azure):
    for name, model in [("auto", "nemotron"), ("llama-70b", "llama-70b"), ("gpt-4o", "llama-70b")]:
        raw = azure.chat.completions.with_raw_response.create(model=name, messages=[user(code())])
        assert decision(raw.headers)[0] == model
        assert raw.parse().choices[0].message.content == f"This is {model}."


def test_a_deployment_streams(azure):
    stream = azure.chat.completions.create(model="auto", messages=[user(code())], stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == "This is nemotron."


def test_an_unknown_deployment_is_not_found(azure):
    with pytest.raises(openai.NotFoundError):
        azure.chat.completions.create(model="no-such-model", messages=[user("Hi")])
