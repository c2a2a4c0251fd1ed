"""Ways in which users write one prompt differently, so that its labels stay: case, typing errors, spaces, Markdown.

Training reads some of them, and scripts/figures compares a model's answers with and without them.
"""

import random
from collections.abc import Callable

# What clients put before a user's words. Training reads others, those of models/data/preambles.jsonl.
PREAMBLES = (
    "You are a helpful assistant.",
    "System: answer in the user's language. Keep it brief.",
    "You are the support assistant of a software company. Be polite and precise.",
    "Context: the user writes from a mobile phone.",
    "# Instructions\nFollow the user's request. Do not invent facts.",
    "Du bist ein hilfreicher Assistent.",
    "Eres un asistente útil.",
    "你是一个有用的助手。",
)

# Keys beside keys.
NEIGHBOURS = dict(zip("aeionstrlucd", "sropmdytkivf", strict=True))


def lower(text: str, _: random.Random) -> str:
    """All small letters."""
    return text.lower()


def upper(text: str, _: random.Random) -> str:
    """All capital letters."""
    return text.upper()


def typing_errors(text: str, random: random.Random) -> str:
    """About one error in 25 letters, one at least: exchanged, left out, doubled or neighbouring letters."""
    letters = list(text)
    places = [i for i in range(1, len(letters) - 1) if letters[i].isalpha() and letters[i + 1].isalpha()]
    for place in random.sample(places, min(len(places), 1 + len(places) // 25)):
        match random.randrange(4):
            case 0:
                letters[place], letters[place + 1] = letters[place + 1], letters[place]
            case 1:
                letters[place] = ""
            case 2:
                letters[place] *= 2
            case _:
                letters[place] = NEIGHBOURS.get(letters[place], letters[place])
    return "".join(letters)


def no_punctuation(text: str, _: random.Random) -> str:
    """Without the marks at ends of sentences, and the commas."""
    return text.translate(dict.fromkeys(map(ord, ".,!?;¿¡。\uff0c\uff01\uff1f\u061f"))) or text


def spaces(text: str, random: random.Random) -> str:
    """Doubled spaces, line breaks before and after."""
    words = text.split(" ")
    joined = words[0] + "".join((" " if random.random() < 0.8 else "  ") + word for word in words[1:])
    return "\n\n " + joined + "  \n"


def quoted(text: str, random: random.Random) -> str:
    """In quotation marks, or as a quotation of an e-mail."""
    if random.random() < 0.5:
        return f'"{text}"'
    return "\n".join("> " + line for line in text.split("\n"))


def markdown(text: str, random: random.Random) -> str:
    """A heading, bold text or a list item of Markdown."""
    mark = random.choice(("## Request\n\n{}", "**{}**", "- {}", "### Question\n{}\n\n---"))
    return mark.format(text)


def preamble(text: str, random: random.Random) -> str:
    """Behind instructions of the client."""
    return random.choice(PREAMBLES) + "\n\n" + text


# How one user and another would type the same.
TYPED: tuple[Callable[[str, random.Random], str], ...] = (
    lower,
    upper,
    typing_errors,
    no_punctuation,
    spaces,
    quoted,
    markdown,
)
WAYS = (*TYPED, preamble)


def distort(text: str, way: Callable[[str, random.Random], str]) -> str:
    """The text written in this way, the same each time."""
    return way(text, random.Random(way.__name__ + text))
