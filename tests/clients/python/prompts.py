"""Prompts whose classification is known. Each call returns another prompt."""

import json
import uuid


def code(wish: str = "") -> str:
    """A prompt that is classified as code."""
    return labelled("Code Generation", wish)


def greeting(wish: str = "") -> str:
    """A prompt that is classified as small talk."""
    return labelled("Chatbot", wish)


def labelled(label: str, wish: str = "") -> str:
    """A prompt that is classified with this label, and that contains the user's wish."""
    prediction = json.dumps({"label": label, "confidence": 0.875})
    return f"Predict: {prediction}\n(prompt {uuid.uuid4().hex}) {wish}"


def user(text: str) -> dict[str, str]:
    """The text as a user's message."""
    return {"role": "user", "content": text}
