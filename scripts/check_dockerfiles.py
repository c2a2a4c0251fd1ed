"""Checks what a linter of Dockerfiles cannot know.

What they copy and run must exist, and the build's context must have every file of ours that the builds here were made
of. Needs the Wasm filter, the dynamic module, the sidecar and the mock LLM, built.
"""

import fnmatch
import pathlib
import re
import subprocess
import sys
import tomllib

REPO = pathlib.Path(__file__).resolve().parent.parent
# Where cargo lists the sources of what it built.
SOURCES = (
    "release/llm-router-sidecar.d",
    "release/mock-llm.d",
    "llm_router_filter.d",
    "libllm_router.d",
)


def ignored(path, patterns):
    """Whether .dockerignore has the path or a folder above it. It has no `!`."""
    return any(matches(step, pattern) for step in [path, *path.parents][:-1] for pattern in patterns)


def matches(path, pattern):
    """Whether a pattern matches as Docker does: `*` stays within a name, and only a leading `**/` descends."""
    if pattern.startswith("**/"):
        return fnmatch.fnmatch(path.name, pattern.removeprefix("**/"))
    wanted = pathlib.PurePath(pattern).parts
    return len(wanted) == len(path.parts) and all(map(fnmatch.fnmatch, path.parts, wanted))


def context():
    """The files that a build from a clone sees."""
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
    """What is wrong with a Dockerfile."""
    folders = {parent for file in files for parent in file.parents}
    stages = set()
    for name, rest in instructions(dockerfile):
        words = [word for word in rest.split() if not word.startswith(("--mount", "--platform"))]
        if name == "FROM":
            stages |= set(words[2:])
            image, _, tag = words[0].partition(":")
            if image == "rust" and tag != f"{toolchain()}-bookworm":
                yield f"FROM {rest}: rust-toolchain.toml has {toolchain()}"
        elif name == "COPY" and words[0].startswith("--from="):
            if words[0].removeprefix("--from=") not in stages:
                yield f"COPY {rest}: no such stage"
        elif name == "COPY":
            for source in map(pathlib.Path, words[:-1]):
                if source not in files and source not in folders:
                    yield f"COPY {rest}: {source} is not in the context"
        elif name == "RUN" and words[0].startswith("scripts/"):
            script = pathlib.Path(words[0])
            if script not in files or not (REPO / script).stat().st_mode & 0o100:
                yield f"RUN {rest}: {script} cannot be run"


def toolchain():
    """The version of Rust that the repository is built with."""
    return tomllib.loads((REPO / "rust-toolchain.toml").read_text())["toolchain"]["channel"]


def missing_sources(files):
    """The sources of builds that are not in the context."""
    for path in (REPO / "target" / name for name in SOURCES):
        if not path.exists():
            yield f"{path.relative_to(REPO)} is missing: not built"
            continue
        for word in path.read_text().split(":", 1)[1].replace("\\ ", " ").split():
            source = pathlib.Path(word)
            ours = source.is_relative_to(REPO) and not source.is_relative_to(REPO / "target") and source.is_file()
            if ours and source.relative_to(REPO) not in files:
                yield f"{path.stem} is built of {source.relative_to(REPO)}, which is not in the context"


def main():
    """Prints all problems."""
    files = context()
    dockerfiles = sorted((REPO / "deploy/images").glob("Dockerfile.*"))
    found = [f"{dockerfile.name}: {problem}" for dockerfile in dockerfiles for problem in problems(dockerfile, files)]
    if not dockerfiles:
        found.append("no Dockerfiles in deploy/images")
    found += missing_sources(files)
    needed = ("Cargo.toml", "Cargo.lock", "rust-toolchain.toml", ".cargo/config.toml")
    found += [f"{name} is not in the context" for name in needed if pathlib.Path(name) not in files]
    print("\n".join(f"error: {problem}" for problem in found) or f"{len(files)} files in the context", flush=True)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
