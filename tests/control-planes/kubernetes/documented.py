"""Extracts the commands of the documentation."""

import re
from dataclasses import dataclass

from processes import REPO

BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SHELLS = ("", "console", "sh", "bash")
COMMAND = re.compile(r"(?:\$ )?((?:kubectl|helm|openssl) .*)")
CHOICE = re.compile(r"^\$ ([A-Z]+)=(\S+) +# or (.+)$", re.MULTILINE)
"""A variable that the rest of the page uses, with its possible values."""
STATUS = re.compile(r"^(kubectl .* get .*?) \| grep .*")
"""Commands that search a status, which only a gateway's controller writes."""
NEEDS_PODS = re.compile(r"^kubectl .*\b(port-forward|logs|exec)\b|\$[A-Z{(]")
"""Commands that need running containers, or an address that the reader fills in."""
NEEDS_NETWORK = re.compile(r"https?://|oci://|^helm (repo|pull) ")


@dataclass
class Section:
    """The commands below one heading."""

    title: str
    commands: list[str]


def variants(page: str) -> list[str]:
    """The values that a page lets its reader choose from, or one empty value if it has no choice."""
    choice = CHOICE.search((REPO / page).read_text())
    return [choice[2], *choice[3].split(", ")] if choice else [""]


def sections(page: str, variant: str = "") -> list[Section]:
    """The sections of a page that have commands for a cluster."""
    found = []
    text = (REPO / page).read_text()
    others = [it for it in variants(page) if it != variant]
    if choice := CHOICE.search(text):
        text = text.replace(f"${choice[1]}", variant or choice[2])
    title = page
    for part in re.split(r"^(?=#{1,3} )", text, flags=re.MULTILINE):
        if part.startswith("#"):
            title = part.partition("\n")[0].lstrip("# ")
        blocks = [block for language, block in BLOCK.findall(part) if language in SHELLS]
        commands = [command for block in blocks for command in _commands(block, others)]
        if commands:
            found.append(Section(title, commands))
    return found


def _commands(block: str, others: list[str]) -> list[str]:
    """The commands of a block, except those whose comment assigns them to another variant."""
    lines = re.sub(r"\\\n\s*", "", block).splitlines()
    commands = [re.split(r" +# ", match[1]) for line in lines if (match := COMMAND.match(line))]
    return [
        STATUS.sub(r"\1", command)
        for command, *comment in commands
        if not (comment and re.match(r"[\w-]*", comment[0])[0] in others)
    ]


def can_run(command: str) -> bool:
    """Whether a command needs only the API server and this repository."""
    return not NEEDS_PODS.search(command) and not NEEDS_NETWORK.search(command)
