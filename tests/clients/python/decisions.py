"""What the gateway says of its decision, in the headers of a response."""

from collections.abc import Mapping


def decision(headers: Mapping[str, str]) -> tuple[str, str]:
    """The model that answers, and why."""
    return headers["x-llm-router-model"], headers["x-llm-router-reason"]
