"""Embeddings and the list of models with OpenAI's client."""

import openai
import pytest
from decisions import decision


def test_embeddings_arrive_as_the_client_decodes_them(client):
    raw = client.embeddings.with_raw_response.create(model="llama-70b", input=["a text", "another"])
    assert decision(raw.headers) == ("llama-70b", "manual")
    embeddings = raw.parse().data
    assert [it.index for it in embeddings] == [0, 1]
    assert embeddings[0].embedding == pytest.approx([0.6, 0.8])
    as_floats = client.embeddings.create(model="llama-70b", input="a text", encoding_format="float")
    assert as_floats.data[0].embedding == pytest.approx([0.6, 0.8])


def test_the_list_of_models_has_every_name_that_a_client_may_send(client):
    names = {model.id for model in client.models.list()}
    assert {"auto", "always_70b", "llama-8b", "nemotron", "claude-deep", "gpt-4o"} <= names


def test_a_name_of_the_list_is_retrieved(client):
    for name in ["auto", "llama-8b", "gpt-4o"]:
        assert client.models.retrieve(name).id == name
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("no-such-model")
