"""The commands of the documentation, as they stand there."""

import re
from dataclasses import dataclass

from processes import REPO

BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SHELLS = ("", "console", "sh", "bash")
COMMAND = re.compile(r"^(?:\$ )?((?:kubectl|helm) .*)$")
NEEDS_PODS = re.compile(r"^kubectl .*\b(port-forward|logs|exec)\b|\$[A-Z{(]")
"""Commands that need containers which run, or an address that a reader fills in."""
NEEDS_NETWORK = re.compile(r"https?://|oci://|^helm (repo|pull) ")


@dataclass
class Section:
    """The commands below one heading."""

    title: str
    commands: list[str]


def sections(page: str) -> list[Section]:
    """The sections of a page that have commands for a cluster."""
    found = []
    title = page
    for part in re.split(r"^(?=#{1,3} )", (REPO / page).read_text(), flags=re.MULTILINE):
        if part.startswith("#"):
            title = part.partition("\n")[0].lstrip("# ")
        blocks = [block for language, block in BLOCK.findall(part) if language in SHELLS]
        commands = [command for block in blocks for command in _commands(block)]
        if commands:
            found.append(Section(title, commands))
    return found


def _commands(block: str) -> list[str]:
    lines = re.sub(r"\\\n\s*", "", block).splitlines()
    return [match[1] for line in lines if (match := COMMAND.match(line))]


def can_run(command: str) -> bool:
    """Whether a command needs only the API server and this repository."""
    return not NEEDS_PODS.search(command) and not NEEDS_NETWORK.search(command)
