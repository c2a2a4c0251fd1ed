"""Checks what a linter of Dockerfiles cannot know: that what they copy and run is there, and that the build's context has every
file that what is built there was made of here."""

import fnmatch
import pathlib
import re
import subprocess
import sys

REPO = pathlib.Path(__file__).resolve().parent.parent
# What cargo says of the sources of each thing that is built.
SOURCES = ("release/llm-router-sidecar.d", "release/llm-stand-in.d",
           "*/wasm32-unknown-unknown/wasm/llm_router_filter.d", "wasm32-unknown-unknown/wasm/llm_router_filter.d")


def ignored(path, patterns):
    """Whether .dockerignore has the path or a folder above it. We use no `!`."""
    return any(matches(step, pattern) for step in [path, *path.parents][:-1] for pattern in patterns)


def matches(path, pattern):
    """As Docker has it: `*` stays within a name, and only a leading `**/` goes down."""
    if pattern.startswith("**/"):
        return fnmatch.fnmatch(path.name, pattern.removeprefix("**/"))
    wanted = pathlib.PurePath(pattern).parts
    return len(wanted) == len(path.parts) and all(map(fnmatch.fnmatch, path.parts, wanted))


def context():
    """What a build from a clone sees."""
    lines = (REPO / ".dockerignore").read_text().splitlines()
    patterns = [line for line in lines if line and not line.startswith("#")]
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    tracked = subprocess.run(command, cwd=REPO, check=True, capture_output=True, text=True).stdout.splitlines()
    return {path for path in map(pathlib.Path, tracked) if not ignored(path, patterns)}


def instructions(dockerfile):
    """Each instruction's name and the rest of its line, with continued lines as one."""
    text = re.sub(r"^#.*\n", "", dockerfile.read_text(), flags=re.MULTILINE)
    for line in text.replace("\\\n", " ").splitlines():
        if line.strip():
            name, rest = line.split(maxsplit=1)
            yield name, rest


def problems(dockerfile, files):
    folders = {parent for file in files for parent in file.parents}
    stages = set()
    for name, rest in instructions(dockerfile):
        words = [word for word in rest.split() if not word.startswith("--mount")]
        if name == "FROM" and len(words) == 3:
            stages.add(words[2])
        elif name == "COPY" and words[0].startswith("--from="):
            if words[0].removeprefix("--from=") not in stages:
                yield f"COPY {rest}: no such stage"
        elif name == "COPY":
            for source in map(pathlib.Path, words[:-1]):
                if source not in files and source not in folders:
                    yield f"COPY {rest}: {source} is not in the context"
        elif name == "RUN":
            script = pathlib.Path(words[0])
            if script.parts[0] == "scripts" and not (script in files and (REPO / script).stat().st_mode & 0o100):
                yield f"RUN {rest}: {script} cannot be run"


def missing_sources(files):
    """Files of ours that something was built of and that are not in the context."""
    found = [path for pattern in SOURCES for path in (REPO / "target").glob(pattern)]
    if len(found) < 3:
        yield f"only {len(found)} of the things to build were built here"
    for depends in found:
        for source in depends.read_text().split(":", 1)[1].replace("\\ ", " ").split():
            path = pathlib.Path(source)
            if path.is_relative_to(REPO) and not path.is_relative_to(REPO / "target"):
                if path.relative_to(REPO) not in files and path.is_file():
                    yield f"{depends.stem} is built of {path.relative_to(REPO)}, which is not in the context"


def main():
    files = context()
    found = [f"{dockerfile.name}: {problem}" for dockerfile in sorted((REPO / "images").glob("Dockerfile.*"))
             for problem in problems(dockerfile, files)]
    found += missing_sources(files)
    found += [f"{name} is not in the context" for name in ("Cargo.toml", "Cargo.lock", ".cargo/config.toml")
              if pathlib.Path(name) not in files]
    print("\n".join(f"error: {problem}" for problem in found) or f"{len(files)} files in the context", flush=True)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
