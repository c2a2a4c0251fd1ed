"""The gateway's decision, from the headers of a response."""

from collections.abc import Mapping


def decision(headers: Mapping[str, str]) -> tuple[str, str]:
    """The model that responds, and the reason."""
    return headers["x-llm-router-model"], headers["x-llm-router-reason"]
