"""The clients of the tests, and the prompts that the gateway's scripted classifier reads."""

import os

import anthropic
import openai
import pytest

URL = os.environ["GATEWAY_URL"]


@pytest.fixture
def client() -> openai.OpenAI:
    """OpenAI's client. It does not retry, so that a test sees the first failure."""
    return openai.OpenAI(base_url=f"{URL}/v1", api_key="a-key", max_retries=0)


@pytest.fixture
def claude() -> anthropic.Anthropic:
    """Anthropic's client, without retries too."""
    return anthropic.Anthropic(base_url=URL, api_key="a-key", max_retries=0)
